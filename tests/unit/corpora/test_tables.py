import pytest

from emofair.corpora.tables import csv_rows, read_text, tsv_rows
from emofair.errors import EmofairError


def test_csv_with_quoted_line_break_keeps_count_of_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'x,y\r\n"one\ntwo",2\r\n\r\n3 , 4\r\n5\r\n')
    problems = []
    assert list(csv_rows(path, ("x",), problems)) == [(3, {"x": "one\ntwo", "y": "2"}), (5, {"x": "3", "y": "4"})]
    assert [str(p) for p in problems] == [f"{path}:6: 1 cells, the header has 2"]


def test_tsv(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes("x\ty\r\n1\t\u2028é\r\n".encode())
    assert list(tsv_rows(path, ("x", "y"), [])) == [(2, {"x": "1", "y": "é"})]


@pytest.mark.parametrize("reader", [csv_rows, tsv_rows])
def test_missing_column(tmp_path, reader):
    path = tmp_path / "a"
    path.write_text("")
    with pytest.raises(EmofairError, match=r"a:1: the column 'x' is missing"):
        list(reader(path, ("x",), []))


def test_broken_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x\n" + "y" * 200_000 + "\n")
    with pytest.raises(EmofairError, match=r"a\.csv:2: not valid CSV"):
        list(csv_rows(path, ("x",), []))


@pytest.mark.parametrize(
    "data", ["it’s é".encode(), b"\xef\xbb\xbfit\xe2\x80\x99s \xc3\xa9", b"it\x92s \xe9", "it\x92s é".encode()]
)
def test_encodings(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    assert read_text(tmp_path / "a") == "it’s é"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_another_encoding_is_told_by_its_mark(tmp_path, encoding):
    (tmp_path / "a").write_text("x a.wav sad\n", encoding=encoding)
    with pytest.raises(EmofairError, match=rf"a: not UTF-8 but {encoding.upper()}\. save it as UTF-8"):
        read_text(tmp_path / "a")


def test_unreadable(tmp_path):
    with pytest.raises(EmofairError, match="cannot be read"):
        read_text(tmp_path)
