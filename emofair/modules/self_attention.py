"""Self-attention under fairseq's parameter names, and WavLM's, whose position bias is gated."""

from __future__ import annotations

import math

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn
from torch.nn import functional as F

from emofair.modules.dropout import dropout


class SelfAttention(MultiheadAttention):
    """Self-attention of every frame to the frames that are not padding, by torch's fused kernels.

    Those have no dropout on a CPU, where torch goes a slow way round: trained there, it is written out.
    """

    def __init__(self, embed_dim: int, heads: int, dropout: float) -> None:
        super().__init__(embed_dim, heads, dropout=dropout, self_attention=True)

    def forward(self, x: Tensor, padding: Tensor | None = None, position_bias: Tensor | None = None) -> Tensor:
        """x [B, T, C], ``padding`` [B, T] (true = padding) → [B, T, C]; ``position_bias`` is for subclasses."""
        q, k, v = (self.split(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        bias = self.bias(x, padding, position_bias, q.dtype)
        p = self.dropout_module.p if self.training else 0.0
        if p > 0 and x.device.type == "cpu":
            # Clip by clip: the scores of one stay in the processor's cache.
            biases = [None] * len(x) if bias is None else bias
            attended = torch.stack([self._written_out(*each, p) for each in zip(q, k, v, biases, strict=True)])
        else:
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=p)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def _written_out(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, p: float) -> Tensor:
        scores = (q * self.scaling) @ k.transpose(1, 2)
        weights = (scores if bias is None else scores.add_(bias)).softmax(dim=-1)
        return dropout(weights, p, training=True) @ v

    def split(self, x: Tensor) -> Tensor:
        """[B, T, C] → [B, heads, T, head_dim]."""
        return x.unflatten(2, (self.num_heads, self.head_dim)).transpose(1, 2)

    def bias(
        self, x: Tensor, padding: Tensor | None, position_bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor | None:
        """What is added to the scores, a shape that broadcasts to [B, heads, T, T]; None: nothing."""
        if padding is None:
            return None
        return torch.zeros_like(padding, dtype=dtype).masked_fill_(padding, float("-inf"))[:, None, None]


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


class GatedRelativeAttention(SelfAttention):
    """Self-attention with WavLM's gated relative position bias (arXiv 2110.13900, section III-B); its own names.

    The table ``relative_attention_bias`` [num_buckets, heads] is in the first layer only; `position_bias` of that layer
    serves all. The gate is each layer's own.
    """

    def __init__(self, embed_dim: int, heads: int, dropout: float, table: tuple[int, int] | None) -> None:
        super().__init__(embed_dim, heads, dropout)
        self.table = table
        if table is not None:
            self.relative_attention_bias = nn.Embedding(table[0], heads)
        self.grep_linear = nn.Linear(self.head_dim, 8)
        self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))

    def position_bias(self, n_frames: int) -> Tensor:
        """The table laid out for ``n_frames``, [heads, T, T]."""
        weight = self.relative_attention_bias.weight
        return F.embedding(relative_buckets(n_frames, *self.table, device=weight.device), weight).permute(2, 0, 1)

    def bias(self, x: Tensor, padding: Tensor | None, position_bias: Tensor, dtype: torch.dtype) -> Tensor:
        """The position bias behind the gates of the queries, [B, heads, T, T]."""
        gates = self.grep_linear(self.split(x)).unflatten(-1, (2, 4)).sum(dim=-1)
        update, reset = torch.sigmoid(gates).chunk(2, dim=-1)
        gate = update * (reset * self.grep_a - 1) + 2  # [B, heads, T, 1]
        bias = (gate * position_bias).to(dtype)
        return bias if padding is None else bias.masked_fill(padding[:, None, None], float("-inf"))
