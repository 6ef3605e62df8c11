"""A lock on a file: one process at a time, also where the one before it was killed."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time

import pytest

from emofair.data.file_lock import locked
from emofair.errors import EmofairError


def append_slowly(path, lock):
    with locked(lock):
        text = path.read_text()
        time.sleep(0.05)
        path.write_text(text + "x")


def test_one_process_at_a_time(tmp_path):
    path, lock = tmp_path / "text", tmp_path / "lock"
    path.write_text("")
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=append_slowly, args=(path, lock)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert path.read_text() == "xxxx"


def die_holding(lock):
    with locked(lock):
        os._exit(1)


def test_a_killed_process_lets_go(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=die_holding, args=(tmp_path / "lock",))
    process.start()
    process.join()
    with locked(tmp_path / "lock"):
        pass


def test_where_there_are_no_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock"):
        pass
    with pytest.raises(EmofairError, match=r"lock: files cannot be locked here \(Function not implemented\)"):
        with locked(tmp_path / "lock", essential=True):
            pass
