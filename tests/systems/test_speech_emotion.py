"""Waveform emotion recognition through the real commands: train, validate, score, predict, resume."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

import emofair
from emofair.cli.main import main
from emofair.data.manifests import read_split, write_corpus
from emofair.errors import EmofairError
from emofair.testing.checkpoints import differences
from emofair.testing.clips import CLASSES, tone_corpus
from emofair.testing.commands import kill_when, logged, run, train_here, validate_here


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tone_corpus(tmp_path_factory.mktemp("tones"), {"train": 48, "valid": 12, "test": 15})


def arguments(corpus, save_dir, *more):
    return [
        *("--data", corpus, "--task", "speech_emotion", "--arch", "speech_emotion_tiny"),
        *("--criterion", "emotion_classification", "--optimizer", "adam", "--lr", "1e-3", "--lr-scheduler", "fixed"),
        *("--batch-size", "8", "--max-epoch", "10", "--num-workers", "0", "--required-batch-size-multiple", "1"),
        *("--best-checkpoint-metric", "uar", "--maximize-best-checkpoint-metric", "--no-epoch-checkpoints"),
        *("--mask-time-prob", "0", "--mask-channel-prob", "0"),  # a model this small learns little from masked tones
        *("--save-interval-updates", "14"),
        *("--save-dir", save_dir, "--log-format", "json", "--log-interval", "1", "--cpu", *more),
    ]


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A folder with a model that was trained by the plain fairseq command, and its log."""
    folder = tmp_path_factory.mktemp("trained")
    log = run("fairseq-train", "--user-dir", "emofair", *arguments(corpus, folder)).stdout
    return folder, log


def test_a_training_learns_and_validates_without_the_corpus_or_the_encoder(trained, corpus, tmp_path):
    folder, log = trained
    assert float(logged(log, "valid")[-1]["valid_best_uar"]) > 0.6  # a third is chance
    checkpoint = tmp_path / "elsewhere.pt"
    shutil.copy(folder / "checkpoint_best.pt", checkpoint)
    moved = tmp_path / "moved"
    shutil.copytree(corpus, moved)
    (moved / "labels.txt").unlink()
    command = ["--data", moved, "--path", checkpoint, "--task", "speech_emotion", "--valid-subset", "test"]
    log = validate_here([*command, "--batch-size", "4", "--cpu", "--log-format", "json"])
    assert "protocol clean | test | 15 items" in log
    facts = emofair.load(checkpoint).facts
    assert (facts["classes"], facts["seed"], facts["protocol"]) == (list(CLASSES), 1, "clean")


@pytest.mark.parametrize("more", [(), ("--window-seconds", "0.5")])
def test_scores_do_not_depend_on_the_batches(trained, corpus, tmp_path, capsys, more):
    results = []
    for batch in (1, 15):
        options = ["--checkpoint", str(trained[0] / "checkpoint_best.pt"), "--data", str(corpus), *more]
        assert main(["evaluate", *options, "--batch-size", str(batch), "--out", str(tmp_path / str(batch))]) == 0
        results.append(json.loads(capsys.readouterr().out)["metrics"])
    assert results[0] == pytest.approx(results[1], abs=1e-6)
    tables = [(tmp_path / str(batch) / "predictions.tsv").read_text().splitlines() for batch in (1, 15)]
    for one, other in zip(*tables, strict=True):
        assert one.split("\t")[:2] == other.split("\t")[:2]


