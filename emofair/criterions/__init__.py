"""Registered fairseq criterions, one file each; importing the package registers them."""

from emofair.criterions import (  # noqa: F401
    emotion_classification,
    emotion_prediction,
    emotion_semisup,
    frame_utterance_emotion,
    pseudo_label,
)
