import logging
import multiprocessing
import os
import pickle
import time

import numpy as np
import pytest

from emofair.data import token_cache
from emofair.data.token_cache import CACHE_FOLDER, TokenCache
from emofair.data.token_files import parse_tokens
from emofair.errors import EmofairError


def corpus(root, n=6, *, largest=1000, longest=50, split="train", kind="audio_token"):
    rng = np.random.default_rng(n)
    folder = root / split / kind
    folder.mkdir(parents=True, exist_ok=True)
    sequences = {}
    for index in range(n):
        tokens = [0, *rng.integers(4, largest, int(rng.integers(1, longest))).tolist(), 2]
        (folder / f"id_{index}.txt").write_text("\t".join(map(str, tokens)))
        sequences[f"id_{index}"] = tokens
    return sequences


def open_all(root, sequences, **options):
    return TokenCache.open(root, "train", "audio_token", list(sequences), **options)


def assert_same(cache, sequences):
    assert [cache[i].tolist() for i in range(len(cache))] == list(sequences.values())
    assert cache.lengths.tolist() == [len(tokens) for tokens in sequences.values()]
    assert cache.lengths.dtype == np.int64


def forbid_parsing(monkeypatch):
    def fail(path):
        raise AssertionError(f"{path} was read although the pack is up to date")

    monkeypatch.setattr(token_cache, "parse_tokens", fail)


@pytest.mark.parametrize(("largest", "dtype"), [(60000, np.uint16), (70000, np.int32)])
def test_holds_what_the_files_hold_in_the_smallest_type(tmp_path, largest, dtype):
    sequences = corpus(tmp_path, 40, largest=largest)
    (tmp_path / "train/audio_token/id_3.txt").write_text(f"0 {largest} 2")
    sequences["id_3"] = [0, largest, 2]
    cache = open_all(tmp_path, sequences)
    assert_same(cache, sequences)
    assert cache[0].dtype == dtype
    assert cache.largest_id == largest
    with pytest.raises(ValueError, match="read-only"):
        cache[0][0] = 5


def test_a_second_opening_reads_no_token_file(tmp_path, monkeypatch):
    sequences = corpus(tmp_path)
    open_all(tmp_path, sequences)
    forbid_parsing(monkeypatch)
    assert_same(open_all(tmp_path, sequences), sequences)


def test_a_changed_file_or_list_is_noticed(tmp_path):
    sequences = corpus(tmp_path)
    open_all(tmp_path, sequences)
    (tmp_path / "train/audio_token/id_2.txt").write_text("0 9 9 9 2")
    sequences["id_2"] = [0, 9, 9, 9, 2]
    assert_same(open_all(tmp_path, sequences), sequences)
    fewer = {name: sequences[name] for name in ("id_4", "id_1")}
    assert_same(open_all(tmp_path, fewer), fewer)
    assert_same(open_all(tmp_path, sequences), sequences)
    (tmp_path / "train/audio_token/id_1.txt").unlink()
    with pytest.raises(EmofairError, match=r"id_1\.txt: no such token file"):
        open_all(tmp_path, sequences)


def test_packs_of_two_lists_live_side_by_side(tmp_path, monkeypatch):
    sequences = corpus(tmp_path)
    fold = {name: sequences[name] for name in ("id_4", "id_1")}
    open_all(tmp_path, sequences)
    open_all(tmp_path, fold)
    forbid_parsing(monkeypatch)
    assert_same(open_all(tmp_path, sequences), sequences)
    assert_same(open_all(tmp_path, fold), fold)


@pytest.mark.parametrize("damage", ["truncate", "flip", "header", "empty", "dtype"])
def test_a_damaged_pack_is_rebuilt(tmp_path, damage, caplog):
    sequences = corpus(tmp_path)
    path = open_all(tmp_path, sequences).path
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        content = content[:-3]
    elif damage == "flip":
        content[-1] ^= 1
    elif damage == "header":
        content[30:60] = b"\xff" * 30
    elif damage == "dtype":
        content = content.replace(b'"uint16"', b'"object"')
    else:
        content = b""
    path.write_bytes(content)
    assert_same(open_all(tmp_path, sequences), sequences)
    assert ("damaged" in caplog.text) == (damage in ("truncate", "flip"))


def test_where_the_pack_lies(tmp_path, monkeypatch):
    sequences = corpus(tmp_path / "raw")
    assert open_all(tmp_path / "raw", sequences).path.parent == tmp_path / "raw" / CACHE_FOLDER
    chosen = tmp_path / "fast" / "disk"
    assert open_all(tmp_path / "raw", sequences, cache_dir=chosen).path.parent == chosen
    assert not list(chosen.glob("*.tmp"))


