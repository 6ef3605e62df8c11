"""Figures of a score against scipy, scikit-learn and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as reference
from sklearn.dummy import DummyRegressor

from emofair.metrics import regression
from emofair.metrics.regression import SENTIMENT_CLASSES
from emofair.testing.devices import reads_from_device

RANDOM = np.random.default_rng(0)
TRUE = np.round(np.clip(RANDOM.normal(0, 1.6, 300), -3, 3), 1).astype(np.float32)
CASES = {
    "random": ((TRUE + RANDOM.normal(0, 1.5, 300)).astype(np.float32), TRUE),
    "beyond the range": ((TRUE * 4).astype(np.float32), TRUE),
    "anti-correlated": (-TRUE, TRUE),
    "halves": (np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], np.float32), np.array([0, 2, 2, 0, -2, -2], np.float32)),
    "one item": (np.array([1.2], np.float32), np.array([0.8], np.float32)),
}


def figures_of(predicted, actual, names=SENTIMENT_CLASSES):
    sums = regression.score_sums(torch.tensor(predicted), torch.tensor(actual), names)
    return {name: figure(sums) for name, figure in regression.figures(names).items()}


def concordance(x, y):
    covariance = np.cov(x, y, ddof=0)
    return 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (x.mean() - y.mean()) ** 2)


@pytest.mark.parametrize("case", CASES, ids=lambda name: name.replace(" ", "_"))
def test_sentiment_figures(case):
    predicted, actual = (v.astype(np.float64) for v in CASES[case])
    polar = actual != 0

    def rounded(values, limit):
        return np.round(np.clip(values, -limit, limit)).astype(int)

    def weighted(a, p):
        return reference.f1_score(a, p, average="weighted", zero_division=0) if len(a) else 0.0

    binary = reference.accuracy_score(actual[polar] > 0, predicted[polar] > 0)
    expected = {
        "mae": reference.mean_absolute_error(actual, predicted),
        "mse": reference.mean_squared_error(actual, predicted),
        "corr": stats.pearsonr(predicted, actual).statistic if len(actual) > 1 else 0.0,
        "ccc": concordance(predicted, actual) if len(actual) > 1 else 0.0,
        "accuracy": reference.accuracy_score(rounded(actual, 3), rounded(predicted, 3)),
        "accuracy5": reference.accuracy_score(rounded(actual, 2), rounded(predicted, 2)),
        "binary-accuracy": binary,
        "ba-accuracy": binary,
        "f1": weighted(actual[polar] > 0, predicted[polar] > 0),
        "binary-accuracy-has0": reference.accuracy_score(actual >= 0, predicted >= 0),
        "f1_has0": weighted(actual >= 0, predicted >= 0),
    }
    figures = figures_of(*CASES[case])
    assert figures == pytest.approx(expected, abs=1e-9)
    assert all(type(value) is float for value in figures.values())


def test_halves_round_to_even():
    assert figures_of(*CASES["halves"])["accuracy"] == 1.0


def test_plain_scores_are_not_clamped():
    predicted, actual = np.array([40.4, 7.0, 5.6], np.float32), np.array([40.0, 9.0, 6.0], np.float32)
    figures = figures_of(predicted, actual, names=())
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["mae"] == pytest.approx(np.abs(predicted - actual).mean())
    assert "accuracy5" not in figures
    assert figures_of(predicted, actual)["accuracy"] == 1.0  # all beyond 3, so the same sentiment class


@pytest.mark.parametrize("constant", [0.0, 0.1, -2.7, 1234.567])
@pytest.mark.parametrize("n", [2, 7, 1000])
def test_constant_prediction_correlates_with_nothing(constant, n):
    """The variance from raw sums is then a rounding error, of either sign, that must not be divided by."""
    actual = np.resize(TRUE, n)
    batches = [(np.full(len(part), constant, np.float32), part) for part in np.array_split(actual, 2)]
    sums = sum(regression.score_sums(torch.tensor(p), torch.tensor(a), SENTIMENT_CLASSES) for p, a in batches)
    assert regression.pearson(sums) == 0.0
    assert regression.concordance(sums) == 0.0


def test_small_variation_still_correlates():
    predicted = (0.5 + 1e-4 * TRUE).astype(np.float32)
    expected = stats.pearsonr(predicted.astype(np.float64), TRUE.astype(np.float64)).statistic
    assert figures_of(predicted, TRUE)["corr"] == pytest.approx(expected, abs=1e-6)


def test_only_neutral_scores():
    """Nothing is left for the sign; the has-zero form counts every item."""
    figures = figures_of(np.array([0.3, -0.2, 0.0], np.float32), np.zeros(3, np.float32))
    assert (figures["binary-accuracy"], figures["f1"], figures["corr"]) == (0.0, 0.0, 0.0)
    assert figures["binary-accuracy-has0"] == pytest.approx(2 / 3)


def test_a_batch_of_neutral_scores_leaves_the_rest_unchanged():
    predicted, actual = CASES["random"]
    neutral = regression.score_sums(torch.ones(5), torch.zeros(5), SENTIMENT_CLASSES)
    sums = regression.score_sums(torch.tensor(predicted), torch.tensor(actual), SENTIMENT_CLASSES)
    figure = regression.figures(SENTIMENT_CLASSES)["binary-accuracy"]
    assert figure(sums + neutral) == figure(sums)


@pytest.mark.parametrize("names", [SENTIMENT_CLASSES, ()])
def test_sums_of_batches_are_the_whole(names):
    predicted, actual = (torch.tensor(v) for v in CASES["random"])
    parts = [regression.score_sums(p, a, names) for p, a in zip(predicted.split(17), actual.split(17), strict=True)]
    whole = regression.score_sums(predicted, actual, names)
    assert torch.allclose(sum(parts), whole, rtol=1e-13)
    assert not regression.score_sums(predicted[:0], actual[:0], names).any()
    assert not any(figure(whole * 0) for figure in regression.figures(names).values())


def test_shape_of_the_head_does_not_broadcast():
    """[N, 1] logits against [N] targets are N pairs, also for N = 1."""
    column, flat = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 2.0])
    assert torch.equal(regression.score_sums(column, flat), regression.score_sums(flat, flat))


@pytest.mark.parametrize("names", [SENTIMENT_CLASSES, ()])
def test_counting_does_not_wait_for_the_device(names):
    predicted, actual = (torch.tensor(v) for v in CASES["random"])
    assert reads_from_device(regression.score_sums, predicted, actual, names) == 0


def test_report():
    sums = regression.score_sums(*(torch.tensor(v) for v in CASES["random"]), SENTIMENT_CLASSES)
    tables = regression.report(sums, SENTIMENT_CLASSES).split("\n\n")
    assert [len(table.splitlines()) for table in tables] == [3, 3, 8]
    assert sum(int(line.split()[-1]) for line in tables[2].splitlines()[1:]) == 300
    assert sum(int(line.split()[-1]) for line in tables[0].splitlines()[1:]) == int((TRUE != 0).sum())


@pytest.mark.parametrize("names", [SENTIMENT_CLASSES, ()])
def test_constant_guess(names):
    """The median has the lowest mean absolute error of all constants, and no correlation."""
    actual = np.random.default_rng(5).normal(size=51).astype(np.float32)
    guess, constant = regression.constant_guess(torch.tensor(actual), names)
    floor = DummyRegressor(strategy="median").fit(actual, actual).predict(actual)
    assert float(guess) == pytest.approx(float(floor[0]), rel=1e-5)
    figures = regression.figures(names)
    assert figures["mae"](constant) == pytest.approx(reference.mean_absolute_error(actual, floor))
    assert figures["corr"](constant) == 0.0
    matrix = regression.confusion(constant, names)
    assert (matrix is None) if not names else (matrix.sum() == 51)
