"""Which checkpoint a training will restore, and what is read of it, without a training."""

from __future__ import annotations

import types

import pytest
import torch

from emofair.checkpoints import resume, safe

MODEL = {"_name": "robertaEMO", "ssl_dir": "models", "ssl_random": None, "text_roberta_path": None}


def options(folder, **more):
    return types.SimpleNamespace(
        **{"save_dir": str(folder), "restore_file": "checkpoint_last.pt", "finetune_from_model": None, **more}
    )


def test_the_file_is_the_one_that_fairseq_takes(tmp_path):
    last, other = tmp_path / "checkpoint_last.pt", tmp_path / "other.pt"
    other.touch()
    assert resume.file_to_restore(options(tmp_path)) is None
    assert resume.file_to_restore(options(tmp_path, restore_file="None")) is None
    assert resume.file_to_restore(options(tmp_path, restore_file=str(other))) == other
    assert resume.file_to_restore(options(tmp_path, finetune_from_model=str(other))) == other
    last.touch()
    assert resume.file_to_restore(options(tmp_path)) == last
    assert resume.file_to_restore(options(tmp_path, finetune_from_model=str(other))) == last


@pytest.fixture
def checkpoint(tmp_path):
    stored = {**MODEL, "text_ssl_json": "{}", "speech_ssl_json": None, "ssl_random": None}
    torch.save({"cfg": {"model": stored}, "model": {"w": torch.arange(3.0)}}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({}, True),
        ({"ssl_dir": None}, True),
        ({"_name": "robertaEMO_base"}, False),
        ({"ssl_dir": "others"}, False),
        ({"text_roberta_path": "file.pt"}, False),
        ({"ssl_random": "tiny"}, False),
    ],
)
def test_shapes_are_given_where_nothing_else_is_asked_for(checkpoint, asked, given):
    assert resume.stored_shapes({**MODEL, **asked}, checkpoint) == ({"text_ssl_json": "{}"} if given else {})


@pytest.mark.parametrize("content", [{"model": {}}, {"cfg": None}, {"cfg": {"model": None}}])
def test_a_checkpoint_of_another_program_has_none(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    assert resume.stored_shapes(MODEL, tmp_path / "a.pt") == {}
    resume.check_protocol(tmp_path / "a.pt", "clean")


@pytest.mark.parametrize("new_form", [True, False])
def test_weights_that_are_left_in_the_file_can_be_read(checkpoint, new_form, tmp_path):
    torch.save(safe.load(checkpoint), tmp_path / "b.pt", _use_new_zipfile_serialization=new_form)
    assert safe.load(tmp_path / "b.pt", weights=False)["model"]["w"].tolist() == [0, 1, 2]
