"""Opening checkpoints that look like ours and are not quite: one line that names the file."""

from __future__ import annotations

import copy

import pytest
import torch

import emofair
from emofair.checkpoints import safe
from emofair.errors import EmofairError
from emofair.inference.checkpoint import load_checkpoint
from emofair.inference.evaluation import evaluate
from emofair.testing import token_corpus
from emofair.testing.commands import train_here


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return token_corpus(tmp_path_factory.mktemp("corpus"), "meld", n={"train": 4, "valid": 4, "test": 4}, audio=False)


@pytest.fixture(scope="module")
def good(corpus, ssl_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    train_here(
        [
            *("--data", corpus.data, "--data-raw", corpus.raw, "--ssl-dir", ssl_dir, "--t-only", *corpus.flags),
            *("--task", "emotion_prediction", "--arch", "robertaEMO", "--criterion", "emotion_prediction_cri"),
            *("--optimizer", "adam", "--batch-size", 4, "--max-update", 1, "--cpu", "--num-workers", 0),
            *("--no-epoch-checkpoints", "--no-last-checkpoints", "--log-format", "none", "--save-dir", folder),
        ]
    )
    return safe.load(folder / "checkpoint_best.pt")


@pytest.fixture
def changed(good, tmp_path):
    """A copy of the good checkpoint with entries replaced; a dotted name is a place, None removes it."""

    def write(**entries):
        state = copy.deepcopy(good)
        for place, value in entries.items():
            *parents, name = place.split("__")
            holder = state
            for parent in parents:
                holder = holder[parent]
            holder.pop(name)
            if value is not None:
                holder[name] = value
        torch.save(state, tmp_path / "strange.pt")
        return tmp_path / "strange.pt"

    return write


def test_the_good_one_is_good(changed, corpus):
    path = changed()
    assert load_checkpoint(path).facts["target"] == "softmax_meld"
    assert evaluate(path, corpus.data)["n"] == 4


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"cfg": None}, "not a checkpoint of fairseq-train with emofair"),
        ({"cfg": "yaml"}, "not a checkpoint of fairseq-train with emofair"),
        ({"cfg__task": None}, "not a checkpoint of fairseq-train with emofair"),
        ({"model": [1, 2]}, "not a checkpoint of fairseq-train with emofair"),
        ({"cfg__criterion": {"_name": "cross_entropy"}}, "the criterion 'cross_entropy'"),
        ({"cfg__model__a_only": "perhaps"}, "its configuration and weights make no model here .*perhaps"),
        ({"cfg__model__text_ssl_json": "{"}, "not the description of a RoBERTa encoder"),
        ({"cfg__model__text_ssl_json": None, "cfg__model__ssl_dir": "/absent"}, "/absent/roberta.large"),
        ({"cfg__model__pooler_dropout": 3.0}, "--pooler-dropout 3.0 is no probability"),
        ({"cfg__task__softmax_target_meld": False}, "no target is chosen"),
        ({"cfg__task__max_text_tokens": "many"}, "make no model here .*many"),
        ({"model__classification_heads.emotion_classification_head.out_proj.weight": None}, "out_proj.weight"),
        ({"task_state": 7}, "make no model here"),
        ({"optimizer_history": 7}, "make no model here"),
        ({"extra_state__best": "good"}, "make no model here .*good"),
        *[({f"cfg__{name}": None}, f"no section '{name}'") for name in ("common", "dataset", "checkpoint")],
        *[({f"cfg__{name}": 3}, f"no section '{name}'") for name in ("optimization", "distributed_training")],
        ({"cfg__optimizer": "adam"}, "a section 'optimizer' that holds no options"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_strange_ones_are_named(changed, entries, said):
    path = changed(**entries)
    with pytest.raises(EmofairError, match=said) as caught:
        emofair.load(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and len(line) < 450


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"cfg__dataset__batch_size": "all", "cfg__dataset__batch_size_valid": None}, "--batch-size all"),
        ({"cfg__optimization": {3: 4}}, "make no model here"),
    ],
)
def test_what_only_a_validation_reads(changed, corpus, entries, said):
    path = changed(**entries)
    with pytest.raises(EmofairError, match=said):
        evaluate(path, corpus.data)


def test_sections_that_a_converted_model_lacks(changed, corpus):
    result = evaluate(changed(cfg__optimizer=None, cfg__lr_scheduler=None), corpus.data)
    assert result["n"] == 4 and result["train_command"] is None
