"""Clips of speech with a cluster id for every frame, masked for prediction (arXiv 2110.06309, P-TAPT stage 3)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emofair.data.manifests import Utterance
from emofair.data.speech_dataset import SpeechDataset
from emofair.errors import EmofairError
from emofair.modules.span_masks import span_mask

IGNORED = -100


def read_units(path: str | os.PathLike[str], n_items: int, n_clusters: int | None = None) -> list[np.ndarray]:
    """Cluster ids of every utterance, int32 [frames], from ``{split}.km{K}``: one line each, ids separated by spaces.

    Raises `EmofairError` naming the row for a number of lines other than ``n_items``, anything that is no id, and ids
    from ``n_clusters`` on.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else "is no list of cluster ids"
        raise EmofairError(what, file=path, remedy="Make it with emofair units") from None
    if len(lines) != n_items:
        raise EmofairError(
            f"{len(lines)} lines for {n_items} utterances", file=path, remedy="Make the units of this list again"
        )
    units = []
    for row, line in enumerate(lines, start=1):
        try:
            ids = np.array(line.split(), dtype=np.int32)
        except (ValueError, OverflowError):
            raise EmofairError("not a line of cluster ids", file=path, row=row) from None
        if not len(ids) or ids.min() < 0 or (n_clusters is not None and ids.max() >= n_clusters):
            span = f"from 0 to {n_clusters - 1}" if n_clusters is not None else "from 0 on"
            raise EmofairError(
                f"cluster ids must be there and be {span}", file=path, row=row, remedy="Check --num-clusters"
            )
        units.append(ids)
    return units


class PseudoLabelDataset(SpeechDataset):
    """`SpeechDataset` whose batches hold what is to be predicted at masked frames.

    ``units`` has one list of id arrays per granularity; ``n_frames`` gives the encoder's frames for so many samples.
    A clip may have up to ``slack`` ids fewer than frames (upstream's first stage leaves one or two out); these are not
    predicted. Crops start at multiples of ``crop_hop``, the samples of one frame, so that ids and audio stay aligned.

    Batches hold also ``net_input`` {``masked`` Bool[B, T], ``index`` Long[M], the masked frames with an id, as
    places in the flattened [B * T]} and ``target`` Long[M, granularities]. They are known here, on the host: the
    device need not be asked how many there are. Masks follow from (seed, epoch, items); in evaluation they stay.
    """

    def __init__(
        self,
        items: Sequence[Utterance],
        split: str,
        units: Sequence[Sequence[np.ndarray]],
        n_frames: Callable[[int], int],
        *,
        mask_prob: float,
        mask_length: int,
        min_spans: int,
        mask_mode: str,
        slack: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(items, split, **options)
        self.units, self.n_frames = [list(each) for each in units], n_frames
        self.masking = (mask_prob, mask_length, min_spans, mask_mode)
        self._check_counts(slack)

    def _check_counts(self, slack: int) -> None:
        for each in self.units:
            for row, (item, ids) in enumerate(zip(self.items, each, strict=True), start=1):
                frames = self.n_frames(item.n_samples)
                if not frames - slack <= len(ids) <= frames:
                    raise EmofairError(
                        f"{item.id} (row {row} of split {self.split}) has {len(ids)} cluster ids for {frames} frames",
                        remedy="Make the units of this list with an encoder of the same frame rate",
                    )

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Merge items into a batch as described above."""
        batch = super().collate(samples)
        lengths = [self.n_frames(len(sample["waves"][0])) for sample in samples]
        size = self.n_frames(batch["net_input"]["wav"].size(1))
        target = np.full((len(samples), size, len(self.units)), IGNORED, dtype=np.int64)
        for row, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
            first = sample["start"] // self.crop_hop
            for column, units in enumerate(self.units):
                ids = units[sample["id"]][first : first + length]
                target[row, : len(ids), column] = ids
        epoch = self.epoch if self.training else 0
        words = np.random.SeedSequence([self.seed, epoch, *(sample["id"] for sample in samples)]).generate_state(2)
        generator = torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
        masked = span_mask(torch.tensor(lengths), size, *self.masking, generator=generator)
        target = torch.from_numpy(target).flatten(0, 1)
        index = (masked.flatten() & (target[:, 0] != IGNORED)).nonzero().squeeze(1)
        batch["net_input"] |= {"masked": masked, "index": index}
        batch |= {"target": target[index], "n_frames": sum(lengths)}
        return batch
