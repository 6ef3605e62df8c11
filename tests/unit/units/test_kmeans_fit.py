"""Fitting k-means out of memory: as good as scikit-learn in memory, seeded, with every cluster in use."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from emofair.errors import EmofairError
from emofair.units.feature_store import Features
from emofair.units.kmeans_fit import FitOptions, fit, measure, update
from emofair.units.nearest import NearestCentroid


@pytest.fixture
def features(store):
    def make(frames, nshard=1, **options):
        lengths = [10] * (len(frames) // 10)
        return Features(store(frames, lengths, nshard=nshard, folder=f"of{nshard}", **options), "train")

    return make


@pytest.mark.parametrize(("k", "spread"), [(12, 0.3), (12, 2.0), (40, 1.0)])
def test_inertia_is_that_of_scikit_learn_in_memory(features, blobs, k, spread):
    frames, _ = blobs(8000, 12, spread=spread)
    kmeans = fit(features(frames), k, FitOptions(batch_frames=500))
    plain = KMeans(k, n_init=5, random_state=0).fit(frames)
    assert kmeans.inertia < 1.03 * plain.inertia_ / len(frames)


def test_what_is_stored_is_what_the_centroids_make(features, blobs):
    frames, _ = blobs(3000, 8, spread=1.0)
    kmeans = fit(features(frames, nshard=3), 8, FitOptions(seed=3, batch_frames=500))
    distances = ((frames[:, None].astype(np.float64) - kmeans.centroids[None]) ** 2).sum(-1)
    assert kmeans.inertia == pytest.approx(distances.min(1).mean(), rel=1e-4)
    assert kmeans.counts.tolist() == np.bincount(distances.argmin(1), minlength=8).tolist()
    assert (kmeans.seed, kmeans.facts["fit"]["n_frames"], kmeans.facts["fit"]["n_dead"]) == (3, 3000, 0)
    assert kmeans.facts["features"]["source"] == {"features": "numbers"}
    assert kmeans.centroids.dtype == np.float32


def test_same_seed_same_centroids(features, blobs):
    frames, _ = blobs(2000, 9, spread=1.5)
    whole, shards = features(frames), features(frames, nshard=4)
    options = FitOptions(seed=1, batch_frames=300)
    first = fit(whole, 9, options).sha256
    assert fit(whole, 9, options).sha256 == first
    assert fit(whole, 9, FitOptions(seed=2, batch_frames=300)).sha256 != first
    np.testing.assert_allclose(fit(shards, 9, options).centroids, fit(whole, 9, options).centroids, atol=1e-3)


def test_float16_shards(features, blobs):
    frames, _ = blobs(2000, 5)
    exact, half = (fit(features(frames, dtype=dtype), 5).inertia for dtype in ("float32", "float16"))
    assert half == pytest.approx(exact, rel=1e-2)


def test_a_share_of_the_frames(features, blobs):
    frames, _ = blobs(4000, 6)
    kmeans = fit(features(frames), 6, FitOptions(share=0.25))
    assert kmeans.facts["fit"]["n_frames"] == kmeans.counts.sum() == 1000
    everything = measure(features(frames), kmeans.centroids)
    assert everything.inertia == pytest.approx(kmeans.inertia, rel=0.1)


def test_passes_are_told_and_end_when_nothing_is_gained(features, blobs):
    frames, _ = blobs(4000, 6)
    told = []
    fit(features(frames), 6, FitOptions(passes=20), told.append)
    assert "the manifest of these features is gone" in told.pop(0)
    assert 2 <= len(told) < 10
    assert told[0].startswith("k=6, pass 1: inertia ") and told[0].endswith(" 0 clusters dead")
    inertias = [float(line.split("inertia ")[1].split()[0]) for line in told]
    assert inertias == sorted(inertias, reverse=True)
    told.clear()
    fit(features(frames), 6, FitOptions(passes=1), told.append)
    assert len(told) == 2


def test_few_frames_per_cluster_are_a_warning_and_too_few_an_error(features, blobs):
    frames, _ = blobs(390, 3)
    told = []
    fit(features(frames), 10, report=told.append)
    assert not any("warning" in line for line in told)
    fit(features(frames), 11, report=told.append)
    assert "warning: 35 frames per cluster are few (fewer than 39)" in "".join(told)
    with pytest.raises(EmofairError, match=r"391 clusters are more than the 390 frames\. Give a smaller -k"):
        fit(features(frames), 391)
    assert fit(features(frames), 390).inertia == pytest.approx(0, abs=1e-3)


def test_dead_clusters_are_filled_from_the_largest():
    """Two centroids far away from everything: after an update each is half of a large cluster."""
    random = np.random.default_rng(0)
    frames = np.concatenate([random.standard_normal((900, 4)), 20 + random.standard_normal((100, 4))])
    frames = frames.astype(np.float32)
    centroids = np.array([[0] * 4, [20] * 4, [1e4] * 4, [-1e4] * 4], dtype=np.float32)

    class Frames:
        def blocks(self, size):
            yield frames

    before = measure(Frames(), centroids)
    assert before.counts.tolist() == [900, 100, 0, 0] and before.n_dead == 2
    after = measure(Frames(), update(centroids, before, random))
    assert after.n_dead == 0 and after.counts[1] == 100
    assert after.counts[[0, 2, 3]].min() > 100
    assert after.inertia < before.inertia


def test_a_fit_that_starts_with_dead_clusters_ends_without(features, blobs, monkeypatch):
    from emofair.units import kmeans_fit

    frames, _ = blobs(2000, 6, spread=0.2)
    start = np.concatenate([frames[:1], 1e4 + np.arange(5 * 16, dtype=np.float32).reshape(5, 16)])
    monkeypatch.setattr(kmeans_fit, "_mini_batches", lambda *arguments: start)
    kmeans = fit(features(frames), 6)
    assert kmeans.facts["fit"]["n_dead"] == 0
    assert kmeans.inertia < 2 * 16 * 0.2**2 * 6


def test_fewer_different_frames_than_clusters(features):
    frames = np.repeat(np.eye(4, dtype=np.float32), 50, axis=0)
    told = []
    kmeans = fit(features(frames), 6, report=told.append)
    assert kmeans.inertia == pytest.approx(0, abs=1e-4)
    assert (kmeans.counts == 0).sum() == kmeans.facts["fit"]["n_dead"] == 2
    assert "warning: 2 of 6 clusters have no frame" in told[-1]
    assert len(told) < 10
    assert sorted(set(NearestCentroid(kmeans.centroids)(frames)[0])) == sorted(np.flatnonzero(kmeans.counts))


def test_faiss(features, blobs):
    pytest.importorskip("faiss")
    frames, _ = blobs(4000, 6)
    ours, theirs = (fit(features(frames), 6, FitOptions(backend=name)).inertia for name in ("sklearn", "faiss"))
    assert theirs == pytest.approx(ours, rel=0.05)


def test_absent_faiss_is_one_line(features, blobs, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EmofairError, match=r"--backend faiss needs the Python package 'faiss' .*emofair\[faiss\]"):
        fit(features(blobs(500, 3)[0]), 3, FitOptions(backend="faiss"))
