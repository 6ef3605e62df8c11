"""The criterion's options through fairseq's own front ends, and its figures against its prediction files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

import emofair
from emofair.checkpoints import safe
from emofair.testing.commands import run, seed_arguments, train_here


@pytest.fixture(scope="module")
def trained(token_corpora, ssl_dir, tmp_path_factory):
    """Sentiment, two epochs, a head of another name, selected by a derived figure."""
    folder = tmp_path_factory.mktemp("criterion")
    corpus = token_corpora("mosi")
    arguments = seed_arguments(corpus, ssl_dir, folder / "checkpoints", target=corpus.flags)
    arguments[arguments.index("loss")] = "f1_has0"
    arguments += ["--maximize-best-checkpoint-metric", "--classification-head-name", "sentiment"]
    train_here([*arguments, "--save-predictions", str(folder / "valid.tsv")])
    return corpus, folder


@pytest.fixture(scope="module")
def validated(trained):
    corpus, folder = trained
    done = run(
        *("fairseq-validate", "--user-dir", Path(emofair.__file__).parent, "--data", corpus.data),
        *("--path", folder / "checkpoints" / "checkpoint_best.pt"),
        *("--task", "emotion_prediction", "--valid-subset", "test", "--batch-size", 4, "--cpu", "--no-progress-bar"),
        *("--eval-metric", "--save-predictions", folder / "test.tsv"),
    )
    return done.stdout, folder / "test.tsv"


def table(path):
    head, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return {name: [row[i] for row in rows] for i, name in enumerate(head)}


def test_training_leaves_the_predictions_of_its_last_validation(trained):
    corpus, folder = trained
    assert sorted(table(folder / "valid.tsv")["id"]) == sorted(corpus.ids["valid"])


def test_the_file_of_this_run_is_not_stored_in_the_checkpoint(trained):
    """A later validation would overwrite it, or fail where the folder does not exist."""
    stored = safe.load(trained[1] / "checkpoints" / "checkpoint_best.pt")["cfg"]
    assert stored["task"]["save_predictions"] is None
    assert stored["criterion"]["save_predictions"] is None
    assert stored["criterion"]["classification_head_name"] == "sentiment"


def test_printed_figures_are_those_of_the_prediction_file(trained, validated):
    output, path = validated
    columns = table(path)
    assert sorted(columns["id"]) == sorted(trained[0].ids["test"])
    value, label = (np.array(columns[name], dtype=float) for name in ("value", "label"))
    printed = dict(re.findall(r" \| ([\w-]+) ([-\d.e]+)", output.splitlines()[-1]))
    expected = {
        "loss": np.abs(value - label).mean(),
        "mae": np.abs(value - label).mean(),
        "corr": stats.pearsonr(value, label).statistic,
        "accuracy": np.mean(np.array(columns["prediction"], dtype=int) == np.round(np.clip(label, -3, 3))),
        "binary-accuracy": reference.accuracy_score(label[label != 0] > 0, value[label != 0] > 0),
        "f1_has0": reference.f1_score(label >= 0, value >= 0, average="weighted"),
    }
    assert {name: float(printed[name]) for name in expected} == pytest.approx(expected, rel=1e-4)


def test_the_table_per_class_is_printed_once(validated):
    output, _ = validated
    assert output.count("support") == 3 and "per class" in output
