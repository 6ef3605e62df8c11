"""A checkpoint with a task of ours and a model of fairseq's own ran code: fairseq evaluates that model's options."""

from __future__ import annotations

import argparse

import pytest
import torch

import emofair
from emofair.checkpoints import safe
from emofair.errors import EmofairError
from emofair.inference.evaluation import evaluate
from emofair.testing.commands import seed_arguments, train_here, validate_here


def code(marker):
    return f"__import__('os').system('touch {marker}')"


def wav2vec(marker):
    return {"_name": "wav2vec", "conv_feature_layers": f"[(16, 3, 1)] if {code(marker)} else []"}


def ctc(marker):
    return {"_name": "ctc", "wer_args": code(marker)}


def other_model(state, marker):
    state["cfg"]["model"] = wav2vec(marker)


def other_criterion(state, marker):
    state["cfg"]["criterion"] = ctc(marker)


def model_without_a_name(state, marker):
    state["cfg"]["model"] = {"wav2vec": wav2vec(marker)}


def options_in_the_old_form(state, marker):
    state["args"] = argparse.Namespace(task="audio_pretraining", data=".", arch="wav2vec", **wav2vec(marker))


def second_task(state, marker):
    state["cfg"]["task"]["task"] = "audio_pretraining"
    state["cfg"]["model"] = wav2vec(marker)


@pytest.fixture(scope="module")
def arguments(token_corpora, ssl_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return [*seed_arguments(token_corpora("iemocap"), ssl_dir, folder), "--max-update", "1", "--num-workers", "0"]


@pytest.fixture(scope="module")
def trained(arguments):
    train_here(arguments)
    return safe.load(arguments[arguments.index("--save-dir") + 1] + "/checkpoint_last.pt")


@pytest.fixture
def hostile(trained, tmp_path):
    def make(change):
        path, marker = tmp_path / "checkpoint.pt", tmp_path / "PWNED"
        state = {**trained, "cfg": {**trained["cfg"], "task": dict(trained["cfg"]["task"])}}
        change(state, marker)
        torch.save(state, path)
        return path, marker

    return make


def other_task(state, marker):
    state["cfg"]["task"]["_name"] = "audio_pretraining"
    state["cfg"]["model"] = wav2vec(marker)


CHANGES = [other_model, other_criterion, model_without_a_name, options_in_the_old_form, second_task, other_task]


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_runs_when_it_is_opened_here(change, hostile, token_corpora):
    path, marker = hostile(change)
    corpus = token_corpora("iemocap")
    for use in (emofair.load, lambda path: evaluate(path, corpus.data, data_raw=corpus.raw)):
        with pytest.raises(EmofairError, match=r"not one of emofair's|form of another program") as caught:
            use(path)
        assert str(caught.value).startswith(f"{path}: ")
    assert not marker.exists()


def validate(path):
    arguments = ["--path", path, "--task", "emotion_prediction", "--batch-size", 4, "--cpu", "--num-workers", 0]
    return validate_here([*arguments, "--valid-subset", "test"])


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_runs_under_fairseq_validate(change, hostile):
    path, marker = hostile(change)
    with pytest.raises(EmofairError, match=r"not one of emofair's|form of another program"):
        validate(path)
    assert not marker.exists()


def test_nothing_is_written_where_the_file_says(hostile):
    def predictions_elsewhere(state, marker):
        state["cfg"]["task"]["save_predictions"] = str(marker)
        state["cfg"]["criterion"] = {**state["cfg"]["criterion"], "save_predictions": str(marker)}

    path, marker = hostile(predictions_elsewhere)
    assert "22 items" in validate(path)
    assert not marker.exists()


def test_the_marker_would_be_seen(tmp_path):
    """fairseq alone does run it: what is refused here is not harmless anyway."""
    from fairseq import models
    from omegaconf import OmegaConf

    marker = tmp_path / "PWNED"
    cfg = OmegaConf.create({"model": wav2vec(marker)})
    with pytest.raises(IndexError):  # what an empty list of layers leads to
        models.build_model(cfg.model, None, True)
    assert marker.exists()
