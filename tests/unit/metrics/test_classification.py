"""Figures from confusion matrices against scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import hmean
from sklearn import metrics as reference
from sklearn.dummy import DummyClassifier

from emofair.metrics import classification as ours
from emofair.testing.devices import reads_from_device

K = 4
CASES = {
    "random": (np.random.default_rng(0).integers(0, K, 200), np.random.default_rng(1).integers(0, K, 200)),
    "a class never true": (np.array([0, 1, 2, 2, 1, 0]), np.array([0, 3, 2, 1, 1, 0])),
    "a class never predicted": (np.array([0, 1, 2, 3, 3]), np.array([0, 1, 2, 2, 1])),
    "a class in neither": (np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])),
    "constant prediction": (np.array([0, 1, 2, 3, 3]), np.full(5, 3)),
    "all wrong": (np.array([0, 1, 0]), np.array([1, 0, 1])),
    "one item": (np.array([2]), np.array([2])),
}


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "_"))
def case(request):
    actual, predicted = CASES[request.param]
    return actual, predicted, ours.confusion_matrix(torch.tensor(predicted), torch.tensor(actual), K)


def test_matrix(case):
    actual, predicted, matrix = case
    assert np.array_equal(matrix.numpy(), reference.confusion_matrix(actual, predicted, labels=range(K)))


def test_figures(case):
    actual, predicted, matrix = case
    figures = {name: figure(matrix) for name, figure in ours.figures("abcd").items()}
    per_class = reference.f1_score(actual, predicted, labels=range(K), average=None, zero_division=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is never true, which is the point
        expected = {
            "accuracy": reference.accuracy_score(actual, predicted),
            "f1": reference.f1_score(actual, predicted, average="weighted", zero_division=0),
            "f1_macro": reference.f1_score(actual, predicted, average="macro", zero_division=0),
            "uar": reference.balanced_accuracy_score(actual, predicted),
            **{f"f1_{name}": score for name, score in zip("abcd", per_class, strict=True)},
        }
    assert figures == pytest.approx(expected, abs=1e-12)
    assert all(type(value) is float for value in figures.values())


def test_precisions_and_recalls(case):
    actual, predicted, matrix = case
    precision = reference.precision_score(actual, predicted, labels=range(K), average=None, zero_division=0)
    recall = reference.recall_score(actual, predicted, labels=range(K), average=None, zero_division=np.nan)
    assert ours.precisions(matrix) == pytest.approx(precision)
    assert ours.recalls(matrix) == pytest.approx(recall, nan_ok=True)


def test_f1_of_means(case):
    """scipy's harmonic mean of scikit-learn's macro precision and balanced accuracy."""
    actual, predicted, matrix = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision = reference.precision_score(actual, predicted, average="macro", zero_division=0)
        recall = reference.balanced_accuracy_score(actual, predicted)
    expected = hmean([precision, recall]) if precision and recall else 0
    assert ours.f1_of_means(matrix) == pytest.approx(expected)


def test_f1_of_means_by_hand():
    """Precisions 1 and 2/3, recalls 1/2 and 1; it is neither macro F1 (11/15) nor micro F1 (3/4)."""
    assert ours.f1_of_means(np.array([[1, 1], [0, 2]])) == pytest.approx(15 / 19)


def test_nothing_counted_gives_zeros():
    figures = {**ours.figures(("a", "b")), "f1_of_means": ours.f1_of_means}
    assert {name: figure(np.zeros((2, 2))) for name, figure in figures.items()} == dict.fromkeys(figures, 0.0)


def test_sums_of_batches_are_the_whole():
    actual, predicted = (torch.tensor(x) for x in CASES["random"])
    sizes = [1, 64, 135]
    parts = map(ours.confusion_matrix, predicted.split(sizes), actual.split(sizes), [K] * 3)
    assert torch.equal(sum(parts), ours.confusion_matrix(predicted, actual, K))


def test_counts_stay_exact_under_bf16_autocast():
    """bfloat16 cannot count beyond 256."""
    ones = torch.ones(1000, dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours.confusion_matrix(ones, ones, 2)[1, 1] == 1000


def test_counting_does_not_wait_for_the_device():
    actual, predicted = (torch.tensor(x) for x in CASES["random"])
    assert reads_from_device(ours.confusion_matrix, predicted, actual, K) == 0


def test_report_shows_every_count():
    text = ours.report(np.array([[5, 1], [0, 7]]), ("sad", "surprised"))
    rows = [line.split() for line in text.splitlines()]
    assert rows[0][-6:] == ["sad", "surprised", "precision", "recall", "f1", "support"]
    assert rows[1] == ["sad", "5", "1", "1.0000", "0.8333", "0.9091", "6"]
    assert rows[2] == ["surprised", "0", "7", "0.8750", "1.0000", "0.9333", "7"]


def test_constant_guess(case):
    """The figures of a system that always says the most frequent class."""
    actual, _, matrix = case
    names = ("a", "b", "c", "d")
    guess, constant = ours.constant_guess(torch.tensor(actual), names)
    floor = DummyClassifier(strategy="most_frequent").fit(actual, actual).predict(actual)
    assert guess == names[floor[0]]
    assert ours.accuracy(constant) == pytest.approx(reference.accuracy_score(actual, floor))
    assert ours.weighted_f1(constant) == pytest.approx(reference.f1_score(actual, floor, average="weighted"))
    assert np.array_equal(ours.confusion(matrix, names).sum(axis=1), np.asarray(constant).sum(axis=1))
