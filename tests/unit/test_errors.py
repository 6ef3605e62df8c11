"""Errors of the user: one line with place and remedy, wherever they are raised."""

from __future__ import annotations

import pickle
import sys

import pytest

from emofair.errors import EmofairError, MissingExtra, print_in_one_line, require, show_in_one_line
from emofair.testing.commands import run


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (EmofairError("too short"), "too short"),
        (EmofairError("too short.", remedy="Leave it out."), "too short. Leave it out."),
        (EmofairError("too short", file="a.wav"), "a.wav: too short"),
        (EmofairError("too short", file="a.tsv", row=3, remedy="Leave it out"), "a.tsv:3: too short. Leave it out."),
        (EmofairError("two\n  lines"), "two lines"),
    ],
)
def test_line(error, line):
    assert str(error) == line


@pytest.mark.parametrize("kind", [EmofairError, MissingExtra])
def test_survives_the_way_between_processes(kind):
    error = kind("too short", file="a.tsv", row=3, remedy="Leave it out")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind and str(copy) == str(error)
    assert (copy.what, copy.file, copy.row, copy.remedy) == ("too short", "a.tsv", 3, "Leave it out")


@pytest.mark.parametrize("kind", [EmofairError, MissingExtra])
def test_from_a_data_loading_worker(kind):
    """torch raises a worker's error again with the worker's whole traceback for a message."""
    from torch.utils.data import DataLoader, Dataset

    class Broken(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise kind("is empty", file="b Error: .wav", row=2, remedy="Leave it out")

    with pytest.raises(EmofairError) as error:
        list(DataLoader(Broken(), num_workers=1))
    assert type(error.value) is kind
    assert str(error.value) == "b Error: .wav:2: is empty. Leave it out."


def test_uncaught_it_is_one_line_and_others_keep_their_traceback():
    code = """
import sys
from emofair.errors import EmofairError, show_in_one_line
show_in_one_line(); show_in_one_line()
raise {}
"""
    ours = run(sys.executable, "-c", code.format("EmofairError('too short', file='a.wav')"), check=False)
    assert (ours.returncode, ours.stdout) == (1, "emofair: error: a.wav: too short\n")
    other = run(sys.executable, "-c", code.format("KeyError('x')"), check=False)
    assert other.returncode == 1 and other.stdout.count("Traceback") == 1 and "KeyError: 'x'" in other.stdout
    asked = run(sys.executable, "-c", code.format("EmofairError('too short')"), check=False, EMOFAIR_TRACEBACK="1")
    assert "Traceback" in asked.stdout


def test_from_a_process_that_torch_started(capsys):
    from torch.multiprocessing import ProcessRaisedException

    head = "\n\n-- Process 1 terminated with the following error:\nTraceback (most recent call last):\n  ...\n"
    error = ProcessRaisedException(head + "emofair.errors.EmofairError: a.wav: too short: 3 samples\n", 1, 99)
    assert print_in_one_line(error)
    assert capsys.readouterr().err == "emofair: error: a.wav: too short: 3 samples\n"
    assert not print_in_one_line(ProcessRaisedException(head + "KeyError: 'x'\n", 1, 99))


def test_hook_is_set_once(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    show_in_one_line()
    first = sys.excepthook
    show_in_one_line()
    assert sys.excepthook is first is not sys.__excepthook__


def test_missing_optional_package_names_the_extra():
    assert require("json", "plots") is sys.modules["json"]
    with pytest.raises(MissingExtra) as error:
        require("no_such_package.part", "plots", "Drawing curves")
    assert isinstance(error.value, ImportError)
    assert str(error.value).startswith("Drawing curves needs the Python package 'no_such_package' (")
    assert str(error.value).endswith("pip install 'emofair[plots]'.")
