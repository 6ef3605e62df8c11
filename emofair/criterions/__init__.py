"""Registered fairseq criterions, one file each; importing the package registers them."""

from emofair.criterions import emotion_classification, emotion_prediction, emotion_semisup, pseudo_label  # noqa: F401
