"""Files and folders of the wrong kind where a command wants to write: one line, and nothing else has happened."""

from __future__ import annotations

import errno
import os

import pytest
import soundfile

from emofair.cli.main import main
from emofair.cli.outputs import check_folder
from emofair.errors import EmofairError


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A list with one clip, and a file that is in the way."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", [0.1] * 4000, 16000)
    (tmp_path / "items.tsv").write_text("id\twav\ttext\tlabel\tsplit\na\ta.wav\tyes\tneu\ttrain\n")
    (tmp_path / "taken").write_text("mine")
    return tmp_path


TOKENIZE = ["tokenize", "--manifest", "items.tsv", "--ssl-dir"]


def test_folders_that_are_there_or_can_be_made(tmp_path):
    for path in (tmp_path, tmp_path / "a" / "b", "new", "."):
        assert str(check_folder(path)) == str(path)
    assert not (tmp_path / "a").exists()


def test_what_is_in_the_way_is_named(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    with pytest.raises(EmofairError, match=r"taken: not usable as a folder: it is a file\. Give another --out"):
        check_folder(tmp_path / "taken")
    with pytest.raises(EmofairError, match=r"taken/a/b: not usable as a folder: /.*/taken is a file"):
        check_folder(tmp_path / "taken" / "a" / "b")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(EmofairError, match="it is a file"):
        check_folder(tmp_path / "gone")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(EmofairError, match=r"new: not usable as a folder: /.* is not writable"):
        check_folder(tmp_path / "new")


@pytest.mark.parametrize("out", ["taken", "taken/deeper"])
@pytest.mark.parametrize(
    "command",
    [
        [*TOKENIZE, "absent"],
        ["prepare", "tsv", "--list", "items.tsv"],
        ["prepare", "synthetic"],
        ["evaluate", "--checkpoint", "absent.pt", "--data", "absent"],
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_every_command_looks_first(files, capsys, command, out):
    before = sorted(files.iterdir())
    assert main([*command, "--out", out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"emofair: error: {out}: not usable as a folder: ") and " is a file. " in line
    assert sorted(files.iterdir()) == before and (files / "taken").read_text() == "mine"


@pytest.mark.parametrize("name", ["raw", "T_data", ".parts", "problems.tsv"])
def test_what_is_in_the_way_deeper(files, ssl_dir, capsys, name):
    (files / "out").mkdir()
    if name == "problems.tsv":
        (files / "out" / name / "full").mkdir(parents=True)
    else:
        (files / "out" / name).write_text("mine")
    assert main([*TOKENIZE, str(ssl_dir), "--out", "out"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("emofair: error: out/") and name in line


def test_a_folder_where_a_result_belongs(files, capsys):
    (files / "out" / "metrics.json").mkdir(parents=True)
    assert main(["evaluate", "--checkpoint", "absent.pt", "--data", "absent", "--out", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("emofair: error: out/metrics.json: ")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "x/y"), "emofair: error: x/y: Permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device"), "emofair: error: No space left on device\n"),
    ],
)
def test_any_other_trouble_with_files(error, said, capsys, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("emofair.cli.doctor.run", fail)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == said
    monkeypatch.setenv("EMOFAIR_TRACEBACK", "1")
    with pytest.raises(OSError):
        main(["doctor"])


def test_an_error_that_only_looks_like_one_is_not_hidden(monkeypatch):
    def fail(*_):
        raise OSError("of our own making")

    monkeypatch.setattr("emofair.cli.doctor.run", fail)
    with pytest.raises(OSError, match="our own making"):
        main(["doctor"])
