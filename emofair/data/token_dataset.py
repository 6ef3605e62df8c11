"""Pairs of speech and text token sequences with their labels, as robertaEMO reads them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch

from emofair.data.base import EmofairDataset
from emofair.data.labels import TargetMode
from emofair.data.t_data import ItemTable
from emofair.data.token_cache import TokenCache
from emofair.errors import EmofairError
from emofair.special_tokens import EOS, PAD

logger = logging.getLogger(__name__)


def collate_tokens(sequences: list[np.ndarray], max_tokens: int) -> np.ndarray:
    """Right-pad token sequences with 1 to int64 [B, min(longest, max_tokens)].

    A longer sequence keeps its first ``max_tokens`` - 1 ids and ends in a final 2.
    """
    width = min(max(map(len, sequences)), max_tokens)
    out = np.full((len(sequences), width), PAD, dtype=np.int64)
    for row, sequence in zip(out, sequences, strict=True):  # one slice per item beats a boolean mask over the batch
        row[: len(sequence)] = sequence[:width]
        if len(sequence) > width:
            row[-1] = EOS
    return out


class SpeechTextTokenDataset(EmofairDataset):
    """Utterances as token ids; one of the two modalities may be absent.

    ``items`` gives ids and labels (``items.ids`` must be the ids of the caches). Batches hold ``id`` Long[B] (item
    indices; names are in ``dataset.ids``), ``split``, ``net_input`` {``audio`` Long[B, Ta], ``text`` Long[B, Tt]},
    ``target`` [B] (float scores for regression, class indices as Long otherwise; absent without labels),
    ``nsentences`` and ``ntokens`` (tokens that are not padding, over all modalities). An item's size is its number
    of audio tokens after truncation (text tokens without audio); ``max_sample_size`` caps what the batcher is told,
    as in the original.

    ``audio_vocab`` / ``text_vocab``: sizes of the encoders' vocabularies; an id beyond them raises EmofairError naming
    the file. ``init_token`` / ``separator_token``: ids that sequences should start and end with; others are counted in
    one warning.
    """

    def __init__(
        self,
        items: ItemTable,
        mode: TargetMode | None,
        audio: TokenCache | None = None,
        text: TokenCache | None = None,
        *,
        max_audio_tokens: int = 2048,
        max_text_tokens: int = 512,
        max_sample_size: int | None = None,
        audio_vocab: int | None = None,
        text_vocab: int | None = None,
        init_token: int | None = None,
        separator_token: int | None = None,
        seed: int = 1,
        training: bool = False,
    ) -> None:
        self.caches = {"audio": audio, "text": text}
        self.caches = {kind: cache for kind, cache in self.caches.items() if cache is not None}
        if not self.caches:
            raise ValueError("a token dataset needs audio, text or both")
        self.caps = {"audio": max_audio_tokens, "text": max_text_tokens}
        vocabularies = {"audio": audio_vocab, "text": text_vocab}
        for kind, cache in self.caches.items():
            if cache.ids != items.ids:
                raise ValueError(f"the {kind} cache of split {items.split} was opened for other ids")
            if self.caps[kind] < 2:
                raise EmofairError(f"--max-{kind}-tokens {self.caps[kind]} leaves no room for the first and last id")
            cache.check_vocabulary(vocabularies[kind])
            cache.check_ends(init_token, separator_token)
        self._compare_with_size_file(items)
        main = "audio" if audio is not None else "text"
        sizes = np.minimum(self.caches[main].lengths, self.caps[main])
        if max_sample_size is not None:
            sizes = np.minimum(sizes, max_sample_size)
        super().__init__(sizes, items.ids, seed=seed, training=training)
        self.split = items.split
        self.mode = mode
        self.labels = items.labels

    def _compare_with_size_file(self, items: ItemTable) -> None:
        """Warn where counted tokens differ from the size file: tokens and lists then come from different runs."""
        for kind, listed in (("audio", items.n_audio), ("text", items.n_text)):
            if kind in self.caches:
                counted = self.caches[kind].lengths
                wrong = np.flatnonzero((listed >= 0) & (listed != counted))
                if len(wrong):
                    first = wrong[0]
                    logger.warning(
                        "split %s: %d of %d %s token files differ in length from the size file (%s: %d, listed %d)",
                        *(items.split, len(wrong), len(items), kind, items.ids[first], counted[first], listed[first]),
                    )

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One item: its index and, per modality, its token ids [T]."""
        return {"id": int(index), **{kind: cache[index] for kind, cache in self.caches.items()}}

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Merge items into a batch as described above, each modality padded with 1 and cut to its cap."""
        ids = np.array([sample["id"] for sample in samples], dtype=np.int64)
        net_input, ntokens = {}, 0
        for kind in self.caches:
            sequences = [sample[kind] for sample in samples]
            net_input[kind] = torch.from_numpy(collate_tokens(sequences, self.caps[kind]))
            ntokens += sum(min(len(sequence), self.caps[kind]) for sequence in sequences)
        batch = {
            "id": torch.from_numpy(ids),
            "split": self.split,  # tells which data set ``id`` points into: fairseq's filler batches are of another
            "net_input": net_input,
            "nsentences": len(ids),
            "ntokens": ntokens,
        }
        if self.labels is not None:
            batch["target"] = torch.from_numpy(self.labels[ids])
        return batch
