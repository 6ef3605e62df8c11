"""Decisions by frame: medians and best paths against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from emofair.errors import EmofairError
from emofair.inference.smoothing import Smoothing, median, runs, viterbi


def log_posteriors(n, k, seed=0):
    scores = np.random.default_rng(seed).standard_normal((n, k))
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("penalty", [0, 0.7, 2.0, 50.0])
@pytest.mark.parametrize("n", range(1, 8))
def test_viterbi_finds_the_best_of_all_paths(n, penalty):
    for seed, k in itertools.product(range(3), (1, 2, 3)):
        scores = log_posteriors(n, k, seed)

        def worth(path, scores=scores, n=n):
            return scores[range(n), path].sum() - penalty * np.count_nonzero(np.diff(path))

        found = viterbi(scores, penalty)
        assert found.shape == (n,)
        best = max(worth(np.array(path)) for path in itertools.product(range(k), repeat=n))
        assert worth(found) == pytest.approx(best)


def test_viterbi_of_a_long_recording_is_the_usual_recursion():
    scores, penalty = log_posteriors(1237, 4), 1.5
    value, back = scores[0], []
    for row in scores[1:]:
        step = value[:, None] - penalty * (1 - np.eye(4))
        back.append(step.argmax(axis=0))
        value = step.max(axis=0) + row
    path = [int(value.argmax())]
    for previous in reversed(back):
        path.append(int(previous[path[-1]]))
    assert viterbi(scores, penalty).tolist() == path[::-1]


def test_a_high_penalty_gives_one_class_and_none_the_argmax():
    scores = log_posteriors(50, 3)
    assert len(set(Smoothing("viterbi", penalty=1e6).decide(scores))) == 1
    assert Smoothing("viterbi", penalty=0).decide(scores).tolist() == scores.argmax(axis=1).tolist()
    assert Smoothing("none").decide(scores).tolist() == scores.argmax(axis=1).tolist()


def test_median_is_that_of_its_neighbours():
    values = np.random.default_rng(0).random((30, 2))
    smooth = median(values, 5)
    for t in range(30):
        around = values[np.clip(np.arange(t - 2, t + 3), 0, 29)]
        assert smooth[t].tolist() == np.median(around, axis=0).tolist()
    assert median(values[:2], 9).shape == (2, 2)
    flicker = np.log([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.9, 0.1]])
    assert Smoothing("median", width=3).decide(flicker).tolist() == [0] * 5
    assert Smoothing("median", width=1).decide(flicker).tolist() == [0, 0, 1, 0, 0]


def test_runs():
    first, end = runs(np.array([2, 2, 0, 1, 1, 1]))
    assert (first.tolist(), end.tolist()) == ([0, 2, 3], [2, 3, 6])
    assert [part.tolist() for part in runs(np.array([7]))] == [[0], [1]]


def test_only_the_settings_in_use_are_told():
    assert Smoothing().facts() == {"kind": "median", "width": 5}
    assert Smoothing("viterbi").facts() == {"kind": "viterbi", "penalty": 3.0}
    assert Smoothing("none").facts() == {"kind": "none"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "mean"}, "'mean' is not known. Choose of median, viterbi, none"),
        ({"width": 4}, "over 4 frames"),
        ({"width": 0}, "over 0 frames"),
        ({"width": 999_999_999}, "over 999999999 frames is too wide. Give at most 501"),
        ({"penalty": 1e308}, "penalty of 1e.308. Give 0 to 1e.09"),
        ({"penalty": -1.0}, "penalty of -1.0"),
        ({"penalty": float("nan")}, "penalty of nan"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(EmofairError, match=message):
        Smoothing(**options)
