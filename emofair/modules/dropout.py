"""Dropout whose random numbers do not hold a CPU up."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_STEPS = 1 << 16


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """`torch.nn.functional.dropout` for 0 <= p < 1, which on a CPU is rounded to a multiple of 2 ** -16.

    torch draws a CPU's masks one number at a time, which takes a seventh of a training step of wav2vec 2.0 BASE. Here
    a draw of 64 bits serves four values, from the same generator; what is kept is scaled for the rounded p.
    """
    if not training or p == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p, training)
    threshold = min(round(p * _STEPS), _STEPS - 1)
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    dropped = words.view(torch.int16)[: x.numel()].view(x.shape) < threshold - _STEPS // 2
    return (x * (_STEPS / (_STEPS - threshold))).masked_fill_(dropped, 0)


class Dropout(nn.Module):
    """`dropout` as a module."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; unchanged in evaluation mode."""
        return dropout(x, self.p, self.training)
