"""From a sequence of frame vectors to one vector per item."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emofair.errors import EmofairError

POOLINGS = ("mean", "mean_drop_last", "max", "attention", "attentive_statistics")
# Those that give a weighted mean of the frames: what a linear layer makes of it is the weighted mean of what it makes
# of each frame.
WEIGHTED_MEANS = ("mean", "mean_drop_last", "attention")
ATTENTION_SCORES = ("tanh", "linear", "mlp")
ATTENTION_INITS = ("uniform", "xavier", "zero")


def mean_over_time(features: Tensor, padding: Tensor) -> Tensor:
    """Mean of features [B, T, C] over the positions that are not padding → [B, C]."""
    keep = (~padding).unsqueeze(-1)
    total = features.masked_fill(~keep, 0).sum(dim=1, dtype=torch.float32)
    return (total / keep.sum(dim=1).clamp(min=1)).to(features.dtype)


class MeanPooling(nn.Module):
    """Mean over the valid frames, or with ``drop_last`` over all of them but the last, if there are two.

    The code of arXiv 2110.06309 leaves the last frame out.
    """

    def __init__(self, drop_last: bool = False) -> None:
        super().__init__()
        self.drop_last = drop_last

    def _left_out(self, padding: Tensor) -> Tensor:
        if self.drop_last and padding.size(1) > 1:
            # The first frame stays: there must be one to average.
            last = torch.ones_like(padding[:, :1])
            padding = torch.cat([padding[:, :1], padding[:, 1:-1] | padding[:, 2:], last], dim=1)
        return padding

    def weights(self, features: Tensor, padding: Tensor) -> Tensor:
        """Weight [B, T] of every frame in fp32; it adds up to 1."""
        keep = (~self._left_out(padding)).float()
        return keep / keep.sum(dim=1, keepdim=True).clamp(min=1)

    def forward(self, features: Tensor, padding: Tensor) -> Tensor:
        """features [B, T, C], padding [B, T] → [B, C]."""
        return mean_over_time(features, self._left_out(padding))


class MaxPooling(nn.Module):
    """Largest value of each channel over the valid frames."""

    def forward(self, features: Tensor, padding: Tensor) -> Tensor:
        """features [B, T, C], padding [B, T] → [B, C]."""
        return features.masked_fill(padding.unsqueeze(-1), torch.finfo(features.dtype).min).amax(dim=1)


class AttentionPooling(nn.Module):
    """Weighted mean, the weights a softmax over time of a score of each frame (arXiv 2312.16383 uses "tanh").

    ``score``: "linear" w·h, "tanh" tanh(w·h), "mlp" w·tanh(V h) with V of the width of h. ``init`` of w: "uniform" in
    [0, 1], "xavier", or "zero", which starts as the mean.
    """

    def __init__(self, dim: int, score: str = "tanh", init: str = "uniform") -> None:
        super().__init__()
        if score not in ATTENTION_SCORES or init not in ATTENTION_INITS:
            raise EmofairError(
                f"attention pooling with score {score!r} and init {init!r} is not known",
                remedy=f"Choose of {', '.join(ATTENTION_SCORES)} and of {', '.join(ATTENTION_INITS)}",
            )
        self.kind = score
        self.hidden = nn.Linear(dim, dim) if score == "mlp" else None
        self.score = nn.Linear(dim, 1, bias=False)
        start = {"uniform": nn.init.uniform_, "xavier": nn.init.xavier_uniform_, "zero": nn.init.zeros_}
        start[init](self.score.weight)

    def weights(self, features: Tensor, padding: Tensor) -> Tensor:
        """Attention [B, T] in fp32; it adds up to 1 over the valid frames and is 0 elsewhere."""
        score = self.score(features if self.hidden is None else torch.tanh(self.hidden(features)))
        score = score.squeeze(-1).float()
        if self.kind == "tanh":
            score = torch.tanh(score)
        return score.masked_fill(padding, float("-inf")).softmax(dim=1)

    def forward(self, features: Tensor, padding: Tensor) -> Tensor:
        """features [B, T, C], padding [B, T] → [B, C]."""
        return _weighted_mean(features, self.weights(features, padding), padding).to(features.dtype)


class AttentiveStatisticsPooling(AttentionPooling):
    """Weighted mean and weighted standard deviation, one after the other [B, 2 C] (arXiv 1803.10963)."""

    def forward(self, features: Tensor, padding: Tensor) -> Tensor:
        """features [B, T, C], padding [B, T] → [B, 2 C]."""
        weights = self.weights(features, padding)
        mean = _weighted_mean(features, weights, padding)
        centred = features.float() - mean.unsqueeze(1)
        variance = _weighted_mean(centred * centred, weights, padding)
        # The root has no gradient at 0, which is what a clip of one frame has.
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=-1).to(features.dtype)


def make_pooling(name: str, dim: int, score: str = "tanh", init: str = "uniform") -> tuple[nn.Module, int]:
    """A pooling by name, and the width of what it gives for frames of width ``dim``."""
    if name in ("mean", "mean_drop_last"):
        return MeanPooling(drop_last=name == "mean_drop_last"), dim
    if name == "max":
        return MaxPooling(), dim
    if name == "attention":
        return AttentionPooling(dim, score, init), dim
    if name == "attentive_statistics":
        return AttentiveStatisticsPooling(dim, score, init), 2 * dim
    raise EmofairError(f"--pooling {name} is not known", remedy=f"Choose one of {', '.join(POOLINGS)}")


def mean_by_item(rows: Tensor, item: Tensor, n_items: int) -> Tensor:
    """Mean of the rows [R, K] of each item, ``item`` Long [R] being the item of a row → [n_items, K]."""
    total = rows.new_zeros(n_items, rows.size(1)).index_add(0, item, rows)
    return total / rows.new_zeros(n_items).index_add(0, item, rows.new_ones(len(item)))[:, None]


def _weighted_mean(features: Tensor, weights: Tensor, padding: Tensor) -> Tensor:
    # Padded frames may hold anything, and 0 times infinity is not 0.
    features = features.float().masked_fill(padding.unsqueeze(-1), 0)
    return torch.einsum("bt,btc->bc", weights, features)
