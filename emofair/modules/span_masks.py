"""Masks of spans over time or channels, as in SpecAugment (arXiv 1904.08779) and wav2vec 2.0 (arXiv 2006.11477).

fairseq's own `compute_mask_indices` raises on short clips and where a row happens to draw no span, and works in numpy
row by row. This one is a handful of tensor operations on any device, and never asks the device for a number.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MODES = ("per_row", "hf")


def span_mask(
    lengths: Tensor,
    size: int,
    prob: float,
    length: int,
    min_spans: int = 2,
    mode: str = "per_row",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Bool [B, size], true inside spans of ``length`` that start at distinct random places of each row.

    ``lengths`` [B] are the valid positions of each row; nothing beyond them is masked. About ``prob`` of the positions
    would be masked if spans did not overlap, and at least ``min_spans`` spans are drawn.

    - "per_row": spans are counted and placed inside each row's valid length. In a row too short for ``min_spans`` spans
      they are shortened; a row of two positions or more is never masked as a whole, and never not at all.
    - "hf": the same number for all rows, counted and placed over ``size``, as `transformers` 4.10 does: short rows of a
      padded batch lose spans to the padding. Spans longer than ``size`` are shortened, where it raises an exception.
    """
    if prob <= 0:
        return torch.zeros(len(lengths), size, dtype=torch.bool, device=lengths.device)
    room = lengths if mode == "per_row" else torch.full_like(lengths, size)
    if mode == "per_row":
        span = ((room - 1) // max(min_spans, 1)).clamp(min=1, max=length)
        most = (room - 1) // span
        luck = torch.rand(len(lengths), device=lengths.device, generator=generator)
    else:
        span = room.clamp(max=length)
        most = room // span
        luck = torch.rand((), device=lengths.device, generator=generator)
    count = torch.minimum((prob * room / span + luck).long().clamp(min=min_spans), most)
    position = torch.arange(size, device=lengths.device)
    allowed = position <= (room - span)[:, None]
    chance = torch.rand(len(lengths), size, device=lengths.device, generator=generator).masked_fill(~allowed, -1)
    rank = chance.argsort(dim=1, descending=True).argsort(dim=1)
    starts = (rank < count[:, None]) & allowed
    # A position is masked when a span starts at it or at one of the span - 1 positions before it.
    begun = starts.long().cumsum(dim=1)
    before = (position - span[:, None]).clamp(min=0)
    ended = begun.gather(1, before).masked_fill(position < span[:, None], 0)
    return (begun > ended) & (position < lengths[:, None])


def time_mask(lengths: Tensor, size: int, cfg: Any) -> Tensor:
    """`span_mask` of frames [B, size], with a model's options (`emofair.models.options.SpanMaskConfig`).

    Clips without room for ``mask_min_spans`` spans are not masked: little or nothing would be left of them.
    """
    masked = span_mask(lengths, size, cfg.mask_time_prob, cfg.mask_time_length, cfg.mask_min_spans, cfg.mask_mode)
    return masked & (lengths >= cfg.mask_min_spans * cfg.mask_time_length)[:, None]


def channel_mask(x: Tensor, cfg: Any) -> Tensor:
    """`span_mask` of the channels of x [B, T, C], [B, C], with the same options."""
    widths = torch.full((len(x),), x.size(2), device=x.device)
    return span_mask(widths, x.size(2), cfg.mask_channel_prob, cfg.mask_channel_length, 1, cfg.mask_mode)