def test_predictions_from_files_are_those_of_the_evaluation(trained, corpus, tmp_path, capsys):
    checkpoint = str(trained[0] / "checkpoint_best.pt")
    assert main(["evaluate", "--checkpoint", checkpoint, "--data", str(corpus), "--out", str(tmp_path)]) == 0
    rows = [line.split("\t") for line in (tmp_path / "predictions.tsv").read_text().splitlines()[1:]]
    model = emofair.load(checkpoint)
    predicted = model.predict_many([str(corpus / "wav" / f"{row[0]}.wav") for row in rows])
    assert [p.label for p in predicted] == [row[1] for row in rows]
    first = predicted[0].scores
    assert first == pytest.approx(dict(zip(CLASSES, map(float, rows[0][2:5]), strict=True)), abs=1e-5)
    capsys.readouterr()
    assert main(["predict", "--checkpoint", checkpoint, "--manifest", str(corpus), "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "input,prediction,angry,neutral,sad"


def test_killed_and_resumed_equals_uninterrupted(trained, corpus, tmp_path):
    def seen(line):
        return '"num_updates": "15"' in line

    kill_when(seen, "fairseq-train", "--user-dir", "emofair", *arguments(corpus, tmp_path))
    train_here(arguments(corpus, tmp_path))
    assert not differences(trained[0] / "checkpoint_last.pt", tmp_path / "checkpoint_last.pt")


@pytest.mark.parametrize(
    "more",
    [
        ("--autocast-bf16",),
        ("--crop", "min", "--min-crop-seconds", "0.5", "--batch-order", "bucket", "--num-buckets", "3"),
        (
            "--max-seconds",
            "0.5",
            "--crop",
            "head",
            "--eval-max-seconds",
            "0.5",
            "--batch-order",
            "random",
            "--drop-last",
        ),
        ("--layer", "weighted", "--pooling", "attentive_statistics", "--label-mode", "soft_ce"),
        ("--batch-size", "1", "--update-freq", "8", "--label-mode", "soft_sample", "--class-weights", "none"),
        ("--max-tokens", "30000", "--train-cnn", "--train-projection", "--layerdrop", "0.3"),
        ("--mask-mode", "hf", "--mask-time-prob", "0.3", "--mask-channel-prob", "0.1", "--update-freq", "2"),
        ("--mask-time-prob", "0.3", "--freeze-updates", "3", "--checkpoint-activations", "--bf16"),
    ],
    ids=lambda more: " ".join(more),
)
def test_every_option_trains(corpus, tmp_path, more):
    log = train_here(arguments(corpus, tmp_path, "--max-update", "6", *more))
    losses = [float(row["valid_loss"]) for row in logged(log, "valid")]
    assert losses and all(0 < loss < 5 for loss in losses)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--class-list", "angry,sad"), r"train.emo:2: the label 'neutral' of train_001_neutral is none of angry, sad"),
        (("--normalize",), "the encoder was trained with False"),
        (("--max-seconds", "0"), "--max-seconds 0.0 is no length"),
        (("--eval-max-seconds", "-1"), "--eval-max-seconds -1.0 is no length"),
        (("--min-crop-seconds", "-1"), "--min-crop-seconds -1.0 is no length"),
        (("--arch", "robertaEMO", "--t-only"), "--arch robertaEMO does not fit --task speech_emotion"),
        (("--train-subset", "test"), "would train on the test set"),
        (("--train-subset", "none"), "no split 'none'"),
        (("--arch", "wav2vec2_ser"), "no pretrained encoder is given"),
    ],
)
def test_bad_options_are_told(corpus, tmp_path, more, told):
    with pytest.raises(EmofairError, match=told):
        train_here(arguments(corpus, tmp_path, *more))


@pytest.mark.parametrize("mode", ["soft_ce", "soft_sample"])
def test_votes_are_for_training_alone(corpus, tmp_path, mode, capsys):
    splits = {split: read_split(corpus, split)[:9] for split in ("train", "valid", "test")}
    for item in (item for items in splits.values() for item in items):
        other = CLASSES[(CLASSES.index(item.label) + 1) % len(CLASSES)]
        item.votes = {other: 2, item.label: 1}  # the label is not what most voted for
    voted, saved = tmp_path / "voted", tmp_path / "run"
    write_corpus(voted, splits, root=corpus, name="voted")
    train_here([*arguments(voted, saved, "--label-mode", mode, "--max-update", "1")])
    words = ["evaluate", "--checkpoint", saved / "checkpoint_last.pt", "--data", voted, "--split", "test"]
    assert main([*map(str, words), "--out", str(tmp_path / "test")]) == 0
    with (tmp_path / "test" / "predictions.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["id"]: row["label"] for row in rows} == {item.id: item.label for item in splits["test"]}
