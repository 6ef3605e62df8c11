"""`emofair timeline`: the files of a trained model, the same answer as evaluate, and bad input in one line."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile

import emofair
from emofair.cli.main import main
from emofair.data.textgrid import Interval, IntervalTier, TextGrid, read_textgrid, write_textgrid
from emofair.errors import MissingExtra
from emofair.inference.provenance import file_sha256
from emofair.testing.clips import CLASSES, tone_corpus
from emofair.testing.commands import train_here
from emofair.units.extractors import EncoderFeatures
from emofair.units.kmeans import KMeans

FILES = ["talk.TextGrid", "talk.timeline.csv", "talk.timeline.json", "talk.timeline.png"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A model that pools by attention, a recording of several tones, and a k-means of the model's second layer."""
    folder = tmp_path_factory.mktemp("timeline")
    corpus = tone_corpus(folder / "corpus", {"train": 6, "valid": 3, "test": 3}, seconds=(0.4, 0.9))
    for pooling in ("attention", "max"):
        train_here(
            [
                *("--data", corpus, "--task", "speech_emotion", "--arch", "speech_emotion_tiny", "--pooling", pooling),
                *("--criterion", "emotion_classification", "--optimizer", "adam", "--lr", "1e-3", "--batch-size", 6),
                *("--attention-init", "xavier", "--max-epoch", 1, "--cpu", "--num-workers", 0, "--log-format", "none"),
                *("--no-epoch-checkpoints", "--no-last-checkpoints", "--save-dir", folder / pooling),
            ]
        )
    clips = [soundfile.read(path, dtype="float32")[0] for path in sorted((corpus / "wav").glob("test*.wav"))]
    soundfile.write(folder / "talk.wav", np.concatenate(clips), 16000)
    encoder = emofair.load(folder / "attention" / "checkpoint_best.pt").model.encoder
    extractor = EncoderFeatures(encoder, 2)
    frames = extractor.extract(clips[:1])[0]
    facts = {"features": {"source": extractor.source}}
    KMeans(frames[::4][:5].copy(), np.ones(5, dtype=np.int64), 1.0, 0, facts).save(folder / "km5.npz")
    np.save(folder / "narrow.npy", np.ones((3, 7), dtype=np.float32))
    return folder


