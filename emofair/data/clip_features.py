"""Frames of a clip in place of its waveform: counted and cut in samples all the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from emofair.units.feature_store import Features, n_frames


class ClipFeatures:
    """Frames [n, dim] of a clip of ``n_samples``, one every ``hop`` samples, each seeing ``receptive_field`` of them.

    Its length is in samples, and a slice is what lies between two samples, of which the first starts a frame. Each
    frame is what it is in the whole clip.
    """

    def __init__(self, frames: np.ndarray, n_samples: int, hop: int, receptive_field: int) -> None:
        self.frames, self.n_samples = frames, n_samples
        self.hop, self.receptive_field = hop, receptive_field

    @classmethod
    def read(cls, features: Features, index: int, n_samples: int) -> ClipFeatures:
        """Clip ``index`` of a dump, as it is stored."""
        return cls(features.clip(index), n_samples, features.record["hop"], features.record["receptive_field"])

    def __len__(self) -> int:
        return self.n_samples

    def __getitem__(self, part: slice) -> ClipFeatures:
        start, end, _ = part.indices(self.n_samples)
        first, beside = divmod(start, self.hop)
        if beside:
            raise ValueError(f"sample {start} is not the first of a frame of {self.hop}")
        count = n_frames(end - start, self.receptive_field, self.hop)
        first = min(first, len(self.frames) - count)  # less than a frame sees, at the very end
        return ClipFeatures(self.frames[first : first + count], end - start, self.hop, self.receptive_field)


def pad_features(clips: Sequence[ClipFeatures]) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips → their frames [B, most frames, dim] in the type they are stored in, zeros behind, and samples Long [B]."""
    longest = max(clips, key=lambda clip: len(clip.frames)).frames
    padded = np.zeros((len(clips), *longest.shape), dtype=longest.dtype)
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip.frames)] = clip.frames
    return torch.from_numpy(padded), torch.tensor([clip.n_samples for clip in clips])
