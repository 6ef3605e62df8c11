"""How far the difference between two systems hangs on which utterances they were tested on: a paired bootstrap.

Efron, Tibshirani, "An Introduction to the Bootstrap" (1993), the percentile interval; paired as in Bisani, Ney,
"Bootstrap estimates for confidence intervals in ASR performance evaluation" (ICASSP 2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_RESAMPLES = 10_000
# Cells of the counts that are held at once: 64 MB.
BLOCK = 8_000_000


@dataclass(frozen=True)
class Difference:
    """A difference of shares, and the ends of the interval that holds 95 % of the resamples."""

    value: float
    low: float
    high: float


def paired_bootstrap(
    hits_a: np.ndarray,
    hits_b: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 1,
) -> dict[str, Difference]:
    """``accuracy`` (WA) and ``uar`` (UA) of system a minus those of system b on the same utterances.

    ``hits_*`` ``[N]`` say how right a system is on each utterance: 1 or 0, or the share of its seeds that are right.
    ``labels`` ``[N]`` are the true classes, in ``range(n_classes)``. Each resample draws N utterances with replacement,
    the same ones for both systems; a class that it misses is left out of its UA.
    """
    labels = np.asarray(labels)
    n = len(labels)
    truth = np.eye(n_classes)[labels]
    gain = np.asarray(hits_a, dtype=float) - np.asarray(hits_b, dtype=float)
    # Per class, what a gains over b and how many items there are: both are sums over utterances.
    terms = np.concatenate([gain[:, None] * truth, truth], axis=1)
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK // n)
    samples = []
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        drawn = generator.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.reshape(-1), minlength=size * n).reshape(size, n)
        samples.append(_differences(counts.astype(float) @ terms))
    value = _differences(terms.sum(axis=0, keepdims=True))[0]
    low, high = np.percentile(np.concatenate(samples), [2.5, 97.5], axis=0)
    return {
        name: Difference(float(value[i]), float(low[i]), float(high[i])) for i, name in enumerate(("accuracy", "uar"))
    }


def _differences(sums: np.ndarray) -> np.ndarray:
    """WA and UA differences ``[R, 2]`` from sums ``[R, 2 k]``: gains of each class, then its items."""
    gains, items = np.split(sums, 2, axis=1)
    by_class = np.divide(gains, items, out=np.full_like(gains, np.nan), where=items > 0)
    return np.stack([gains.sum(axis=1) / items.sum(axis=1), np.nanmean(by_class, axis=1)], axis=1)
