"""k-means over more frames than fit into memory: mini-batches to get there, whole passes to settle.

1. k-means++ on a random sample;
2. scikit-learn's `MiniBatchKMeans.partial_fit` over all frames once, in random order, without replacement;
3. passes over all frames in order (Lloyd's algorithm), each of which gives the exact inertia and counts of the
   centroids at its beginning. A dead cluster gets half of the largest one. The fit ends when a pass improves the
   inertia by less than `TOLERANCE`.

Everything follows from the seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from emofair.data.leak_check import facts_of
from emofair.errors import EmofairError, require
from emofair.units.feature_store import Features
from emofair.units.kmeans import KMeans
from emofair.units.nearest import NearestCentroid

FRAMES_PER_CLUSTER = 39
"""Fewer frames than this per cluster make a poor k-means (the figure is faiss's)."""

TOLERANCE = 1e-4
BACKENDS = ("sklearn", "faiss")
_SAMPLE_PER_CLUSTER = 20


@dataclass(frozen=True)
class FitOptions:
    """How to fit: ``share`` of the frames, drawn at random; at most ``passes`` over them in step 3 (or faiss's
    iterations); mini-batches of ``batch_frames``.
    """

    seed: int = 0
    share: float = 1.0
    batch_frames: int = 10000
    passes: int = 20
    backend: str = "sklearn"


class Pass(NamedTuple):
    """What one pass found: mean squared distance per frame, frames per cluster [K], sums of their frames [K, D]."""

    inertia: float
    counts: np.ndarray
    sums: np.ndarray

    @property
    def n_dead(self) -> int:
        """Clusters without a frame."""
        return int((self.counts == 0).sum())


def fit(
    features: Features, k: int, options: FitOptions | None = None, report: Callable[[str], None] | None = None
) -> KMeans:
    """Fit ``k`` centroids; ``report`` is told, in a line each, how the passes go.

    Raises EmofairError when there are fewer frames than clusters.
    """
    options, report = options or FitOptions(), report or (lambda line: None)
    frames = _Frames(features, options)
    if k > len(frames):
        raise EmofairError(
            f"{k} clusters are more than the {len(frames)} frames", file=features.folder, remedy="Give a smaller -k"
        )
    if len(frames) < FRAMES_PER_CLUSTER * k:
        report(
            f"warning: {len(frames) / k:.0f} frames per cluster are few "
            f"(fewer than {FRAMES_PER_CLUSTER}): take a smaller k or more audio"
        )
    trained_on = _trained_on(features, report)
    rng = np.random.default_rng([options.seed, k])
    start = _faiss if options.backend == "faiss" else _mini_batches
    centroids = start(frames, k, options, rng)
    # What faiss has fitted is only measured, but for dead clusters.
    passes = options.passes if options.backend == "sklearn" else 1
    centroids, last = _settle(frames, centroids, passes, rng, report)
    facts = {
        "features": features.facts(),
        "fit": {**options.__dict__, "k": k, "n_frames": len(frames), "n_dead": last.n_dead},
        "trained_on": trained_on,
    }
    return KMeans(centroids, last.counts, last.inertia, options.seed, facts)


def _trained_on(features: Features, report: Callable[[str], None]) -> dict[str, Any] | None:
    """Facts (`emofair.data.leak_check`) of the clips behind the centroids, those of the encoder included."""
    encoder, manifest = features.record.get("trained_on"), features.record.get("manifest")
    if manifest is None or not os.path.isdir(manifest):
        report("note: the manifest of these features is gone; what was fitted on cannot be compared with a test split")
        return encoder
    return facts_of(manifest, [features.split], earlier=[encoder] if encoder else [], uses_labels=False)


class _Frames:
    """The frames that are used, in order or at random."""

    def __init__(self, features: Features, options: FitOptions) -> None:
        self.features = features
        self.chosen: np.ndarray | None = None
        if options.share < 1:
            n = max(1, round(options.share * features.n_frames))
            # Keyed by the seed alone: every k of a run sees the same frames.
            rng = np.random.default_rng([options.seed])
            self.chosen = np.sort(rng.choice(features.n_frames, n, replace=False, shuffle=False))

    def __len__(self) -> int:
        return self.features.n_frames if self.chosen is None else len(self.chosen)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Frames by ascending numbers among those that are used."""
        return self.features.rows(numbers if self.chosen is None else self.chosen[numbers])

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """All that are used, in order."""
        if self.chosen is None:
            yield from self.features.blocks(size)
        else:
            for start in range(0, len(self.chosen), size):
                yield self.features.rows(self.chosen[start : start + size])


def _plus_plus(frames: _Frames, k: int, batch: int, rng: np.random.Generator) -> np.ndarray:
    """Frames that are far apart, from a random sample (k-means++)."""
    from sklearn.cluster import kmeans_plusplus

    n = min(len(frames), max(3 * batch, _SAMPLE_PER_CLUSTER * k))
    sample = frames.rows(np.sort(rng.choice(len(frames), n, replace=False, shuffle=False)))
    # scikit-learn would turn the whole sample to float64 for every centroid: twice the time.
    centroids, _ = kmeans_plusplus(sample.astype(np.float64), k, random_state=int(rng.integers(1 << 31)))
    return centroids.astype(np.float32)


def _mini_batches(frames: _Frames, k: int, options: FitOptions, rng: np.random.Generator) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans
    from tqdm import tqdm

    batch = min(max(options.batch_frames, k), len(frames))
    model = MiniBatchKMeans(
        k,
        init=_plus_plus(frames, k, batch, rng),
        n_init=1,
        batch_size=batch,
        reassignment_ratio=0.0,
        compute_labels=False,
        random_state=int(rng.integers(1 << 31)),
    )
    order = rng.permutation(np.arange(len(frames), dtype=np.int32 if len(frames) < 1 << 31 else np.int64))
    # Whole batches only. disable=None: a bar on terminals only.
    for start in tqdm(range(0, len(order) - batch + 1, batch), desc=f"k={k}: mini-batches", disable=None):
        model.partial_fit(frames.rows(np.sort(order[start : start + batch])))
    return model.cluster_centers_


def _faiss(frames: _Frames, k: int, options: FitOptions, rng: np.random.Generator) -> np.ndarray:
    """faiss keeps all frames in memory. Its own start, random frames, can end far from the best centroids."""
    faiss = require("faiss", "faiss", "--backend faiss")
    start = _plus_plus(frames, k, min(max(options.batch_frames, k), len(frames)), rng)
    x = np.concatenate(list(frames.blocks(1 << 16)))
    model = faiss.Kmeans(
        x.shape[1],
        k,
        niter=options.passes,
        seed=int(rng.integers(1 << 31)),
        min_points_per_centroid=1,
        max_points_per_centroid=len(x),
    )
    model.train(x, init_centroids=start)
    return np.asarray(model.centroids, dtype=np.float32).reshape(k, -1)


def _settle(
    frames: _Frames, centroids: np.ndarray, passes: int, rng: np.random.Generator, report: Callable[[str], None]
) -> tuple[np.ndarray, Pass]:
    """Lloyd's algorithm; the result's counts and inertia are those of the centroids that are returned."""
    previous: Pass | None = None
    for number in range(1, passes + 1):
        result = measure(frames, centroids, f"k={len(centroids)}: pass {number}")
        report(
            f"k={len(centroids)}, pass {number}: inertia {result.inertia:.6g} per frame; frames per cluster "
            f"{result.counts.min()} to {result.counts.max()}, {result.n_dead} clusters dead"
        )
        if number == passes or (previous is not None and _stalls(previous, result)):
            break
        centroids = update(centroids, result, rng)
        previous = result
    if result.n_dead:
        report(f"warning: {result.n_dead} of {len(centroids)} clusters have no frame")
    return centroids, result


def _stalls(previous: Pass, result: Pass) -> bool:
    gained = previous.inertia - result.inertia
    # As many dead as before, though they were re-split: there are not that many different frames.
    return gained <= TOLERANCE * previous.inertia and (not result.n_dead or result.n_dead >= previous.n_dead > 0)


def measure(frames: _Frames | Features, centroids: np.ndarray, title: str | None = None) -> Pass:
    """Assign all frames to ``centroids`` [K, D] and sum them up."""
    import torch
    from tqdm import tqdm

    nearest = NearestCentroid(centroids)
    counts = np.zeros(len(centroids), dtype=np.int64)
    sums = torch.zeros(centroids.shape, dtype=torch.float64)
    total = n = 0
    with tqdm(unit="frame", desc=title, disable=None if title else True, leave=False, unit_scale=True) as bar:
        for block in frames.blocks(nearest.block):
            ids, distances = nearest(block)
            part = torch.zeros(centroids.shape).index_add_(0, torch.from_numpy(ids), torch.from_numpy(block))
            sums += part
            counts += np.bincount(ids, minlength=len(centroids))
            total += float(distances.sum())
            n += len(block)
            bar.update(len(block))
    return Pass(total / n, counts, sums.numpy())


def update(centroids: np.ndarray, result: Pass, rng: np.random.Generator) -> np.ndarray:
    """Means of the clusters; each dead one becomes one half of the cluster that is the largest at its turn.

    The halves lie on either side of the old centroid, a thousandth of the mean distance away in a random direction.
    """
    new = (result.sums / np.maximum(result.counts, 1)[:, None]).astype(np.float32)
    sizes = result.counts.astype(np.float64)
    step = 1e-3 * np.sqrt(result.inertia / new.shape[1])
    for dead in np.flatnonzero(result.counts == 0):
        donor = int(sizes.argmax())
        shift = (step * rng.standard_normal(new.shape[1])).astype(np.float32)
        new[dead] = new[donor] - shift
        new[donor] += shift
        sizes[dead] = sizes[donor] = sizes[donor] / 2
    return new
