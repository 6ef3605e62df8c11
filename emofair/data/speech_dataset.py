"""Clips of speech as padded waveforms: cropped in training, whole (or in windows) in evaluation."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from emofair.data.base import EmofairDataset
from emofair.data.clip_audio import read_clip
from emofair.data.clip_features import ClipFeatures, pad_features
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError
from emofair.units.feature_store import Features

logger = logging.getLogger(__name__)

CROPS = ("random", "head", "min")
ORDERS = ("length", "bucket", "random")


def windows_of(n_samples: int, window: int, hop: int) -> list[tuple[int, int]]:
    """Start and end of windows over a clip: one where it fits, else every ``hop`` samples and one that ends with it."""
    if n_samples <= window:
        return [(0, n_samples)]
    starts = [*range(0, n_samples - window, hop), n_samples - window]
    return [(start, start + window) for start in starts]


def normalized(wav: np.ndarray) -> np.ndarray:
    """A clip [n] at zero mean and unit variance; silence stays silence."""
    wav = wav - wav.mean(dtype=np.float64)
    return (wav / np.sqrt(np.mean(np.square(wav, dtype=np.float64)) + 1e-5)).astype(np.float32)


def pad_waveforms(waves: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips [n] each → float32 [B, longest], zeros on the right, and lengths Long [B]."""
    lengths = torch.tensor([len(wav) for wav in waves])
    padded = np.zeros((len(waves), int(lengths.max())), dtype=np.float32)
    for row, wav in zip(padded, waves, strict=True):
        row[: len(wav)] = wav
    return torch.from_numpy(padded), lengths


