"""Registered fairseq criterions, one file each; importing the package registers them."""

from emofair.criterions import emotion_prediction, emotion_semisup  # noqa: F401
