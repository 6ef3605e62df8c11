import pytest

from emofair.corpora import tsv
from emofair.errors import EmofairError

HEADER = "id\twav\ttext\tlabel\tsplit"
LONG = f"{'see ' * 100}the file a.txt"


def listing(folder, *rows, header=HEADER, encoding="utf-8"):
    path = folder / "items.tsv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def test_fields(tmp_path):
    header = HEADER + "\tspeaker\tsession\tdialog\tsentiment\tstart\tend\tmood"
    path = listing(tmp_path, "été-1\ta b.wav\tHé \t hap\tdev\tS1\t2\td\t-1.5\t0.5\t1\tgood", header=header)
    source = tsv.read(path)
    (u,) = source.splits["valid"]
    assert (u.id, u.path, u.text, u.label) == ("été-1", str(tmp_path / "a b.wav"), "Hé", "hap")
    assert (u.speaker, u.session, u.dialog, u.sentiment, u.start, u.end) == ("S1", "2", "d", -1.5, 0.5, 1.0)
    assert u.extra == {"mood": "good"} and str(source.root) == str(tmp_path)


def test_text_and_label_may_be_absent(tmp_path):
    source = tsv.read(listing(tmp_path, "a\ta.wav\ttrain", "b\tb.wav\ttest", header="id\twav\tsplit"))
    assert [(u.text, u.label) for items in source.splits.values() for u in items] == [(None, None)] * 2


def test_wav_may_be_absent_for_texts(tmp_path):
    source = tsv.read(listing(tmp_path, "a\thello\ttrain", header="id\ttext\tsplit"), audio=False)
    assert source.splits["train"][0].path == "" and source.problems == []


def test_root_and_split_order(tmp_path):
    path = listing(tmp_path, "a\ta.wav\t\t\textra", "b\tb.wav\t\t\ttest", "c\tc.wav\t\t\tTrain")
    source = tsv.read(path, root=tmp_path / "audio")
    assert list(source.splits) == ["train", "test", "extra"]
    assert source.splits["test"][0].path == str(tmp_path / "audio" / "b.wav")


def test_transcript_files(tmp_path):
    (tmp_path / "a.txt").write_text("two\nlines\n")
    path = listing(tmp_path, "a\ta.wav\ta.txt\t\ttrain", f"b\tb.wav\t{LONG}\t\ttrain", "c\tc\tno.txt\t\ttrain")
    source = tsv.read(path)
    assert [u.text for u in source.splits["train"]] == ["two lines", LONG]
    assert str(source.problems[0]) == f"{path}:4: no transcript file {tmp_path / 'no.txt'}"


def test_quotation_marks(tmp_path):
    path = listing(
        tmp_path,
        'a\ta.wav\t"never closed\t\ttrain',
        'b\tb.wav\t"wrapped ""by"" a table program"\t\ttrain',
        'c\tc.wav\t"Yes" and "no"\t\ttrain',
    )
    texts = [u.text for u in tsv.read(path).splits["train"]]
    assert texts == ['"never closed', 'wrapped "by" a table program', '"Yes" and "no"']


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "items.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\na\ta.wav\thi\tsad\ttrain\r\n\r\n".encode())
    assert tsv.read(path).splits["train"][0].label == "sad"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("\tx.wav\t\t\ttrain", "the id '' cannot be used as a file name"),
        ("../x\tx.wav\t\t\ttrain", "the id '../x' cannot be used as a file name"),
        ("x\t\t\t\ttrain", "'x' has no wav"),
        ("x\tx.wav\t\t\t", "'x' has no split"),
        ("x\tx.wav\t\tangry\ttrain", "unknown label 'angry' (known: ang, sad)"),
        ("ok\tx.wav\t\tang\ttrain", "the id 'ok' is in row 2 already"),
        ("x\tx.wav\ttrain", "3 cells, the header has 5"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    path = listing(tmp_path, "ok\tok.wav\t\tang\ttrain", row)
    source = tsv.read(path, labels=["ang", "sad"])
    assert [str(p) for p in source.problems] == [f"{path}:3: {message}"]
    assert len(source.splits["train"]) == 1


@pytest.mark.parametrize("value", ["loud", "nan", "inf"])
def test_numbers(tmp_path, value):
    path = listing(tmp_path, f"x\tx.wav\t\t\ttrain\t{value}", header=HEADER + "\tsentiment")
    assert "is not a number" in str(tsv.read(path).problems[0])


@pytest.mark.parametrize("column", ["id", "wav", "split"])
def test_missing_column(tmp_path, column):
    path = listing(tmp_path, "a\tb\tc\td\te", header=HEADER.replace(column, "other"))
    with pytest.raises(EmofairError, match=rf"items\.tsv:1: the column '{column}' is missing"):
        tsv.read(path)


def test_no_list(tmp_path):
    with pytest.raises(EmofairError, match="cannot be read"):
        tsv.read(tmp_path / "absent.tsv")
    with pytest.raises(EmofairError, match="a list is needed"):
        tsv.read(tmp_path)
    with pytest.raises(EmofairError, match="no rows"):
        tsv.read(listing(tmp_path))


def test_a_list_that_is_to_be_divided_needs_no_splits(tmp_path):
    path = listing(tmp_path, "a\ta.wav\tS1", "b\tb.wav\tS2", header="id\twav\tspeaker")
    assert [u.speaker for u in tsv.read(path, divided=False).splits["all"]] == ["S1", "S2"]
    path = listing(tmp_path, "a\ta.wav\t\t\ttrain", "a\tb.wav\t\t\ttest")
    (problem,) = tsv.read(path, divided=False).problems
    assert "the id 'a' is in row 2 already" in str(problem)
