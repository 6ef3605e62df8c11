"""Differences by hand, intervals against scipy's bootstrap."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from emofair.metrics import paired_bootstrap as module
from emofair.metrics.paired_bootstrap import Difference, paired_bootstrap

K = 3


@pytest.fixture(scope="module")
def systems():
    """Labels of 300 utterances of unequal classes, and two systems that are right on 70 % and on 55 % of them."""
    random = np.random.default_rng(0)
    labels = random.choice(K, size=300, p=[0.6, 0.3, 0.1])
    return labels, (random.random(300) < 0.7).astype(float), (random.random(300) < 0.55).astype(float)


def test_the_difference_by_hand():
    """Class 0: 3 of 4 right against 1; class 1: 0 of 2 against 1."""
    found = paired_bootstrap([1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1], 2, n_resamples=50)
    assert found["accuracy"].value == pytest.approx((3 - 2) / 6)
    assert found["uar"].value == pytest.approx((3 / 4 - 1 / 4 + 0 - 1 / 2) / 2)


def test_the_difference_is_that_of_the_scores(systems):
    labels, a, b = systems
    predicted_a, predicted_b = (np.where(hits > 0, labels, (labels + 1) % K) for hits in (a, b))
    found = paired_bootstrap(a, b, labels, K, n_resamples=10)
    for name, score in (("accuracy", accuracy_score), ("uar", balanced_accuracy_score)):
        assert found[name].value == pytest.approx(score(labels, predicted_a) - score(labels, predicted_b))


def test_the_interval_is_that_of_scipy(systems):
    labels, a, b = systems

    def uar(x, y, truth, axis=-1):
        sums = [np.sum((x - y) * (truth == k), axis=axis) / np.sum(truth == k, axis=axis) for k in range(K)]
        return np.mean(sums, axis=0)

    def accuracy(x, y, truth, axis=-1):
        return np.mean(x - y, axis=axis)

    ours = paired_bootstrap(a, b, labels, K)
    for name, statistic in (("accuracy", accuracy), ("uar", uar)):
        interval = stats.bootstrap(
            (a, b, labels),
            statistic,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=10_000,
            random_state=0,
        ).confidence_interval
        assert (ours[name].low, ours[name].high) == pytest.approx(tuple(interval), abs=0.006)


def test_pairs_stay_together(systems):
    """Equal systems do not differ on any resample; unpaired draws would."""
    labels, a, _ = systems
    assert paired_bootstrap(a, a, labels, K) == dict.fromkeys(("accuracy", "uar"), Difference(0.0, 0.0, 0.0))


def test_sides_can_be_changed(systems):
    labels, a, b = systems
    there, back = paired_bootstrap(a, b, labels, K), paired_bootstrap(b, a, labels, K)
    for name in there:
        assert (there[name].value, there[name].low) == pytest.approx((-back[name].value, -back[name].high))


def test_shares_of_seeds_narrow_the_interval(systems):
    labels, a, b = systems
    random = np.random.default_rng(1)
    averaged = np.mean([random.permutation(a) for _ in range(8)], axis=0)
    one, many = paired_bootstrap(a, b, labels, K)["accuracy"], paired_bootstrap(averaged, b, labels, K)["accuracy"]
    assert many.value == pytest.approx(one.value) and many.high - many.low < 0.9 * (one.high - one.low)


def test_rare_and_absent_classes_give_numbers():
    """A class with one item is missed by a third of the resamples; class 2 never occurs."""
    found = paired_bootstrap([1, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 1], K)
    assert found["uar"].value == pytest.approx((1 / 3 + 1) / 2)
    assert all(np.isfinite([each.low, each.high]).all() for each in found.values())
    assert found["uar"].low >= 0 and found["uar"].high == 1


def test_blocks_and_seeds(systems, monkeypatch):
    labels, a, b = systems
    whole = paired_bootstrap(a, b, labels, K, n_resamples=1001)
    assert paired_bootstrap(a, b, labels, K, n_resamples=1001) == whole
    assert paired_bootstrap(a, b, labels, K, n_resamples=1001, seed=2) != whole
    monkeypatch.setattr(module, "BLOCK", 100 * len(labels))
    in_blocks = paired_bootstrap(a, b, labels, K, n_resamples=1001)
    for name in whole:
        assert (in_blocks[name].low, in_blocks[name].high) == pytest.approx((whole[name].low, whole[name].high))