def timeline(home, out, *more, wav="talk.wav", checkpoint="attention/checkpoint_best.pt"):
    return main(
        ["timeline", "--checkpoint", str(home / checkpoint), str(home / wav), "--out", str(out), *map(str, more)]
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_all_files_agree(home, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "out"
    assert timeline(home, out, "--kmeans", home / "km5.npz", "--smooth-width", 3) == 0
    assert names(out) == FILES
    record = json.loads((out / "talk.timeline.json").read_text(encoding="utf-8"))
    told = capsys.readouterr().out
    assert f"{record['label']} ({max(record['probabilities'].values()):.3f})" in told and "talk.TextGrid" in told
    assert record["checkpoint_sha256"] == file_sha256(home / "attention" / "checkpoint_best.pt")
    assert record["classes"] == list(CLASSES) and record["smoothing"] == {"kind": "median", "width": 3}
    assert record["clusters"]["k"] == 5 and record["pooling"] == "attention"
    with open(out / "talk.timeline.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["cluster"]) for row in rows] == record["frames"]["cluster"]
    for label, logit in record["logits"].items():
        assert sum(float(row[f"contribution_{label}"]) for row in rows) == pytest.approx(logit, abs=2e-6)
    grid = read_textgrid(out / "talk.TextGrid")
    assert [tier.name for tier in grid.tiers] == ["emotion", "cluster"]
    assert [i.text for i in grid.tier("emotion").intervals] == [s["label"] for s in record["segments"]]
    assert (out / "talk.timeline.png").read_bytes().startswith(b"\x89PNG")
    # Over an earlier timeline there is nothing to lose.
    assert timeline(home, out, "--no-picture") == 0
    assert [tier.name for tier in read_textgrid(out / "talk.TextGrid").tiers] == ["emotion"]


def test_emotions_of_the_clusters(home, tmp_path, capsys):
    made = ["--manifest", home / "corpus", "--split", "train"]
    features = ["--checkpoint", home / "attention" / "checkpoint_best.pt", "--layer", 2, "--out", tmp_path / "features"]
    units = ["--features", tmp_path / "features", "--split", "train", "--kmeans", home / "km5.npz", "--out", tmp_path]
    clusters = [tmp_path / "train.km5", "--manifest", home / "corpus", "--out", tmp_path / "states.md"]
    for words in (["features", *features, *made], ["units", *units], ["clusters", *clusters]):
        assert main([*map(str, words)]) == 0
    known = ["--kmeans", home / "km5.npz", "--clusters", tmp_path / "states.json"]
    assert timeline(home, tmp_path / "out", *known) == 0
    frames = json.loads((tmp_path / "out" / "talk.timeline.json").read_text())["frames"]
    described = json.loads((tmp_path / "states.json").read_text())["splits"][0]
    table = np.array(described["frames_by_emotion"], dtype=float)
    for i, label in enumerate(described["classes"]):
        expected = [table[c, i] / table[c].sum() for c in frames["cluster"]]
        assert frames[f"cluster_posterior_{label}"] == pytest.approx(expected, abs=1e-8)
    with open(tmp_path / "out" / "talk.timeline.csv", encoding="utf-8", newline="") as file:
        assert f"cluster_posterior_{label}" in next(csv.reader(file))
    capsys.readouterr()
    np.save(tmp_path / "other.npy", np.load(home / "km5.npz")["centroids"] + 1)
    for more, told in (
        (["--clusters", tmp_path / "states.json"], "states.json: a report on clusters without their k-means"),
        (["--kmeans", tmp_path / "other.npy", "--features-layer", 2, *known[2:]], "describes clusters of another k-m"),
        ([*known[:2], "--clusters", tmp_path / "train.km5.json"], "train.km5.json: is not what emofair clusters wrote"),
        ([*known[:2], "--clusters", tmp_path / "gone.json"], "gone.json: cannot be read (No such file or directory)"),
    ):
        assert timeline(home, tmp_path / "bad", *more) == 2
        assert told in capsys.readouterr().err
    assert names(tmp_path / "bad") == []


@pytest.mark.parametrize("window", [[], ["--window-seconds", "0.5"]])
def test_the_logits_are_those_of_evaluate(home, tmp_path, window):
    checkpoint = home / "attention" / "checkpoint_best.pt"
    words = ["--checkpoint", checkpoint, "--data", home / "corpus", "--out", tmp_path / "evaluated", *window]
    assert main(["evaluate", *map(str, words)]) == 0
    with open(tmp_path / "evaluated" / "predictions.tsv", encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert len(rows) == 3
    for name, row in rows.items():
        assert timeline(home, tmp_path, "--formats", "json", *window, wav=f"corpus/wav/{name}.wav") == 0
        record = json.loads((tmp_path / f"{name}.timeline.json").read_text(encoding="utf-8"))
        assert record["label"] == row["prediction"]
        expected = {label: float(row[f"p_{label}"]) for label in CLASSES}
        assert record["probabilities"] == pytest.approx(expected, abs=2e-6)
        for label, logit in record["logits"].items():
            assert sum(record["frames"][f"contribution_{label}"]) == pytest.approx(logit, abs=2e-6)
        assert (record["n_windows"] > 1) == (bool(window) and record["seconds"] > 0.5)


def test_windows_and_smoothing_are_passed_on(home, tmp_path):
    assert timeline(
        *(home, tmp_path, "--formats", "json", "--window-seconds", 0.4, "--hop-seconds", 0.1),
        *("--smooth", "viterbi", "--switch-penalty", 1e9),
    ) == 0  # fmt: skip
    record = json.loads((tmp_path / "talk.timeline.json").read_text(encoding="utf-8"))
    assert (record["window_seconds"], record["hop_seconds"]) == (0.4, 0.1)
    assert record["smoothing"] == {"kind": "viterbi", "penalty": 1e9} and len(record["segments"]) == 1
    assert names(tmp_path) == ["talk.timeline.json"]


def test_another_rate_is_resampled_with_a_note(home, tmp_path, capsys):
    soundfile.write(tmp_path / "slow.wav", soundfile.read(home / "talk.wav")[0][::2], 8000)
    assert timeline(home, tmp_path / "out", "--formats", "csv", wav=tmp_path / "slow.wav") == 0
    assert "slow.wav: resampled from 8000 to 16000 Hz" in capsys.readouterr().err


def write(path, samples):
    soundfile.write(path, samples, 16000)
    return path


@pytest.mark.parametrize(
    ("wav", "more", "message"),
    [
        ("none.wav", [], "none.wav: no such audio file"),
        ("short.wav", [], "short.wav: 300 samples at 16000 Hz are less than one frame (400)"),
        ("silent.wav", [], "silent.wav: the recording is silent"),
        ("km5.npz", [], "km5.npz: not an audio file"),
        ("talk.wav", ["--checkpoint", "max/checkpoint_best.pt"], "pooling max does not split logits"),
        ("talk.wav", ["--checkpoint", "none.pt"], "none.pt"),
        ("talk.wav", ["--kmeans", "narrow.npy", "--features-layer", "1"], "have 7 dimensions, the features of layer 1"),
        ("talk.wav", ["--kmeans", "km5.npz", "--features-layer", "1"], "layer 2, here 1"),
        ("talk.wav", ["--kmeans", "none.npz"], "none.npz: no such k-means"),
        ("talk.wav", ["--features-layer", "1"], "Give --kmeans too"),
        ("talk.wav", ["--smooth-width", "4"], "a median over 4 frames has no middle"),
        ("talk.wav", ["--switch-penalty", "-1"], "a switch penalty of -1.0"),
        ("talk.wav", ["--window-seconds", "inf"], "windows of inf s"),
        ("talk.wav", ["--window-seconds", "0.01"], "windows of 0.01 s hold less than two frames"),
        ("talk.wav", ["--hop-seconds", "1"], "a step without windows"),
        ("talk.wav", ["--window-seconds", "0.5", "--hop-seconds", "0.6"], "may leave frames out"),
        ("talk.wav", ["--formats", "json,pdf"], "--formats pdf is not known. Choose of json, csv, textgrid, png"),
        ("talk.wav", ["--formats", "png", "--no-picture"], "nothing is left to write"),
        ("talk.wav", ["--out", "talk.wav"], "talk.wav: not usable as a folder: it is a file"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(home, tmp_path, capsys, monkeypatch, wav, more, message):
    write(home / "short.wav", np.full(300, 0.1)), write(home / "silent.wav", np.zeros(9000))
    monkeypatch.chdir(home)
    assert timeline(home, tmp_path / "out", *more, wav=wav) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and told[0].startswith("emofair: error: ") and message in told[0]
    assert names(tmp_path) == []


def test_somebodys_textgrid_is_not_lost(home, tmp_path, capsys):
    write_textgrid(tmp_path / "talk.TextGrid", TextGrid(0, 1, [IntervalTier("words", [Interval(0, 1, "a")])]))
    kept = (tmp_path / "talk.TextGrid").read_bytes()
    assert timeline(home, tmp_path, "--no-picture") == 2
    assert "is a TextGrid with other tiers, which would be lost" in capsys.readouterr().err
    assert (tmp_path / "talk.TextGrid").read_bytes() == kept and names(tmp_path) == ["talk.TextGrid"]
    assert timeline(home, tmp_path, "--formats", "csv") == 0


@pytest.mark.parametrize("formats", ["json", "csv"])
def test_the_timeline_of_another_recording_is_not_lost(home, tmp_path, capsys, monkeypatch, formats):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(home / "talk.wav", tmp_path / folder)
    assert timeline(home, "out", "--formats", "json,csv", wav=tmp_path / "a" / "talk.wav") == 0
    kept = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    assert timeline(home, "out", "--formats", formats, wav=tmp_path / "b" / "talk.wav") == 2
    told = f"out/talk.timeline.json: is of {tmp_path}/a/talk.wav, and would be lost. Give another --out."
    assert told in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == kept
    assert timeline(home, "out", "--formats", formats, wav=tmp_path / "b" / ".." / "a" / "talk.wav") == 0
    (tmp_path / "out" / "talk.timeline.json").write_text("[1]")
    assert timeline(home, "out", "--formats", formats) == 2
    assert "is of another program, and would be lost" in capsys.readouterr().err


def test_a_picture_that_cannot_be_drawn(home, tmp_path, capsys, monkeypatch):
    from emofair.reports import plots

    def missing():
        raise MissingExtra(
            "drawing pictures needs the Python package 'matplotlib'", remedy="pip install 'emofair[plots]'"
        )

    monkeypatch.setattr(plots, "require_matplotlib", missing)
    assert timeline(home, tmp_path, "--formats", "png") == 2
    assert "emofair: error: drawing pictures needs" in capsys.readouterr().err
    assert timeline(home, tmp_path) == 0
    assert capsys.readouterr().err.startswith("emofair: note: no picture: drawing pictures needs")
    assert names(tmp_path) == FILES[:3]
