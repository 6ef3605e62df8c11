"""How clusters go together with labels: purity, entropy, normalised mutual information, from a table of counts.

A table is ``[k, c]``: frames of each cluster (row) and each label (column).
"""

from __future__ import annotations

import numpy as np

from emofair.metrics.classification import ratio


def contingency(units: np.ndarray, labels: np.ndarray, n_clusters: int, n_labels: int) -> np.ndarray:
    """Count every pair of cluster and label: float64 ``[n_clusters, n_labels]`` of two integer arrays of one shape."""
    pairs = np.asarray(units, dtype=np.int64) * n_labels + np.asarray(labels, dtype=np.int64)
    counts = np.bincount(pairs.reshape(-1), minlength=n_clusters * n_labels)
    return counts.reshape(n_clusters, n_labels).astype(np.float64)


def purity(table: np.ndarray) -> float:
    """Share of frames whose label is the most frequent one of their cluster.

    It grows with the number of clusters; `majority` is what a single cluster gets.
    """
    return ratio(table.max(axis=1).sum(), table.sum())


def majority(table: np.ndarray) -> float:
    """Share of the most frequent label: the purity of one cluster."""
    return ratio(table.sum(axis=0).max(), table.sum())


def inverse_purity(table: np.ndarray) -> float:
    """Share of frames that are in the most frequent cluster of their label."""
    return purity(table.T)


def entropies(table: np.ndarray) -> np.ndarray:
    """Entropy in bits of the labels of each cluster, ``[k]``; nan for a cluster without a frame."""
    totals = table.sum(axis=1)
    shares = table / np.maximum(totals, 1)[:, None]
    bits = -(shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0)).sum(axis=1)
    return np.where(totals > 0, bits, np.nan)


def nmi(table: np.ndarray) -> float | None:
    """Mutual information over the mean of both entropies: 0 (independent) to 1 (the same partition).

    None where all frames have one label: there is nothing that clusters could go with.
    """
    if np.count_nonzero(table.sum(axis=0)) < 2:
        return None
    joint = table / table.sum()
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    seen = joint > 0
    information = float((joint[seen] * np.log(joint[seen] / np.outer(rows, columns)[seen])).sum())
    mean = (_entropy(rows) + _entropy(columns)) / 2
    return max(information, 0.0) / mean


def n_dead(table: np.ndarray) -> int:
    """Clusters without a frame."""
    return int((table.sum(axis=1) == 0).sum())


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return -float((shares * np.log(shares)).sum())
