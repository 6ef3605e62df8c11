"""`emofair kmeans`: several sizes at once, one k-means per experiment, bad input in one line."""

import json
import shutil

import numpy as np
import pytest

from emofair.cli import kmeans
from emofair.cli import main as entry
from emofair.data.leak_check import facts_of, hash_id
from emofair.data.manifests import read_split
from emofair.testing.clips import tone_corpus
from emofair.units.kmeans import load_kmeans
from emofair.units.kmeans_fit import TOLERANCE


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """MFCCs of a corpus, in two shards."""
    folder = tmp_path_factory.mktemp("made")
    corpus = tone_corpus(folder / "corpus", {"train": 20, "test": 4})
    for rank in "01":
        words = ["--features", "mfcc", "--manifest", corpus, "--split", "train", "--out", folder / "mfcc"]
        assert entry.main(["features", *map(str, words), "--nshard", "2", "--rank", rank]) == 0
    return folder / "mfcc"


@pytest.fixture
def run(features, tmp_path, capsys):
    """Run the verb; returns (exit code, standard output, standard error)."""

    def call(*options, folder=features, out="out"):
        capsys.readouterr()
        words = ["kmeans", "--features", folder, "--split", "train", "--out", tmp_path / out, *options]
        code = entry.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_several_sizes(run, features, tmp_path):
    code, told, progress = run("-k", "4,16", "--seed", "3")
    assert code == 0
    small, large = (load_kmeans(tmp_path / "out" / f"km{k}.npz") for k in (4, 16))
    assert (small.k, large.k, small.seed, small.dim) == (4, 16, 3, 39)
    assert large.inertia < small.inertia
    record = json.loads((features / "train_0_2.json").read_text())
    assert small.facts["features"]["source"] == record["source"] == {"features": "mfcc"}
    assert small.facts["features"]["list_sha256"] == record["list_sha256"]
    assert told.splitlines()[0].endswith(f"sha256 {small.sha256[:12]}: written")
    assert "emofair kmeans: k=4, pass 1: inertia " in progress and "k=16, pass 1" in progress


def test_it_remembers_the_clips_behind_it(run, features, tmp_path):
    run("-k", "4")
    manifest = json.loads((features / "train_0_2.json").read_text())["manifest"]
    seen = load_kmeans(tmp_path / "out" / "km4.npz").facts["trained_on"]
    assert seen == facts_of(manifest, ["train"], uses_labels=False)
    assert hash_id(read_split(manifest, "train")[0].id) in seen["trained_ids"]


def test_same_command_same_file_and_nothing_twice(run, tmp_path):
    run("-k", "6", "--seed", "1")
    run("-k", "6", "--seed", "1", out="again")
    path = tmp_path / "out" / "km6.npz"
    assert path.read_bytes() == (tmp_path / "again" / "km6.npz").read_bytes()
    before = path.stat().st_mtime_ns
    code, told, progress = run("-k", "6", "--seed", "1")
    assert code == 0 and told.endswith("was there already\n") and progress == ""
    assert path.stat().st_mtime_ns == before


def test_a_kmeans_is_not_replaced_by_another(run):
    run("-k", "6")
    for options, what in (
        (["--seed", "1"], "seed"),
        (["--percent", "0.5"], "--percent"),
        (["--passes", "3"], "passes"),
    ):
        code, _, error = run("-k", "6", *options)
        assert code == 2
        assert f"km6.npz: holds a k-means with another {what}. Labels made with it would lose" in error


def test_a_kmeans_of_other_audio_is_not_taken_for_this_one(run, features, tmp_path):
    run("-k", "6")
    dumped_anew = shutil.copytree(features, tmp_path / "mfcc")
    for path in dumped_anew.glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"audio_sha256": "1"}))
    code, _, error = run("-k", "6", folder=dumped_anew)
    assert code == 2 and "km6.npz: holds a k-means with another audio. Labels made with it" in error


def test_the_help_knows_when_the_passes_end():
    assert f"until these gain less than {TOLERANCE:.2%}".replace("%", " %") in kmeans.__doc__


def test_options_of_the_hubert_recipe(run, tmp_path):
    run("-k", "6", "--percent", "0.5", "--max-iter", "2", "--batch-frames", "100")
    fitted = load_kmeans(tmp_path / "out" / "km6.npz")
    fit = fitted.facts["fit"]
    assert (fit["share"], fit["passes"], fit["batch_frames"]) == (0.5, 2, 100)
    assert fitted.counts.sum() == fit["n_frames"] == pytest.approx(fitted.facts["features"]["n_frames"] / 2, abs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-k", "5,x"], "-k 5,x is not a list of numbers of clusters. Give for example -k 64,512"),
        (["-k", "5,5"], "-k 5,5 is not a list"),
        (["-k", "0"], "-k 0 is not a list"),
        (["-k", "5", "--percent", "10"], "--percent 10 is not a share of the frames. Give a number from 0"),
        (["-k", "5", "--percent", "nan"], "--percent nan is not a share"),
        (["-k", "5", "--passes", "0"], "--passes 0 is not a positive number"),
        (["-k", "5", "--batch-frames", "-1"], "--batch-frames -1 is not a positive number"),
        (["-k", "5", "--seed", "-1"], "--seed -1 is negative"),
    ],
)
def test_wrong_options(run, options, message):
    code, told, error = run(*options)
    assert (code, told) == (2, "")
    assert error.startswith(f"emofair: error: {message}") and error.count("\n") == 1


def test_more_clusters_than_frames(run, tmp_path):
    code, _, error = run("-k", "1000000")
    assert code == 2 and "1000000 clusters are more than the " in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_few_frames_per_cluster(run):
    code, _, progress = run("-k", "60")
    assert code == 0 and "emofair kmeans: warning: " in progress and "frames per cluster are few" in progress


def test_broken_features(run, features, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in features.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    frames = np.load(broken / "train_1_2.npy")
    frames[5, 3] = np.nan
    np.save(broken / "train_1_2.npy", frames)
    code, _, error = run("-k", "4", folder=broken)
    assert code == 2 and "train_1_2.npy: frame 5 (of clip 11 of the manifest) is NaN or infinite" in error
    (broken / "train_0_2.json").unlink()
    code, _, error = run("-k", "4", folder=broken)
    assert code == 2 and "these are missing: 0" in error
    code, _, error = run("-k", "4", folder=tmp_path / "nowhere")
    assert code == 2 and "nowhere: no such folder of features" in error
