"""Resuming needed the folder of the pretrained models, although the checkpoint replaces all of their weights."""

from __future__ import annotations

import shutil

import pytest

from emofair.checkpoints import resume
from emofair.errors import EmofairError
from emofair.testing import tiny_ssl_dir, token_corpus
from emofair.testing.checkpoints import differences
from emofair.testing.commands import continuing, seed_arguments, train_here


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return token_corpus(tmp_path_factory.mktemp("corpus"), n={"train": 16, "valid": 4, "test": 4}, audio_length=(6, 40))


@pytest.fixture
def folder(ssl_dir, tmp_path):
    """A folder of pretrained models to lose."""
    return shutil.copytree(ssl_dir, tmp_path / "ssl")


@pytest.fixture
def arguments(corpus, folder):
    def make(save_dir, *more):
        return [*continuing(seed_arguments(corpus, folder, save_dir)), "--num-workers", "0", *more]

    return make


def without_folder(command):
    at = command.index("--ssl-dir")
    return command[:at] + command[at + 2 :]


def test_a_run_goes_on_when_they_are_gone_and_ends_where_it_would_have(arguments, folder, tmp_path):
    train_here(arguments(tmp_path / "one", "--max-epoch", "1"))
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    elsewhere = folder.rename(tmp_path / "moved")
    assert "all weights come from" not in train_here(arguments(tmp_path / "one", "--ssl-dir", elsewhere))
    output = train_here(arguments(tmp_path / "other"))
    assert f"all weights come from {tmp_path / 'other' / 'checkpoint_last.pt'}" in output
    assert differences(tmp_path / "one" / "checkpoint_last.pt", tmp_path / "other" / "checkpoint_last.pt") == []


def test_so_does_another_run_that_starts_from_its_weights(arguments, folder, tmp_path):
    train_here(arguments(tmp_path / "first", "--max-epoch", "1"))
    shutil.rmtree(folder)
    start = ("--finetune-from-model", tmp_path / "first" / "checkpoint_best.pt", "--max-update", "1")
    output = train_here(without_folder(arguments(tmp_path / "second", *start)))
    assert "all weights come from" in output
    assert (tmp_path / "second" / "checkpoint_best.pt").exists()


def test_they_are_read_where_something_else_is_asked_for(arguments, corpus, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_here(arguments(tmp_path / "run", "--max-epoch", "1"))
    shutil.rmtree(folder)
    # Without a checkpoint, with another model, with encoders from elsewhere.
    with pytest.raises(EmofairError, match="model not found"):
        train_here(arguments(tmp_path / "new"))
    with pytest.raises(EmofairError, match="model not found"):
        train_here(arguments(tmp_path / "run", "--arch", "robertaEMO_base"))
    deeper = tiny_ssl_dir(tmp_path / "deeper", layers=3)
    with pytest.raises(EmofairError, match="its weights do not fit this model"):
        train_here([*arguments(tmp_path / "run"), "--ssl-dir", deeper])


def test_weights_that_are_awaited_must_come(arguments, tmp_path, monkeypatch):
    """The encoders are not filled otherwise."""
    train_here(arguments(tmp_path, "--max-epoch", "1"))
    monkeypatch.setattr(resume, "file_to_restore", lambda options: tmp_path / "checkpoint_best.pt")
    with pytest.raises(EmofairError, match=r"gone\.pt: no such checkpoint, which is needed for the weights"):
        train_here(arguments(tmp_path, "--restore-file", tmp_path / "gone.pt"))
