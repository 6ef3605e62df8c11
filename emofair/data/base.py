"""The dataset base class: ordering, batching and empty batches, the same for token and waveform datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fairseq.data import FairseqDataset

from emofair.data.batching import batch_by_size
from emofair.errors import EmofairError


class EmofairDataset(FairseqDataset):
    """Items of known size that are batched shortest first and never dropped.

    ``sizes`` (int64, one per item) are in the unit of ``--max-tokens``: tokens or samples. ``ids`` name the items in
    errors and prediction files. When ``training``, items of equal size come in an order drawn from (seed, epoch), so
    that a resumed run sees the batches of an uninterrupted one; otherwise they come by index. Subclasses provide
    ``__getitem__`` and ``collate``.
    """

    def __init__(
        self,
        sizes: Sequence[int] | np.ndarray,
        ids: Sequence[str] | None = None,
        *,
        seed: int = 1,
        training: bool = False,
    ) -> None:
        super().__init__()
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.ids = list(ids) if ids is not None else [str(i) for i in range(len(self.sizes))]
        if len(self.ids) != len(self.sizes):
            raise ValueError(f"{len(self.ids)} ids but {len(self.sizes)} sizes")
        self.seed = seed
        self.epoch = 1
        self.training = training

    def __len__(self) -> int:
        return len(self.sizes)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Merge at least one item into a batch."""
        raise NotImplementedError

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Merge items into a batch; no items (the filler of an uneven shard) make an empty dict."""
        return self.collate(samples) if samples else {}

    def size(self, index: int) -> int:
        """Size of an item, in the unit of ``sizes``."""
        return int(self.sizes[index])

    def num_tokens(self, index: int) -> int:
        """The same, as ``--max-tokens`` counts it."""
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """Sizes of several items, int64 [n]."""
        return self.sizes[indices]

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; the order of items of equal size follows it."""
        self.epoch = epoch

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """False in training: fairseq then asks for the order again in every epoch, so that it follows the epoch."""
        return not self.training

    def ordered_indices(self) -> np.ndarray:
        """Indices by ascending size."""
        if not self.training:
            return np.argsort(self.sizes, kind="stable")
        ties = np.random.default_rng([self.seed, self.epoch]).permutation(len(self))
        return np.lexsort((ties, self.sizes))

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list[int]]:
        """Refuse what fairseq would filter: an item over ``max_sizes`` (--max-tokens, model limit) is an error.

        In training fairseq leaves such items out whatever the user says; a model that never saw them, or a score that
        does not count them, would not be what was asked for.
        """
        limits = max_sizes if isinstance(max_sizes, (tuple, list)) else [max_sizes]
        limit = min((value for value in limits if value is not None), default=None)
        if limit is None or not len(indices):
            return indices, []
        over = indices[self.sizes[indices] > limit]
        if len(over):
            longest = int(over[self.sizes[over].argmax()])
            raise EmofairError(
                f"{len(over)} of {len(indices)} items are longer than {limit:g} tokens or samples"
                f" (the longest, {self.ids[longest]}, has {self.size(longest)})",
                remedy=f"Give --max-tokens {self.size(longest)} or more, or cap the length of the inputs",
            )
        return indices, []

    def batch_by_size(
        self,
        indices: np.ndarray,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[np.ndarray]:
        """Batches of ``indices``; see :func:`emofair.data.batching.batch_by_size`."""
        return batch_by_size(
            indices,
            self.num_tokens_vec(indices),
            max_tokens,
            max_sentences,
            required_batch_size_multiple,
            name_of=lambda index: self.ids[index],
        )
