"""The nearest centroid: scikit-learn's, the lowest of equals, and the same however the frames are cut."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from emofair.units.nearest import NearestCentroid


def naive(frames, centroids):
    distances = ((frames[:, None].astype(np.float64) - centroids[None].astype(np.float64)) ** 2).sum(-1)
    return distances.argmin(axis=1), distances.min(axis=1)


@pytest.mark.parametrize(("n", "k", "dim"), [(700, 1, 5), (700, 7, 1), (3000, 50, 39), (300, 500, 64)])
def test_equals_the_naive_way(n, k, dim):
    random = np.random.default_rng(n + k)
    frames = (random.standard_normal((n, dim)) + 3).astype(np.float32)
    centroids = (random.standard_normal((k, dim)) + 3).astype(np.float32)
    ids, distances = NearestCentroid(centroids)(frames)
    expected, smallest = naive(frames, centroids)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(distances, smallest, rtol=1e-3, atol=1e-3)


def test_equals_scikit_learn(blobs):
    frames, _ = blobs(5000, 20, dim=48, spread=1.5)
    model = KMeans(30, n_init=1, random_state=0).fit(frames)
    ids, distances = NearestCentroid(model.cluster_centers_)(frames)
    np.testing.assert_array_equal(ids, model.predict(frames))
    assert distances.sum() == pytest.approx(model.inertia_, rel=1e-4)


def test_exact_ties_go_to_the_lowest_id():
    centroids = np.array([[9, 9], [1, 0], [0, 1], [1, 0], [-1, 0]], dtype=np.float32)
    frames = np.array([[1, 0], [0, 0], [0, 1], [0.5, 0.5], [-1, 0], [9, 9]], dtype=np.float32)
    assert NearestCentroid(centroids)(frames)[0].tolist() == [1, 1, 2, 1, 4, 0]


def test_far_from_the_origin_small_differences_still_count():
    """There float32 cannot rank |c|^2 - 2 x.c any more: most of 200 frames would get a wrong id."""
    random = np.random.default_rng(0)
    centroids = (1000 + 0.05 * random.standard_normal((8, 64))).astype(np.float32)
    frames = (1000 + 0.05 * random.standard_normal((200, 64))).astype(np.float32)
    rough = (centroids**2).sum(1) - 2 * frames @ centroids.T
    expected = naive(frames, centroids)[0]
    assert (rough.argmin(axis=1) != expected).mean() > 0.3
    np.testing.assert_array_equal(NearestCentroid(centroids)(frames)[0], expected)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_blocks_change_nothing(size):
    """Frames half-way between centroids: what rounding would decide differently in products of other shapes."""
    random = np.random.default_rng(1)
    centroids = random.standard_normal((40, 24)).astype(np.float32)
    pairs = random.integers(0, 40, (256, 2))
    frames = (centroids[pairs[:, 0]] + centroids[pairs[:, 1]]) / 2
    nearest = NearestCentroid(centroids)
    parts = [nearest(frames[start : start + size])[0] for start in range(0, 256, size)]
    np.testing.assert_array_equal(np.concatenate(parts), nearest(frames)[0])
    np.testing.assert_array_equal(nearest(frames)[0], naive(frames, centroids)[0])


def test_identical_frames_and_centroids_do_not_take_all_memory():
    """Digital silence has one feature vector, thousands of times."""
    nearest = NearestCentroid(np.ones((300, 32), dtype=np.float32))
    assert (nearest(np.ones((nearest.block, 32), dtype=np.float32))[0] == 0).all()
