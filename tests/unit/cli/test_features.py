"""`emofair features`: any encoder and MFCCs, in shards, killed and run again."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from emofair.cli import main as entry
from emofair.data.manifests import read_corpus, read_split
from emofair.testing.clips import tone_corpus
from emofair.testing.speech import tiny_speech_checkpoint, tiny_speech_encoder, tiny_speech_spec
from emofair.units.extractors import EncoderFeatures, encoder_hash
from emofair.units.feature_store import Features


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tone_corpus(tmp_path_factory.mktemp("corpus"), {"train": 12, "test": 3})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_speech_checkpoint(tmp_path_factory.mktemp("hubert") / "hubert.pt", "hubert")


@pytest.fixture
def run(corpus, checkpoint, tmp_path, capsys):
    """Run the verb; returns (exit code, standard output, standard error)."""

    def call(*options, manifest=corpus, split="train", model=checkpoint, out="out"):
        words = ["features", "--manifest", manifest, "--split", split, "--out", tmp_path / out, *options]
        words += ["--checkpoint", model] if model else []
        code = entry.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_layer_of_an_encoder(run, corpus, tmp_path):
    code, told, _ = run("--layer", "2", "--batch-seconds", "3")
    encoder = tiny_speech_encoder(tiny_speech_spec("hubert"))
    features = Features(tmp_path / "out", "train")
    assert code == 0
    assert told == f"emofair features: train: {features.n_frames} frames of 32 numbers, 12 clips: dumped\n"
    items = read_split(corpus, "train")
    extractor = EncoderFeatures(encoder, 2)
    assert features.lengths.tolist() == [extractor.n_frames(u.n_samples) for u in items]
    record = json.loads((tmp_path / "out" / "train_0_1.json").read_text())
    assert record["source"] == {
        "features": "encoder",
        "checkpoint_sha256": encoder_hash(encoder),
        "layer": 2,
        "final_layer_norm": False,
        "relu": False,
    }
    assert record["spec"]["kind"] == "hubert" and record["frame_rate"] == 50.0
    assert record["ids_sha256"] == read_corpus(corpus)["splits"]["train"]["ids_sha256"]
    assert record["trained_on"] is None
    assert run("--layer", "2")[1].endswith("were there already\n")


def test_a_converted_checkpoint_gives_the_same_features(run, tmp_path):
    folder = tiny_speech_checkpoint(tmp_path / "folder", "hubert", form="huggingface")
    run("--layer", "1")
    assert run("--layer", "1", model=folder)[1].endswith("were there already\n")


def test_shards_and_mfccs(run, tmp_path):
    for rank in (1, 0, 2):
        code, told, _ = run("--features", "mfcc", "--nshard", "3", "--rank", str(rank), model=None)
        assert code == 0 and f"train, shard {rank} of 3: " in told and told.endswith("4 clips: dumped\n")
    run("--features", "mfcc", model=None, out="whole")
    shards, whole = Features(tmp_path / "out", "train"), Features(tmp_path / "whole", "train")
    assert (whole.dim, whole.frame_rate, whole.record["source"]) == (39, 100.0, {"features": "mfcc"})
    rows = np.arange(whole.n_frames)
    np.testing.assert_array_equal(shards.rows(rows), whole.rows(rows))


KILLED = """
import os, signal, sys
from emofair.units import extractors, feature_dump
feature_dump._SAVE_EVERY = 0.0
extract, calls = extractors.EncoderFeatures.extract, []
def dying(self, waveforms):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return extract(self, waveforms)
extractors.EncoderFeatures.extract = dying
from emofair.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_killed_and_run_again(run, corpus, checkpoint, tmp_path):
    options = ["--layer", "2", "--batch-seconds", "2"]
    words = [
        "features",
        "--manifest",
        corpus,
        "--split",
        "train",
        "--out",
        tmp_path / "out",
        "--checkpoint",
        checkpoint,
    ]
    command = [sys.executable, "-W", "ignore", "-c", KILLED, *map(str, words), *options]
    assert subprocess.run(command, capture_output=True).returncode == -9
    assert (tmp_path / "out" / ".train_0_1.progress").read_text().splitlines()[1:] == ["1", "2", "3"]
    _, _, error = run("--layer", "2", split="valid")
    assert "no split 'valid'" in error
    assert run(*options)[:1] == (0,)
    run(*options, out="whole")
    for name in ("train_0_1.npy", "train_0_1.len", "train_0_1.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )


def test_what_the_encoder_was_trained_on_is_kept(run, corpus, tmp_path):
    import torch

    from emofair.data.leak_check import facts_of

    seen = facts_of(corpus, ["test"])
    path = tiny_speech_checkpoint(tmp_path / "ours.pt")
    state = torch.load(path, weights_only=False)
    torch.save({**state, "task_state": {**seen, "other": 1}}, path)
    run("--layer", "1", model=path)
    assert Features(tmp_path / "out", "train").record["trained_on"] == seen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layer", "9"], "layer 9 of an encoder that has 3. Give 0 to 3"),
        (["--nshard", "2", "--rank", "2"], "--rank 2 is not from 0 to 1, below --nshard 2"),
        (["--nshard", "0"], "--nshard 0: there must be at least 1 shard"),
        (["--layer", "-2"], "layer -2 is none. Give 0 to 3, or -1 for the last"),
        (["--batch-seconds", "0"], "--batch-seconds 0 is not a time"),
        (["--max-seconds", "-1"], "--max-seconds -1 is not a time"),
        (["--features", "mfcc"], "--checkpoint does not go with --features mfcc"),
        (["--device", "tpu"], "--device tpu is not known"),
    ],
)
def test_wrong_options(run, options, message):
    code, told, error = run(*options)
    assert (code, told) == (2, "")
    assert error.startswith(f"emofair: error: {message}") and error.count("\n") == 1


def test_without_a_checkpoint_or_with_a_broken_one(run, tmp_path):
    assert "need its checkpoint. Give --checkpoint, or --features mfcc" in run(model=None)[2]
    (tmp_path / "broken.pt").write_text("?")
    code, _, error = run(model=tmp_path / "broken.pt")
    assert code == 2 and "broken.pt" in error and error.count("\n") == 1


def test_a_clip_that_went_bad(run, corpus, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    manifest = copy / "train.tsv"
    manifest.write_text(manifest.read_text().replace(str(corpus), str(copy)))
    clip = sorted((copy / "wav").glob("train*"))[3]
    clip.write_bytes(clip.read_bytes()[:1000])
    code, told, error = run(manifest=copy)
    assert (code, told) == (2, "") and clip.name in error and "truncated" in error
    assert not (tmp_path / "out" / "train_0_1.json").exists()
