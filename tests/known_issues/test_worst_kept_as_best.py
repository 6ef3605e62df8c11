"""``--best-checkpoint-metric accuracy`` without --maximize-best-checkpoint-metric kept the worst model in silence."""

from __future__ import annotations

import pytest

from emofair.testing.clips import tone_corpus
from emofair.testing.commands import train_here

MAXIMIZE = "--maximize-best-checkpoint-metric"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("uar",), "the checkpoint with the lowest uar is kept as the best one; the other way round with"),
        (
            ("loss", MAXIMIZE),
            "the checkpoint with the highest loss is kept as the best one; the other way round without",
        ),
        (("uar", MAXIMIZE), None),
        (("loss",), None),
    ],
)
def test_the_wrong_way_round_is_told(tmp_path, flags, told):
    corpus = tone_corpus(tmp_path, {"train": 3, "valid": 3}, seconds=(0.2, 0.3))
    log = train_here(
        [
            *("--data", corpus, "--task", "speech_emotion", "--arch", "speech_emotion_tiny", "--optimizer", "adam"),
            *("--criterion", "emotion_classification", "--batch-size", "3", "--max-update", "1", "--num-workers", "0"),
            *("--no-save", "--cpu", "--best-checkpoint-metric", *flags),
        ]
    )
    assert (told in log) if told else ("kept as the best one" not in log)
