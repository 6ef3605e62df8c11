"""Clips of speech with emotion labels: one class, annotators' votes, or a distribution."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch

from emofair.data.manifests import Utterance, read_labels
from emofair.data.speech_dataset import SpeechDataset
from emofair.errors import EmofairError

logger = logging.getLogger(__name__)

BALANCES = ("none", "resample")
LABEL_MODES = ("hard", "soft_sample", "soft_ce")
CLASS_WEIGHTS = ("inv_freq", "none")


def class_list(data: str | PathLike[str], given: str | None) -> tuple[str, ...]:
    """Class names by index: those ``given`` (comma-separated), else those in the folder's ``labels.txt``."""
    names = [name.strip() for name in given.split(",")] if given else read_labels(data)
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise EmofairError(
            f"{len(names)} class names ({', '.join(names) or 'none'}), at least 2 different ones are needed",
            file=data,
            remedy="Prepare the corpus with labels, or name the classes by --class-list a,b,c",
        )
    return tuple(names)


def label_distributions(
    items: Sequence[Utterance], classes: Sequence[str], split: str, file: str | PathLike[str], mode: str = "hard"
) -> np.ndarray:
    """Share of each class in each item's label, float32 [N, K].

    "hard": all on one class: the label, or without one the class that most annotators voted for (the first in the
    alphabet of those that tie). Else the votes, where there are any; votes for other classes are left out and the rest
    brought to 1. Raises `EmofairError` naming the row of an item without a label of these classes.
    """
    index = {name: i for i, name in enumerate(classes)}
    result = np.zeros((len(items), len(classes)), dtype=np.float32)
    others = 0
    for row, item in enumerate(items):
        votes = item.votes or {}
        counts = np.array([votes.get(name, 0) for name in classes], dtype=np.float64)
        others += sum(votes.values()) > counts.sum()
        if item.label is not None and (mode == "hard" or not counts.sum()):
            if item.label not in index:
                raise EmofairError(
                    f"the label {item.label!r} of {item.id} is none of {', '.join(classes)}",
                    file=f"{file}/{split}.emo",
                    row=row + 1,
                    remedy="Leave the clip out, or give all classes by --class-list",
                )
            result[row, index[item.label]] = 1
        elif not counts.sum():
            raise EmofairError(
                f"{item.id} has no label", file=f"{file}/{split}.emo", row=row + 1, remedy="Leave the clip out"
            )
        elif mode == "hard":
            result[row, _winner(votes, index)] = 1
        else:
            result[row] = counts / counts.sum()
    if others:
        logger.info("split %s: votes of %d items for other classes are left out", split, others)
    return result


def _winner(votes: dict[str, int], index: dict[str, int]) -> int:
    known = {name: n for name, n in votes.items() if name in index}
    return index[min(known, key=lambda name: (-known[name], name))]


def inverse_frequency(distributions: np.ndarray) -> list[float]:
    """Weight of each class, proportional to one over its share of the training items, adding up to 1.

    A class that does not occur has weight 0, for there is nothing to weight.
    """
    counts = distributions.sum(axis=0, dtype=np.float64)
    inverse = np.divide(1.0, counts, out=np.zeros_like(counts), where=counts > 0)
    return (inverse / inverse.sum()).tolist()


class SpeechEmotionDataset(SpeechDataset):
    """`SpeechDataset` with ``target`` in the batches, where the items are labelled.

    Long [B] class indices, or with ``label_mode`` "soft_ce" float [B, K] distributions. With "soft_sample" the class is
    drawn anew in every epoch of training, from (seed, epoch, index). Evaluation is always against the one class that is
    most likely. With ``balance`` "resample" an epoch of training has as many items, drawn with replacement so that all
    classes are equally likely.
    """

    def __init__(
        self,
        items: Sequence[Utterance],
        split: str,
        distributions: np.ndarray | None,
        label_mode: str = "hard",
        balance: str = "none",
        **options,
    ) -> None:
        super().__init__(items, split, **options)
        self.distributions, self.label_mode, self.balance = distributions, label_mode, balance
        self.labels = None if distributions is None else distributions.argmax(axis=1)

    def pool(self) -> np.ndarray:
        """The items of the epoch."""
        if self.balance == "none":
            return super().pool()
        shares = (1.0 / np.bincount(self.labels))[self.labels]
        rng = np.random.default_rng([self.seed, self.epoch, 2])
        return rng.choice(len(self), size=len(self), p=shares / shares.sum())

    def _target(self, index: int) -> Any:
        if not self.training or self.label_mode == "hard":
            return int(self.labels[index])
        if self.label_mode == "soft_ce":
            return self.distributions[index]
        luck = np.random.default_rng([self.seed, self.epoch, index, 1]).random()
        last = self.distributions.shape[1] - 1
        return min(int(np.searchsorted(np.cumsum(self.distributions[index]), luck, side="right")), last)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Merge items into a batch."""
        batch = super().collate(samples)
        if self.labels is not None:
            batch["target"] = torch.from_numpy(np.array([self._target(sample["id"]) for sample in samples]))
        return batch
