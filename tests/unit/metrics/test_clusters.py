"""Purity and NMI by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from emofair.metrics.clusters import contingency, entropies, inverse_purity, majority, n_dead, nmi, purity


def test_by_hand():
    units, labels = np.array([0, 0, 0, 1, 1, 3]), np.array([0, 0, 1, 1, 1, 2])
    table = contingency(units, labels, 5, 3)
    assert table.tolist() == [[2, 1, 0], [0, 2, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert purity(table) == 5 / 6
    assert inverse_purity(table) == 5 / 6
    assert entropies(table)[:2].tolist() == pytest.approx([0.9182958, 0]) and np.isnan(entropies(table)[2])
    assert majority(table) == 3 / 6
    assert n_dead(table) == 2


@pytest.mark.parametrize("seed", range(4))
def test_equals_scikit_learn(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, 3000)
    units = np.where(random.random(3000) < 0.2 * seed, labels * 2, random.integers(0, 9, 3000))
    table = contingency(units, labels, 10, 4)
    used = np.unique(units)
    assert table[used].tolist() == contingency_matrix(units, labels).tolist()
    assert nmi(table) == pytest.approx(normalized_mutual_info_score(labels, units), abs=1e-12)


def test_tables_of_parts_add_up():
    random = np.random.default_rng(0)
    units, labels = random.integers(0, 6, 200), random.integers(0, 3, 200)
    parts = [contingency(units[i : i + 50], labels[i : i + 50], 6, 3) for i in range(0, 200, 50)]
    assert sum(parts).tolist() == contingency(units, labels, 6, 3).tolist()


@pytest.mark.parametrize(("units", "labels", "expected"), [([0, 0], [0, 1], 0.0), ([0, 1], [1, 0], 1.0)])
def test_extremes(units, labels, expected):
    assert nmi(contingency(np.array(units), np.array(labels), 2, 2)) == pytest.approx(expected)
    assert normalized_mutual_info_score(labels, units) == pytest.approx(expected)


@pytest.mark.parametrize("units", [[0, 0], [0, 1]])
def test_there_is_no_nmi_with_a_single_label(units):
    assert nmi(contingency(np.array(units), np.array([1, 1]), 2, 2)) is None
