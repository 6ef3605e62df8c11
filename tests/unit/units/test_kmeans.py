"""The k-means file: no pickle, nothing else than what was fitted, and not for other features."""

import pickle

import numpy as np
import pytest

from emofair.errors import EmofairError
from emofair.units.feature_store import Features
from emofair.units.kmeans import KMeans, load_kmeans

CENTROIDS = np.arange(12, dtype=np.float32).reshape(3, 4)
SOURCE = {"features": "encoder", "checkpoint_sha256": "abc", "layer": 9}


def fitted(**source):
    facts = {"features": {"source": SOURCE | source}, "fit": {"k": 3}}
    return KMeans(CENTROIDS, np.array([5, 0, 2]), 1.5, 7, facts)


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "km3.npz"
    fitted().save(path)
    loaded = load_kmeans(path)
    np.testing.assert_array_equal(loaded.centroids, CENTROIDS)
    assert loaded.centroids.dtype == np.float32
    assert (loaded.counts.tolist(), loaded.inertia, loaded.seed) == ([5, 0, 2], 1.5, 7)
    assert (loaded.facts, loaded.sha256, loaded.k, loaded.dim) == (fitted().facts, fitted().sha256, 3, 4)
    assert [file.name for file in path.parent.iterdir()] == ["km3.npz"]
    again = tmp_path / "again.npz"
    fitted().save(again)
    assert again.read_bytes() == path.read_bytes()


def test_no_part_of_the_file_is_a_pickle(tmp_path):
    fitted().save(tmp_path / "km3.npz")
    with np.load(tmp_path / "km3.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["centroids", "counts", "facts", "inertia", "seed", "sha256"]
        assert all(not archive[name].dtype.hasobject for name in archive.files)


def test_bare_centroids(tmp_path):
    np.save(tmp_path / "centroids.npy", CENTROIDS.astype(np.float64))
    loaded = load_kmeans(tmp_path / "centroids.npy")
    assert loaded.sha256 == fitted().sha256
    assert (loaded.counts, loaded.facts) == (None, {})


def test_hash_is_of_the_centroids_alone():
    assert fitted().sha256 == KMeans(CENTROIDS).sha256
    changed = CENTROIDS.copy()
    changed[1, 1] = np.nextafter(changed[1, 1], np.float32(9))
    assert len({KMeans(c).sha256 for c in (CENTROIDS, changed, CENTROIDS.reshape(4, 3), CENTROIDS[::-1])}) == 4


@pytest.mark.parametrize("name", ["km.bin", "km.pt", "km.joblib", "km.PKL"])
def test_pickles_are_not_opened(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(CENTROIDS))
    with pytest.raises(EmofairError, match=r"is a pickle, not made by emofair kmeans\. emofair units reads its cent"):
        load_kmeans(tmp_path / name)


def test_a_pickle_by_another_name_is_not_opened_either(tmp_path):
    (tmp_path / "km.npy").write_bytes(pickle.dumps(CENTROIDS))
    np.save(tmp_path / "objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    for name in ("km.npy", "objects.npy"):
        with pytest.raises(EmofairError, match=f"{name}: is not a k-means that can be read"):
            load_kmeans(tmp_path / name)


def test_what_is_no_kmeans_is_told(tmp_path):
    fitted().save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    np.savez(tmp_path / "others.npz", x=CENTROIDS)
    np.save(tmp_path / "flat.npy", CENTROIDS[0])
    np.save(tmp_path / "nan.npy", CENTROIDS * np.nan)
    np.save(tmp_path / "ids.npy", CENTROIDS.astype(int))
    np.save(tmp_path / "huge.npy", CENTROIDS.astype(np.float64) * 1e300)
    (tmp_path / "cut.npz").write_bytes(whole[:300])
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("others.npz", "flat.npy", "nan.npy", "ids.npy", "huge.npy", "cut.npz", "empty.npz"):
        with pytest.raises(EmofairError, match=name):
            load_kmeans(tmp_path / name)
    with pytest.raises(EmofairError, match=r"no\.npz: no such k-means"):
        load_kmeans(tmp_path / "no.npz")


def test_centroids_that_were_changed_are_noticed(tmp_path):
    path = tmp_path / "km3.npz"
    fitted().save(path)
    with np.load(path) as archive:
        values = dict(archive)
    np.savez(path, **values | {"centroids": CENTROIDS + 1})
    with pytest.raises(EmofairError, match="centroids are not those of its hash"):
        load_kmeans(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"counts": np.array([5, 2])}, r"holds counts \[2\] of 3 clusters"),
        ({"facts": "[1]"}, r"is not the record of a k-means \(no JSON object\)"),
        ({"facts": '{"features": null}'}, r"\(features: 'None'\)"),
        ({"facts": '{"features": {"source": "x"}}'}, r"\(source: 'x'\)"),
        ({"facts": '{"features": {}, "fit": "x"}'}, r"\(fit: 'x'\)"),
    ],
)
def test_what_is_told_beside_the_centroids_must_fit_them(tmp_path, change, told):
    path = tmp_path / "km3.npz"
    fitted().save(path)
    with np.load(path) as archive:
        values = dict(archive)
    np.savez(path, **values | change)
    with pytest.raises(EmofairError, match=rf"km3\.npz: .*{told}.*\. Fit it again"):
        load_kmeans(path)


def test_features_of_another_width_or_source_are_refused(store):
    frames = np.zeros((4, 5), np.float32)
    wide = Features(store(frames, [4], folder="wide"), "train")
    with pytest.raises(EmofairError, match=r"km3: its centroids have 4 dimensions, the features in .*wide have 5"):
        fitted().check_fits(wide, "km3")
    same = Features(store(frames[:, :4], [4], folder="same", source=SOURCE), "train")
    fitted().check_fits(same, "km3")
    KMeans(CENTROIDS).check_fits(same, "bare centroids fit whatever has their width")
    with pytest.raises(EmofairError, match=r"km3: was fitted on other features .*\(layer 6, here 9\)"):
        fitted(layer=6).check_fits(same, "km3")
