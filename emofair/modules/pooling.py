"""From a sequence of frame vectors to one vector per item."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_over_time(features: Tensor, padding: Tensor) -> Tensor:
    """Mean of features [B, T, C] over the positions that are not padding → [B, C]."""
    keep = (~padding).unsqueeze(-1)
    total = features.masked_fill(~keep, 0).sum(dim=1, dtype=torch.float32)
    return (total / keep.sum(dim=1).clamp(min=1)).to(features.dtype)