class SpeechDataset(EmofairDataset):
    """Utterances with audio; an item's size is its number of samples at 16 kHz, after cropping in training.

    In training clips longer than ``max_samples`` are cropped at a place drawn from (seed, epoch, index) or, with
    ``crop`` "head", at the start; "min" crops a batch to its shortest clip, though not below ``min_samples``. Crops
    start at multiples of ``crop_hop``. In evaluation clips stay whole, or are cut after ``eval_samples``; with
    ``window`` and ``hop`` (samples) they are given as overlapping windows. ``normalize`` brings every whole clip to
    zero mean and unit variance.

    ``order``: "length" (shortest first), "bucket" (shuffled inside ``n_buckets`` groups of similar length) or "random";
    evaluation is always by length. ``drop_last`` leaves out the incomplete last batch in training, as many published
    recipes do.

    Batches hold ``id`` Long[B], ``split``, ``net_input`` {``wav`` [R, L], ``n_samples`` Long[R]; with windows also
    ``item`` Long[R], the row's place in the batch, and ``n_items``}, ``nsentences``, ``ntokens`` (samples).

    With frames of the clips given to `read_from`, these are read in place of the audio: batches are the same, but for
    ``features`` [R, T, C] in the place of ``wav``, in the type in which they are stored.
    """

    frames: Features | None = None

    def __init__(
        self,
        items: Sequence[Utterance],
        split: str,
        *,
        normalize: bool = False,
        resample: bool = False,
        max_samples: int | None = None,
        crop: str = "random",
        min_samples: int = 0,
        crop_hop: int = 1,
        eval_samples: int | None = None,
        window: int | None = None,
        hop: int | None = None,
        order: str = "length",
        n_buckets: int = 50,
        drop_last: bool = False,
        seed: int = 1,
        training: bool = False,
    ) -> None:
        self.items, self.split = list(items), split
        self._check_items()
        self.normalize, self.resample = normalize, resample
        self.max_samples = max_samples
        self.crop, self.min_samples, self.crop_hop = crop, min_samples, crop_hop
        self.eval_samples, self.window, self.hop = eval_samples, window, hop or window
        self.order, self.n_buckets, self.drop_last = order, n_buckets, drop_last
        sizes = np.array([item.n_samples for item in self.items], dtype=np.int64)
        longest = max_samples if training else eval_samples
        if longest is not None:
            sizes = np.minimum(sizes, longest)
        super().__init__(sizes, [item.id for item in self.items], seed=seed, training=training)

    def _check_items(self) -> None:
        without = [item.id for item in self.items if not item.has_audio]
        if without:
            raise EmofairError(
                f"{len(without)} of {len(self.items)} utterances of split {self.split} have no audio ({without[0]})",
                remedy="Take them out of the list: this task reads speech",
            )
        twice = [name for name, times in Counter(item.id for item in self.items).items() if times > 1]
        if twice:
            raise EmofairError(
                f"split {self.split} has {len(twice)} ids twice ({twice[0]})",
                remedy="Give every clip a name of its own",
            )

    def waveform(self, index: int) -> np.ndarray:
        """A whole clip, float32 [n]."""
        wav = read_clip(self.items[index], resample=self.resample)
        return normalized(wav) if self.normalize else wav

    def read_from(self, frames: Features) -> None:
        """Read from now on the frames of the clips, dumped in their order, in place of their audio."""
        hop, count = frames.record["hop"], len(frames.lengths)
        if count != len(self) or self.window or (self.training and self.crop_hop % hop):
            raise ValueError(f"{count} clips with a frame every {hop} samples for {len(self)}, cropped off the frames")
        self.frames = frames

    def clip(self, index: int) -> np.ndarray | ClipFeatures:
        """A whole clip, as a waveform [n] or as its frames; either way its length and its cuts are in samples."""
        if self.frames is None:
            return self.waveform(index)
        return ClipFeatures.read(self.frames, index, self.items[index].n_samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One item: its index, clips (one, or several windows), and where the first starts."""
        index = int(index)
        wav = self.clip(index)
        if self.training:
            target = len(wav) if self.max_samples is None else self.max_samples
            start = self._crop_start(index, len(wav), target)
            return {"id": index, "waves": [wav[start : start + target]], "start": start}
        n = len(wav) if self.eval_samples is None else min(len(wav), self.eval_samples)
        spans = windows_of(n, self.window, self.hop) if self.window else [(0, n)]
        return {"id": index, "waves": [wav[start:end] for start, end in spans], "start": 0}

    def _crop_start(self, index: int, n_samples: int, target: int) -> int:
        room = n_samples - target
        if room <= 0 or self.crop == "head":
            return 0
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return int(rng.integers(0, room // self.crop_hop + 1)) * self.crop_hop

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Merge items into a batch as described above."""
        if self.training and self.crop == "min":
            target = max(min(len(sample["waves"][0]) for sample in samples), self.min_samples)
            samples = [self._cropped(sample, target) for sample in samples]
        waves = [wav for sample in samples for wav in sample["waves"]]
        name, pad = ("wav", pad_waveforms) if self.frames is None else ("features", pad_features)
        padded, n_samples = pad(waves)
        net_input: dict[str, Any] = {name: padded, "n_samples": n_samples}
        if len(waves) > len(samples):
            rows = [row for row, sample in enumerate(samples) for _ in sample["waves"]]
            net_input |= {"item": torch.tensor(rows), "n_items": len(samples)}
        return {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "split": self.split,  # tells which data set ``id`` points into: fairseq's filler batches are of another
            "net_input": net_input,
            "nsentences": len(samples),
            "ntokens": int(n_samples.sum()),
        }

    def _cropped(self, sample: dict[str, Any], target: int) -> dict[str, Any]:
        wav = sample["waves"][0]
        start = self._crop_start(sample["id"], len(wav), target)
        return {**sample, "waves": [wav[start : start + target]], "start": sample["start"] + start}

    def pool(self) -> np.ndarray:
        """The items of the epoch, as indices in any order."""
        return np.arange(len(self))

    def ordered_indices(self) -> np.ndarray:
        """Indices in the order from which batches are cut."""
        if not self.training:
            return super().ordered_indices()
        rng = np.random.default_rng([self.seed, self.epoch])
        shuffled = rng.permutation(self.pool())
        if self.order == "random":
            return shuffled
        by_length = shuffled[np.argsort(self.sizes[shuffled], kind="stable")]
        if self.order == "length":
            return by_length
        return np.concatenate([rng.permutation(part) for part in np.array_split(by_length, self.n_buckets)])

    def batch_by_size(
        self,
        indices: np.ndarray,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[np.ndarray]:
        """Batches of ``indices``; see :func:`emofair.data.batching.batch_by_size`."""
        batches = super().batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple)
        full = max_sentences is None or len(batches[-1]) == max_sentences
        if self.training and self.drop_last and len(batches) > 1 and not full:
            batches = batches[:-1]
        return batches
