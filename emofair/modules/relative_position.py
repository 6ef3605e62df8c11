"""Gated relative position bias of WavLM (arXiv 2110.13900, section III-B)."""

from __future__ import annotations

import math

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn
from torch.nn import functional as F


def relative_buckets(n_frames: int, num_buckets: int, max_distance: int, device: torch.device | None = None) -> Tensor:
    """Bucket [T, T] of the offset from query (row) to key (column).

    Half of the buckets are for keys after the query. Of each half, one half holds one offset each, the other grows
    logarithmically up to ``max_distance`` frames.
    """
    position = torch.arange(n_frames, device=device)
    offset = position[None] - position[:, None]
    half = num_buckets // 2
    exact = half // 2
    distance = offset.abs()
    grown = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    far = (exact + grown.long()).clamp(max=half - 1)
    return (offset > 0).long() * half + torch.where(distance < exact, distance, far)


class GatedRelativeAttention(MultiheadAttention):
    """Self-attention with WavLM's bias; names are those of WavLM's checkpoints.

    The table ``relative_attention_bias`` [num_buckets, heads] is in the first layer only; `position_bias` of that layer
    serves all. The gate is each layer's own.
    """

    def __init__(self, embed_dim: int, heads: int, dropout: float, table: tuple[int, int] | None) -> None:
        super().__init__(embed_dim, heads, dropout=dropout, self_attention=True)
        self.table = table
        if table is not None:
            self.relative_attention_bias = nn.Embedding(table[0], heads)
        self.grep_linear = nn.Linear(self.head_dim, 8)
        self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))

    def position_bias(self, n_frames: int) -> Tensor:
        """The table laid out for ``n_frames``, [heads, T, T]."""
        weight = self.relative_attention_bias.weight
        return F.embedding(relative_buckets(n_frames, *self.table, device=weight.device), weight).permute(2, 0, 1)

    def forward(
        self, query: Tensor, key=None, value=None, key_padding_mask=None, attn_mask=None, **unused
    ) -> tuple[Tensor, None]:
        """query [T, B, C] → [T, B, C]; ``attn_mask`` is the position bias, ``key_padding_mask`` [B, T]."""
        frames, batch, width = query.shape

        def split(x: Tensor) -> Tensor:  # [T, B, C] -> [B, heads, T, head_dim]
            return x.view(frames, batch, self.num_heads, self.head_dim).permute(1, 2, 0, 3)

        gates = self.grep_linear(split(query)).unflatten(-1, (2, 4)).sum(dim=-1)
        update, reset = torch.sigmoid(gates).chunk(2, dim=-1)
        gate = update * (reset * self.grep_a - 1) + 2  # [B, heads, T, 1]
        q, k, v = (split(project(query)) for project in (self.q_proj, self.k_proj, self.v_proj))
        bias = (gate * attn_mask).to(q.dtype)
        if key_padding_mask is not None:
            bias = bias.masked_fill(key_padding_mask[:, None, None], float("-inf"))
        dropout = self.dropout_module.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(attended.permute(2, 0, 1, 3).reshape(frames, batch, width)), None
