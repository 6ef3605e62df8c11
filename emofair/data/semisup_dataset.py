"""Labelled utterances, each with a companion that has no label."""

from __future__ import annotations

from typing import Any

import numpy as np

from emofair.data.base import EmofairDataset
from emofair.data.token_dataset import SpeechTextTokenDataset


class SemisupDataset(EmofairDataset):
    """The labelled items decide order and batches; every batch also brings as many unlabelled ones.

    The companion of an item is drawn anew in every epoch, from (seed, epoch), among unlabelled items of about the
    same relative length, so that both halves of a batch need little padding. Batches are those of the labelled data
    set with a further ``unlabelled`` {audio, text}.
    """

    def __init__(self, labelled: SpeechTextTokenDataset, unlabelled: SpeechTextTokenDataset) -> None:
        super().__init__(labelled.sizes, labelled.ids, seed=labelled.seed, training=labelled.training)
        self.labelled, self.unlabelled = labelled, unlabelled
        self._companions = self._draw()

    def _draw(self) -> np.ndarray:
        """Index of an unlabelled item for every labelled one, int64 [N]."""
        rng = np.random.default_rng([self.seed, self.epoch, len(self.unlabelled)])
        ranks = np.empty(len(self), dtype=np.int64)
        ranks[np.argsort(self.sizes, kind="stable")] = np.arange(len(self))
        places = (ranks + rng.random(len(self))) * (len(self.unlabelled) / len(self))
        return np.argsort(self.unlabelled.sizes, kind="stable")[places.astype(np.int64)]

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, and draw its companions."""
        super().set_epoch(epoch)
        self.labelled.set_epoch(epoch)
        self._companions = self._draw()

    def __getitem__(self, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.labelled[index], self.unlabelled[int(self._companions[index])]

    def collate(self, samples: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
        """Merge pairs of labelled and unlabelled items into a batch."""
        batch = self.labelled.collate([labelled for labelled, _ in samples])
        batch["unlabelled"] = self.unlabelled.collate([unlabelled for _, unlabelled in samples])["net_input"]
        return batch
