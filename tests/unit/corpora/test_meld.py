import pytest

from emofair.corpora import meld
from emofair.errors import EmofairError
from emofair.testing.downloads import fake_meld


@pytest.fixture
def root(tmp_path):
    return fake_meld(tmp_path)


def test_fields(root):
    source = meld.read(root)
    assert {split: len(items) for split, items in source.splits.items()} == {"train": 6, "valid": 6, "test": 6}
    wav, flac = source.splits["valid"][:2]
    assert (wav.id, wav.dialog, wav.session, wav.speaker) == ("valid_dia0_utt0", "valid_dia0", "s8e0", "Joey")
    assert (wav.text, wav.label) == ("It’s 7, “ok”?", "neutral")
    assert wav.path == str(root / "dev_splits_complete/dia0_utt0.wav")
    assert flac.path == str(root / "dev_splits_complete/dia0_utt1.flac")
    assert wav.start is None and wav.extra["episode_start"] == "00:16:16,059"
    assert len({u.id for items in source.splits.values() for u in items}) == 18
    assert source.mismatches[0] == "train has 6 utterances, 9989 are published"


@pytest.mark.parametrize("encoding", ["cp1252", "c1"])
def test_quotes_that_went_through_windows(root, encoding):
    table = root / "dev_sent_emo.csv"
    text = table.read_text(encoding="utf-8")
    # Either raw Windows-1252 bytes, or these bytes taken for Latin-1 and written as UTF-8.
    data = text.encode("cp1252")
    table.write_bytes(data if encoding == "cp1252" else data.decode("latin-1").encode("utf-8"))
    assert meld.read(root).splits["valid"][0].text == "It’s 7, “ok”?"


@pytest.mark.parametrize(
    ("old", "new", "row", "message"),
    [
        ("neutral,neutral,0,0", "neutrall,neutral,0,0", 2, "unknown label 'neutrall'"),
        ("joy,neutral,0,1", "joy,neutral,0,0", 3, "dia0_utt0 occurs twice"),
        ("joy,neutral,0,1", "joy,neutral,x,1", 3, "must be numbers"),
        ("joy,neutral,0,1", "joy,neutral,0,1,extra", 3, "12 cells, the header has 11"),
    ],
)
def test_bad_rows_are_named(root, old, new, row, message):
    table = root / "train_sent_emo.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    source = meld.read(root)
    (problem,) = source.problems
    assert message in str(problem) and str(problem).startswith(f"{table}:{row}: ")
    assert len(source.splits["train"]) == 5


def test_missing_column(root):
    table = root / "test_sent_emo.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("Emotion", "Feeling"), encoding="utf-8")
    with pytest.raises(EmofairError, match=r"test_sent_emo\.csv:1: the column 'Emotion' is missing"):
        meld.read(root)


def test_missing_table(root):
    (root / "dev_sent_emo.csv").unlink()
    with pytest.raises(EmofairError, match=r"no dev_sent_emo\.csv"):
        meld.read(root)
