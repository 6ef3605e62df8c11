import pytest

from emofair.data.t_data_files import Row, item_id, read_labels, read_list, read_sizes, write_split
from emofair.errors import EmofairError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("-3g5yACwYnA_0.wav", "-3g5yACwYnA_0"),
        ("Ses01.impro.F000.wav", "Ses01.impro.F000"),
        ("a.wav.txt", "a.wav"),
        ("b.MP4", "b"),
        ("c.flac", "c"),
        ("v1.5", "v1.5"),
        ("wav", "wav"),
    ],
)
def test_only_a_known_final_extension_is_cut(name, expected):
    assert item_id(name) == expected


def test_lists_with_any_line_ending_and_no_last_newline(tmp_path):
    (tmp_path / "train_a.tsv").write_bytes(b"\xef\xbb\xbfx.wav\r\n\r\n-y_1.wav\nx.wav\nz\xc3\xa9.wav")
    assert read_list(tmp_path, "train", "speech") == {"x": 1, "-y_1": 3, "zé": 5}


def test_a_missing_list_says_what_is_there(tmp_path):
    (tmp_path / "train_t.tsv").write_text("x.txt\n")
    with pytest.raises(EmofairError, match=r"no valid_a\.tsv in this folder; it holds train_t\.tsv"):
        read_list(tmp_path, "valid", "speech")
    with pytest.raises(EmofairError, match="no such folder"):
        read_list(tmp_path / "absent", "valid", "speech")


def test_the_first_label_line_is_never_a_label(tmp_path):
    path = tmp_path / "label_file_train.csv"
    path.write_bytes(b"a,neu\r\nb,sad\r\nother,hap\r\nc.wav, ang \r\n")
    labels, lost = read_labels(path, {"a", "b", "c"})
    assert {name: (label.row, label.text) for name, label in labels.items()} == {"b": (2, "sad"), "c": (4, "ang")}
    assert lost == "a"
    path.write_text("FileName,Emotion\na,neu")
    assert read_labels(path, {"a"})[1] is None


def test_contradicting_and_malformed_labels_name_the_row(tmp_path):
    path = tmp_path / "label_file_train.csv"
    path.write_text("FileName,Emotion\na,neu\nb,sad\na,ang\n")
    with pytest.raises(EmofairError, match=r"csv:4: a is labelled 'ang' here and 'neu' in row 2"):
        read_labels(path, {"a"})
    assert set(read_labels(path, {"b"})[0]) == {"b"}
    path.write_text("FileName,SEVEN,TWO\na,1,1\n")
    with pytest.raises(EmofairError, match=r"csv:2: expected two columns .*found 3"):
        read_labels(path, {"a"})


def test_sizes_with_and_without_header_and_without_file(tmp_path):
    path = tmp_path / "train_size.tsv"
    assert read_sizes(path) == {}
    path.write_bytes(b"a,7,152\r\nb,9,200")
    assert read_sizes(path) == {"a": (7, 152), "b": (9, 200)}
    path.write_bytes(b"FileName,text,audio\r\na,7,152\r\n")
    assert read_sizes(path) == {"a": (7, 152)}
    path.write_text("a,7,152\nb,x,3\n")
    with pytest.raises(EmofairError, match=r"size\.tsv:2: expected id, text tokens, audio tokens; found 'b,x,3'"):
        read_sizes(path)


def test_a_binary_file_is_an_error_in_one_line(tmp_path):
    for name, read in (("train_a.tsv", lambda p: read_list(tmp_path, "train", "speech")), ("s.tsv", read_sizes)):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00\x01")
        with pytest.raises(EmofairError, match="cannot be read"):
            read(tmp_path / name)


def test_written_files_have_the_published_form(tmp_path):
    rows = [Row("a_1", 2.4, 300, 12), Row("-b", -1.0, 200, 9)]
    write_split(tmp_path, "valid", rows, "sentiment")
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert content == {
        "valid_a.tsv": b"a_1.wav\n-b.wav\n",
        "valid_t.tsv": b"a_1.txt\n-b.txt\n",
        "valid_size.tsv": b"FileName,text,audio\na_1,12,300\n-b,9,200\n",
        "label_file_valid.csv": b"FileName,sentiment_score\na_1,2.4\n-b,-1.0\n",
    }
    write_split(tmp_path, "test", [Row("c", "neu", 5, 4)], "emotion")
    assert (tmp_path / "test_size.tsv").read_bytes() == b"c,4,5\n"
    assert (tmp_path / "label_file_test.csv").read_bytes() == b"FileName,Emotion\nc,neu\n"
    write_split(tmp_path, "test", [Row("c", "neu", 5, 4)], "emotion", size_header=True)
    assert (tmp_path / "test_size.tsv").read_bytes() == b"FileName,text,audio\nc,4,5\n"


def test_one_modality_writes_one_list(tmp_path):
    write_split(tmp_path, "train", [Row("c", "neu", None, 4)], "emotion")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["label_file_train.csv", "train_t.tsv"]


@pytest.mark.parametrize("name", ["", " a", "a,b", "a\nb", 'a"b', "a\tb", "a.wav"])
def test_ids_that_would_not_be_read_back_are_refused(tmp_path, name):
    with pytest.raises(EmofairError, match="cannot be written"):
        write_split(tmp_path, "train", [Row(name, "neu", 1, 1)], "emotion")
    assert not list(tmp_path.iterdir())


def test_repeated_ids_are_refused(tmp_path):
    with pytest.raises(EmofairError, match="'a' occurs twice"):
        write_split(tmp_path, "train", [Row("a", "neu", 1, 1)] * 2, "emotion")