def test_a_folder_that_cannot_be_written_falls_back_to_the_temporary_one(tmp_path, monkeypatch):
    sequences = corpus(tmp_path / "raw")
    (tmp_path / "raw" / CACHE_FOLDER).write_text("a file in the way, since root may write into read-only folders")
    monkeypatch.setattr(token_cache.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    cache = open_all(tmp_path / "raw", sequences)
    assert (tmp_path / "tmp") in cache.path.parents
    assert_same(cache, sequences)
    forbid_parsing(monkeypatch)
    assert_same(open_all(tmp_path / "raw", sequences), sequences)
    with pytest.raises(EmofairError, match="the token cache cannot be written"):
        open_all(tmp_path / "raw", sequences, cache_dir=tmp_path / "raw" / CACHE_FOLDER)


def test_a_malformed_token_file_is_named_while_packing(tmp_path):
    sequences = corpus(tmp_path)
    (tmp_path / "train/audio_token/id_5.txt").write_text("0 x 2")
    with pytest.raises(EmofairError, match=r"id_5\.txt: token file holds 'x'"):
        open_all(tmp_path, sequences)
    assert not list((tmp_path / CACHE_FOLDER).glob("*.pack*[!k]"))


def test_pickling_carries_no_tokens_and_maps_again(tmp_path):
    sequences = corpus(tmp_path, 5, longest=5000)
    cache = open_all(tmp_path, sequences)
    pickled = pickle.dumps(cache)
    assert len(pickled) < 2500
    assert_same(pickle.loads(pickled), sequences)
    (tmp_path / "train/audio_token/id_2.txt").write_text("0 9 2")
    open_all(tmp_path, sequences)
    assert_same(cache, sequences)  # an open cache keeps the pack it has mapped
    with pytest.raises(EmofairError, match="rebuilt from other files during the run"):
        pickle.loads(pickled)[0]
    cache.path.unlink()
    with pytest.raises(EmofairError, match="the token cache has gone"):
        pickle.loads(pickled)[0]


def test_processes_may_build_at_once(tmp_path):
    sequences = corpus(tmp_path, 300)
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()

    def build():
        start.wait()
        cache = open_all(tmp_path, sequences)
        results.put([cache[i].tolist() for i in range(len(cache))] == list(sequences.values()))

    processes = [context.Process(target=build) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    assert [results.get(timeout=30) for _ in processes] == [True] * 4
    for process in processes:
        process.join()
    assert len(list((tmp_path / CACHE_FOLDER).glob("*.pack"))) == 1
    assert not list((tmp_path / CACHE_FOLDER).glob("*.tmp"))


def test_locking_lets_only_one_process_parse(tmp_path):
    sequences = corpus(tmp_path, 50)
    context = multiprocessing.get_context("fork")
    parsed, start = context.Value("i", 0), context.Event()

    def build():
        def counting(path):
            with parsed.get_lock():
                parsed.value += 1
            time.sleep(0.002)
            return parse_tokens(path)

        token_cache.parse_tokens = counting
        start.wait()
        open_all(tmp_path, sequences)

    processes = [context.Process(target=build) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert parsed.value == 50


def test_vocabulary_check_names_file_and_id(tmp_path):
    sequences = corpus(tmp_path, largest=100)
    (tmp_path / "train/audio_token/id_4.txt").write_text("0 100 2")
    cache = open_all(tmp_path, sequences)
    cache.check_vocabulary(None)
    cache.check_vocabulary(101)
    with pytest.raises(EmofairError, match=r"id_4\.txt: token id 100 .* vocabulary of 100 entries"):
        cache.check_vocabulary(100)


def test_first_and_last_ids_are_checked_with_one_warning(tmp_path, caplog):
    sequences = corpus(tmp_path)
    (tmp_path / "train/audio_token/id_1.txt").write_text("5 6 2")
    (tmp_path / "train/audio_token/id_3.txt").write_text("0 6 7")
    cache = pickle.loads(pickle.dumps(open_all(tmp_path, sequences)))
    assert [cache.check_ends(*ends) for ends in ((None, None), (0, None), (None, 2))] == [0, 1, 1]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert cache.check_ends(0, 2) == 2
    (record,) = caplog.records
    assert "2 of 6 token files" in record.getMessage()
    assert "id_1.txt" in record.getMessage()


def test_an_empty_list_is_an_empty_cache(tmp_path):
    cache = open_all(tmp_path, {})
    assert len(cache) == 0
    assert cache.check_ends(0, 2) == 0
    cache.check_vocabulary(10)


def aged(path, days):
    then = time.time() - days * 86400
    os.utime(path, (then, then))


def test_packs_that_nobody_uses_any_more_are_deleted_when_a_new_one_is_written(tmp_path):
    sequences = corpus(tmp_path)
    lists = [dict(list(sequences.items())[:n]) for n in (1, 2, 3, 4, 5)]
    forgotten, used, recent, busy = (open_all(tmp_path, each) for each in lists[:4])
    other = TokenCache.open(tmp_path, "train", "audio_token", ["id_5"], cache_dir=tmp_path / "elsewhere")
    for cache in (forgotten, used, busy, other):
        aged(cache.path, 31)
    aged(recent.path, 29)
    assert_same(open_all(tmp_path, lists[1]), lists[1])  # counts as use
    pickled = pickle.dumps(busy)
    pickle.loads(pickled)[0]  # as in a data worker
    left = forgotten.path.with_name(f"{forgotten.path.name}.77.tmp")
    left.write_bytes(b"half")
    aged(left, 31)
    foreign = forgotten.path.with_name("train.text.0123456789abcdef.pack")
    foreign.write_bytes(b"another kind")
    aged(foreign, 31)
    newest = open_all(tmp_path, lists[4])
    kept = {cache.path.name for cache in (used, recent, busy, newest)} | {foreign.name}
    assert {path.name for path in newest.path.parent.glob("*.pack")} == kept
    assert not left.exists() and not forgotten.path.with_name(f"{forgotten.path.name}.lock").exists()
    assert other.path.exists()
    assert_same(forgotten, lists[0])  # mapped before
    assert_same(open_all(tmp_path, lists[0]), lists[0])  # built again


def test_opening_deletes_nothing(tmp_path):
    sequences = corpus(tmp_path)
    first = open_all(tmp_path, {"id_1": sequences["id_1"]})
    second = open_all(tmp_path, {"id_2": sequences["id_2"]})
    aged(first.path, 400)
    open_all(tmp_path, {"id_2": sequences["id_2"]})
    assert first.path.exists() and second.path.exists()
