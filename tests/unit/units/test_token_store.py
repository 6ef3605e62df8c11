"""Token files are whole or absent, and of one vocabulary."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from emofair.data.token_files import parse_tokens
from emofair.errors import EmofairError
from emofair.units.token_store import SPEECH, TEXT, TokenStore, fingerprint

IDS = np.array([0, 7, 2048, 2], dtype=np.int64)


def test_what_is_written_is_read_here_and_by_the_datasets(tmp_path):
    store = TokenStore(tmp_path)
    store.write("train", SPEECH, "-a.b ü", IDS)
    path = tmp_path / "train" / "audio_token" / "-a.b ü.txt"
    assert path.read_bytes() == b"0\t7\t2048\t2\n"
    assert store.read("train", SPEECH, "-a.b ü").tolist() == parse_tokens(path).tolist() == IDS.tolist()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "content", ["", "0\t7\t2", "0\t7\t20", "0\t7\n", "7\t2\n", "2\n", "0\t7\tx\t2\n", "0\t7\t2048\t"]
)
def test_damaged_files_count_as_absent(tmp_path, content):
    store = TokenStore(tmp_path)
    store.write("train", TEXT, "a", IDS)
    store.path("train", TEXT, "a").write_text(content)
    assert store.read("train", TEXT, "a") is None


@pytest.mark.parametrize("content", ["0\t7\t2\t", "0 7 2\n", "0\t7\t\n2\t\n", "0\t7\t2\r\n"])
def test_files_of_other_writers_are_accepted(tmp_path, content):
    path = TokenStore(tmp_path).path("train", TEXT, "a")
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode())
    assert TokenStore(tmp_path).read("train", TEXT, "a").tolist() == [0, 7, 2]


def test_absent_files_are_absent(tmp_path):
    store = TokenStore(tmp_path / "nowhere")
    assert store.read("train", TEXT, "a") is None
    assert not store.has(TEXT)
    store.write("train", TEXT, "a", IDS)
    assert store.has(TEXT) and not store.has(SPEECH)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "train").write_text("in the way")
    with pytest.raises(EmofairError, match=r"train/text/a\.txt: the tokens cannot be written"):
        TokenStore(tmp_path).write("train", TEXT, "a", IDS)


def test_claims_hold_per_kind(tmp_path):
    store = TokenStore(tmp_path / "raw")
    assert not store.is_claimed(TEXT)
    store.claim(TEXT, {"dict.txt": "1", "vocab.bpe": "2"})
    store.claim(TEXT, {"dict.txt": "1", "vocab.bpe": "2"})
    store.claim(SPEECH, {"dict.txt": "9"})
    assert store.is_claimed(TEXT)
    with pytest.raises(EmofairError, match=r"text files here were made with another dict\.txt$|dict\.txt\. Give"):
        store.claim(TEXT, {"dict.txt": "3", "vocab.bpe": "2"})
    with pytest.raises(EmofairError, match=r"another vocab\.bpe and another sentencepiece"):
        store.claim(TEXT, {"dict.txt": "1", "sentencepiece": "2"})


def test_processes_may_claim_at_once(tmp_path):
    stores = [TokenStore(tmp_path / "raw") for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda store: store.claim(TEXT, {"dict.txt": "1"}), stores))
    assert [file.name for file in (tmp_path / "raw").iterdir()] == ["text.made_with.json"]


def test_fingerprints_follow_the_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    first, same, other = (fingerprint(tmp_path / name) for name in "abc")
    assert first == same != other
    assert len(first) == 16
