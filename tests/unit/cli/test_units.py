"""`emofair units`: features and k-means in, labels of a manifest out."""

import json

import numpy as np
import pytest

from emofair.cli import main as entry
from emofair.data.manifests import read_split
from emofair.data.pseudo_label_dataset import read_units
from emofair.testing.clips import tone_corpus
from emofair.testing.speech import tiny_speech_checkpoint
from emofair.units.feature_store import Features
from emofair.units.kmeans import load_kmeans


def emofair(*words):
    return entry.main([str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A corpus, layer 2 of an encoder for both of its splits, and two k-means on one of them."""
    folder = tmp_path_factory.mktemp("made")
    tone_corpus(folder / "corpus", {"train": 20, "test": 6})
    checkpoint = tiny_speech_checkpoint(folder / "hubert.pt", "hubert")
    for split in ("train", "test"):
        options = ("--checkpoint", checkpoint, "--layer", 2, "--manifest", folder / "corpus")
        assert emofair("features", *options, "--split", split, "--out", folder / "features") == 0
    assert emofair("kmeans", "--features", folder / "features", "--split", "train", "-k", "4,16", "--out", folder) == 0
    return folder


@pytest.fixture
def run(made, tmp_path, capsys):
    """Run the verb; returns (exit code, standard output, standard error)."""

    def call(*options, split="train", kmeans="km4.npz", folder="features", out="out"):
        capsys.readouterr()
        paths = ",".join(str(made / name) for name in kmeans.split(","))
        words = ["--features", made / folder, "--split", split, "--kmeans", paths, "--out", tmp_path / out]
        code = emofair("units", *words, *options)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_labels_of_several_sizes(run, made, tmp_path):
    code, told, _ = run(kmeans="km4.npz,km16.npz")
    assert code == 0
    features = Features(made / "features", "train")
    frames = features.rows(np.arange(features.n_frames))
    for k, line in zip((4, 16), told.splitlines(), strict=True):
        kmeans = load_kmeans(made / f"km{k}.npz")
        units = read_units(tmp_path / "out" / f"train.km{k}", 20, k)
        assert [len(clip) for clip in units] == features.lengths.tolist()
        distances = ((frames[:, None].astype(float) - kmeans.centroids[None]) ** 2).sum(-1)
        assert np.concatenate(units).tolist() == distances.argmin(axis=1).tolist()
        record = json.loads((tmp_path / "out" / f"train.km{k}.json").read_text())
        assert record["kmeans_sha256"] == kmeans.sha256
        assert record["trained_on"] == kmeans.facts["trained_on"]
        assert record["features"]["source"] == features.record["source"]
        assert record["inertia"] == pytest.approx(kmeans.inertia, rel=1e-6)
        assert np.bincount(np.concatenate(units), minlength=k).tolist() == kmeans.counts.tolist()
        assert line.startswith(f"emofair units: train.km{k}: {features.n_frames} frames of 20 clips, ")
        assert f"against 3 labels: purity {record['purity']:.4f}" in line and "NMI" in line
        dictionary = (tmp_path / "out" / f"dict.km{k}.txt").read_text().splitlines()
        assert dictionary == [f"{i} {count}" for i, count in enumerate(kmeans.counts)]


def test_another_split_with_the_same_kmeans(run, tmp_path):
    assert run()[0] == run(split="test")[0] == 0
    assert len(read_units(tmp_path / "out" / "test.km4", 6, 4)) == 6
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["dict.km4.txt", "test.km4", "test.km4.json", "train.km4", "train.km4.json"]


def test_upstream_json(run, made, tmp_path):
    code, told, _ = run("--label-json", kmeans="km4.npz,km16.npz")
    assert code == 0 and told.endswith("4-clus.json, 16-clus.json, all-clus.json written\n")
    both = json.loads((tmp_path / "out" / "all-clus.json").read_text())
    first = read_split(made / "corpus", "train")[0]
    small, large = (read_units(tmp_path / "out" / f"train.km{k}", 20, k)[0].tolist() for k in (4, 16))
    assert both[f"{first.id}.wav"] == [small, large]


def test_a_manifest_that_moved_or_is_another(run, made, tmp_path):
    other = tone_corpus(tmp_path / "other", {"train": 19})
    code, _, error = run("--manifest", other)
    assert code == 2 and "other clips (20, here 19) than split 'train'" in error and error.count("\n") == 1
    moved = made / "moved"
    (made / "corpus").rename(moved)
    try:
        code, _, error = run()
        assert code == 2 and "the manifest of these features is not there any more" in error and "--manifest" in error
        assert run("--manifest", moved)[0] == 0
    finally:
        moved.rename(made / "corpus")


def test_a_kmeans_of_other_features(run, made, tmp_path):
    words = ("--features", "mfcc", "--manifest", made / "corpus", "--split", "train", "--out", made / "mfcc")
    assert emofair("features", *words) == 0
    code, _, error = run(folder="mfcc")
    assert code == 2
    assert "km4.npz: its centroids have 32 dimensions, the features in " in error and "mfcc have 39" in error
    other = tiny_speech_checkpoint(tmp_path / "other.pt", "hubert", seed=9)
    words = ("--checkpoint", other, "--layer", 2, "--manifest", made / "corpus", "--split", "train")
    assert emofair("features", *words, "--out", made / "others") == 0
    code, _, error = run(folder="others")
    assert code == 2 and "was fitted on other features" in error and "(checkpoint_sha256 " in error


def test_wrong_kmeans(run, made):
    (made / "official.bin").write_bytes(b"?")
    for kmeans, message in (("no.npz", "no such k-means"), ("official.bin", "is a pickle")):
        code, _, error = run(kmeans=kmeans)
        assert code == 2 and f"{kmeans}: {message}" in error and error.count("\n") == 1
    (made / "copy.npz").write_bytes((made / "km4.npz").read_bytes())
    code, _, error = run(kmeans="km4.npz,copy.npz")
    assert code == 2 and "two of --kmeans have as many clusters" in error


def test_an_empty_name(run, made, tmp_path, capsys):
    words = ("--features", made / "features", "--split", "train", "--out", tmp_path)
    assert emofair("units", *words, "--kmeans", f"{made / 'km4.npz'},") == 2
    assert "km4.npz,: one of the names is empty. Give FILE[,FILE...]" in capsys.readouterr().err


def test_bare_centroids(run, made, tmp_path):
    np.save(made / "centroids.npy", load_kmeans(made / "km4.npz").centroids)
    assert run(kmeans="centroids.npy")[0] == 0
    assert (tmp_path / "out" / "dict.km4.txt").read_text() == "0 1\n1 1\n2 1\n3 1\n"
    run(out="other")
    assert (tmp_path / "out" / "train.km4").read_bytes() == (tmp_path / "other" / "train.km4").read_bytes()
