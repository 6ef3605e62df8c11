"""scikit-learn's k-means from files of every kind, forged ones included; the centres alone come out."""

import os
import pickle
import sys
import types

import joblib
import numpy as np
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.linear_model import LogisticRegression

from emofair.checkpoints.pickled_kmeans import read_centres
from emofair.errors import EmofairError
from emofair.units.kmeans import load_kmeans

FRAMES = np.random.default_rng(0).standard_normal((200, 12)).astype(np.float32)


def fitted(kind=MiniBatchKMeans, **options):
    return kind(5, n_init=1, random_state=np.random.RandomState(0), **options).fit(FRAMES)


class Forged:
    """Pickles as whatever it is made with."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def both_ways(value, path):
    joblib.dump(value, path)
    yield path
    path.write_bytes(pickle.dumps(value))
    yield path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", [MiniBatchKMeans, KMeans])
def test_centres_are_scikit_learns(kind, protocol, tmp_path):
    model = fitted(kind)
    joblib.dump(model, tmp_path / "km.bin", protocol=protocol)
    np.testing.assert_array_equal(read_centres(tmp_path / "km.bin"), model.cluster_centers_)
    (tmp_path / "km.pkl").write_bytes(pickle.dumps(model, protocol=protocol))
    np.testing.assert_array_equal(read_centres(tmp_path / "km.pkl"), model.cluster_centers_)


def test_the_version_of_scikit_learn_does_not_matter(tmp_path):
    model = fitted()
    state = {**model.__getstate__(), "_sklearn_version": "0.24.1", "counts_": np.ones(5)}
    np.testing.assert_array_equal(read_centres(_moved(tmp_path, state)), model.cluster_centers_)


class Plain:
    def __init__(self, state):
        self.__dict__.update(state)


def _moved(folder, state):
    """A joblib file whose class lies in a module that today's scikit-learn does not have."""
    module = types.ModuleType("sklearn.cluster.k_means_")
    module.MiniBatchKMeans = type("MiniBatchKMeans", (Plain,), {"__module__": module.__name__})
    sys.modules[module.__name__] = module
    try:
        joblib.dump(module.MiniBatchKMeans(state), folder / "old.bin")
    finally:
        del sys.modules[module.__name__]
    return folder / "old.bin"


def test_only_with_leave(tmp_path):
    model = fitted()
    joblib.dump(model, tmp_path / "km.bin")
    with pytest.raises(EmofairError, match="--allow-pickle"):
        load_kmeans(tmp_path / "km.bin")
    loaded = load_kmeans(tmp_path / "km.bin", allow_pickle=True)
    assert loaded.centroids.dtype == np.float32 and loaded.k == 5
    np.testing.assert_array_equal(loaded.centroids, model.cluster_centers_.astype(np.float32))


@pytest.mark.parametrize(
    "reduced", [(os.system, ("touch {}",)), (eval, ("open('{}', 'w')",)), (np.load, ("{}",)), (type, ("A", (), {}))]
)
def test_nothing_in_it_is_run(reduced, tmp_path):
    made = tmp_path / "made"
    call, words = reduced
    words = tuple(word.format(made) if isinstance(word, str) else word for word in words)
    model = fitted()
    model.n_init = Forged(call, words)
    for path in both_ways(model, tmp_path / "km.bin"):
        with pytest.raises(EmofairError, match=r"km\.bin: holds more than a k-means: it asks for"):
            read_centres(path)
        assert not made.exists()


@pytest.mark.parametrize("value", [LogisticRegression(), {"cluster_centers_": FRAMES}, FRAMES, 3, None])
def test_something_else(value, tmp_path):
    for path in both_ways(value, tmp_path / "km.bin"):
        with pytest.raises(EmofairError, match=r"km\.bin: is not a pickled k-means: it has no cluster_centers_"):
            read_centres(path)


def test_centres_that_are_none(tmp_path):
    for bad in (np.array([[{}]], dtype=object), np.zeros(3), np.full((2, 3), np.nan)):
        model = fitted()
        model.cluster_centers_ = bad
        for path in both_ways(model, tmp_path / "km.bin"):
            with pytest.raises(EmofairError, match=r"km\.bin: "):
                load_kmeans(path, allow_pickle=True)


def test_compressed_truncated_and_no_pickle_at_all(tmp_path):
    path = tmp_path / "km.bin"
    joblib.dump(fitted(), path, compress=3)
    with pytest.raises(EmofairError, match=r"is compressed \(zlib\)\. Save it again"):
        read_centres(path)
    joblib.dump(fitted(), path)
    whole = path.read_bytes()
    for size in (len(whole) // 4, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:size])
        with pytest.raises(EmofairError, match=r"km\.bin: is (truncated|not a pickled k-means)"):
            read_centres(path)
    for noise in (b"", b"RIFF....", bytes(100)):
        path.write_bytes(noise)
        with pytest.raises(EmofairError, match=r"km\.bin: "):
            read_centres(path)
    with pytest.raises(EmofairError, match="no such file"):
        read_centres(tmp_path / "gone.bin")


def test_a_shape_that_is_larger_than_the_file_asks_for_no_memory(tmp_path):
    model = fitted()
    path = tmp_path / "km.bin"
    joblib.dump(model, path)
    content = path.read_bytes()
    small = pickle.dumps((5, 12), protocol=4)[11:-2]
    assert content.count(small) == 1
    path.write_bytes(content.replace(small, pickle.dumps((1 << 50, 12), protocol=4)[11:-2]))
    with pytest.raises(EmofairError, match=r"km\.bin: is "):
        read_centres(path)
