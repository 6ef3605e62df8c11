"""A training on the front-end cache through the real commands: filled before the first epoch, then read."""

from __future__ import annotations

import re

import pytest

from emofair.errors import EmofairError
from emofair.testing.checkpoints import differences
from emofair.testing.clips import tone_corpus
from emofair.testing.commands import kill_when, logged, train_here, validate_here


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tone_corpus(tmp_path_factory.mktemp("tones"), {"train": 24, "valid": 9, "test": 9})


def arguments(corpus, save_dir, *more):
    return [
        *("--data", corpus, "--task", "speech_emotion", "--arch", "speech_emotion_tiny"),
        *("--criterion", "emotion_classification", "--optimizer", "adam", "--lr", "1e-3", "--lr-scheduler", "fixed"),
        *("--batch-size", "8", "--max-epoch", "3", "--num-workers", "0", "--required-batch-size-multiple", "1"),
        *("--mask-time-prob", "0", "--mask-channel-prob", "0", "--save-dir", save_dir, "--no-epoch-checkpoints"),
        *("--best-checkpoint-metric", "loss", "--save-interval-updates", "4"),
        *("--log-format", "json", "--log-interval", "1", "--cpu", *more),
    ]


def fills(log):
    return re.findall(r"front-end cache: .*/(\w+)\.\w+, (\d+) clips, .* GB, (filled|was there)", log)


def test_the_same_training_without_its_audio(corpus, tmp_path):
    """As from audio, within rounding; killed in mid-epoch and resumed from the same cache: the same checkpoint."""
    cache = ("--frontend-cache", tmp_path / "cache")
    log = train_here(arguments(corpus, tmp_path / "whole", *cache))
    assert fills(log) == [("valid", "9", "filled"), ("train", "24", "filled")]
    losses = [float(row["valid_loss"]) for row in logged(log, "valid")]
    from_audio = train_here(arguments(corpus, tmp_path / "audio"))
    assert losses == pytest.approx([float(row["valid_loss"]) for row in logged(from_audio, "valid")], abs=5e-3)

    def seen(line):
        return '"num_updates": "5"' in line

    workers = ("--num-workers", "2")
    kill_when(seen, "fairseq-train", "--user-dir", "emofair", *arguments(corpus, tmp_path / "killed", *cache, *workers))
    assert (tmp_path / "killed" / "checkpoint_last.pt").exists()
    log = train_here(arguments(corpus, tmp_path / "killed", *cache))
    assert [how for _, _, how in fills(log)] == ["was there", "was there"]
    assert not differences(tmp_path / "whole" / "checkpoint_last.pt", tmp_path / "killed" / "checkpoint_last.pt")
    # A finished model is scored from audio, wherever its cache was.
    command = ["--data", corpus, "--path", tmp_path / "whole" / "checkpoint_last.pt", "--task", "speech_emotion"]
    assert "9 items" in validate_here([*command, "--valid-subset", "test", "--batch-size", "4", "--cpu"])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--train-cnn",), "does not go with --train-cnn"),
        (("--eval-window-seconds", "1"), "does not go with --eval-window-seconds"),
        (
            ("--arch", "wav2vec_frame_classifier", "--criterion", "frame_utterance_emotion", "--ssl-random", "tiny"),
            "does not go with --arch wav2vec_frame_classifier",
        ),
    ],
)
def test_what_does_not_go_with_it_is_told(corpus, tmp_path, more, told):
    with pytest.raises(EmofairError, match=told):
        train_here(arguments(corpus, tmp_path, "--frontend-cache", tmp_path / "cache", *more))
