import logging
import os

import numpy as np
import pytest

from emofair.data.token_files import TokenFiles, check_padding, parse_tokens
from emofair.errors import EmofairError


def put(root, split, kind, **contents):
    folder = root / split / kind
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}.txt").write_text(content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("0\t5\t2\t\n", [0, 5, 2]),
        ("0 5\r\n7\t\t2\r\n\r\n", [0, 5, 7, 2]),
        ("2147483647", [2147483647]),
        ("007", [7]),
    ],
)
def test_any_white_space_and_several_lines(tmp_path, content, expected):
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode())
    assert parse_tokens(path).tolist() == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("0 -5 2", "holds '-5'"),
        ("0 1.5 2", "holds '1.5'"),
        ("0 1_0 2", "holds '1_0'"),
        ("hello", "holds 'hello'"),
        ("0 2147483648", "too large"),
        ("0 99999999999999999999999", "too large"),
        ("0 ５ 2", "not a token id"),
    ],
)
def test_anything_else_names_the_file(tmp_path, content, said):
    path = tmp_path / "clip 7.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(EmofairError, match=said) as error:
        parse_tokens(path)
    assert "clip 7.txt" in str(error.value)
    with pytest.raises(EmofairError, match=r"gone\.txt: token file cannot be read"):
        parse_tokens(tmp_path / "gone.txt")


@pytest.mark.parametrize("tokens", [[0, 5, 2], [0, 2, 1, 1], [7]])
def test_padding_at_the_end_is_harmless(tokens):
    check_padding(np.array(tokens), "a.txt")


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([1], "holds only 1, the id of padding"),
        ([1, 1, 1], "holds only 1, the id of padding"),
        ([0, 5, 1, 6, 2], "holds 1, the id of padding, at position 3 of 5"),
        ([1, 0, 5, 2], "holds 1, the id of padding, at position 1 of 4"),
        ([0, 1, 2, 1, 1, 1], "holds 1, the id of padding, at position 2 of 6"),
    ],
)
def test_padding_elsewhere_is_named(tokens, said):
    with pytest.raises(EmofairError, match=rf"^a\.txt: token file {said}"):
        check_padding(np.array(tokens), "a.txt")


def test_files_of_a_resplit_corpus_are_found_elsewhere_and_counted_once(tmp_path, caplog):
    put(tmp_path, "train", "text", a="1", b="1", c="1")
    put(tmp_path, "valid", "text", d="1")
    put(tmp_path, ".hidden", "text", e="1")
    with caplog.at_level(logging.WARNING):
        files = TokenFiles(tmp_path, "valid", "text", ["b", "d", "a"])
    assert [os.path.relpath(files.path(i), tmp_path) for i in range(3)] == [
        "train/text/b.txt",
        "valid/text/d.txt",
        "train/text/a.txt",
    ]
    (record,) = caplog.records
    assert "2 of the 3 text files of split valid" in record.getMessage()
    with pytest.raises(EmofairError, match=r"valid/text/e\.txt: no such token file and 1 more of 3"):
        TokenFiles(tmp_path, "valid", "text", ["d", "e", "f"])
    with pytest.raises(EmofairError, match=r"valid/audio_token/d\.txt"):
        TokenFiles(tmp_path, "valid", "audio_token", ["d"])
    with pytest.raises(EmofairError, match="no such token file"):
        TokenFiles(tmp_path / "absent", "valid", "text", ["d"])


def test_the_key_follows_files_and_list(tmp_path):
    put(tmp_path, "train", "text", a="1 2", b="1")
    first = TokenFiles(tmp_path, "train", "text", ["a", "b"])
    assert TokenFiles(tmp_path, "train", "text", ["a", "b"]).key == first.key
    assert TokenFiles(tmp_path, "train", "text", ["b", "a"]).list_key != first.list_key
    (tmp_path / "train" / "text" / "c.txt").write_text("9")  # not in the list
    assert TokenFiles(tmp_path, "train", "text", ["a", "b"]).key == first.key
    status = os.stat(first.path(0))
    os.utime(first.path(0), ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    touched = TokenFiles(tmp_path, "train", "text", ["a", "b"])
    assert touched.key != first.key
    assert touched.list_key == first.list_key
    put(tmp_path, "train", "text", a="1 2 3")
    os.utime(first.path(0), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert TokenFiles(tmp_path, "train", "text", ["a", "b"]).key != first.key


def test_ids_with_folders_and_unknown_kinds(tmp_path):
    put(tmp_path, "train", "text/dialog1", a="4")
    assert parse_tokens(TokenFiles(tmp_path, "train", "text", ["dialog1/a"]).path(0)).tolist() == [4]
    with pytest.raises(ValueError, match="kind"):
        TokenFiles(tmp_path, "train", "audio", [])
