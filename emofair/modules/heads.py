"""The output layer on top of a fused vector, and what becomes of the output layers in a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable

from torch import Tensor, nn

from emofair.errors import EmofairError

logger = logging.getLogger(__name__)


class ClassificationHead(nn.Module):
    """Dropout and one linear layer, nothing else: the shallow fusion of arXiv 2008.06682 needs no more."""

    def __init__(self, input_dim: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(input_dim, num_outputs)

    def forward(self, fused: Tensor) -> Tensor:
        """fused [B, C] → logits [B, num_outputs]."""
        return self.out_proj(self.dropout(fused))


def reconcile_heads(
    heads: nn.ModuleDict, state: dict[str, Tensor], start: str, register: Callable[[str, int], None] | None
) -> None:
    """Make the head weights in ``state`` (names that begin with ``start``) those of ``heads``, in place.

    A head that only the checkpoint has is re-created by ``register(name, num_outputs)``, or left out when that is None;
    one that only the model has keeps its initial weights. Raises `EmofairError` for a head of another size.
    """
    stored = {key[len(start) :].split(".")[0] for key in state if key.startswith(start)}
    for name in sorted(stored):
        weight = state[f"{start}{name}.out_proj.weight"]
        if name not in heads:
            if register is not None:
                register(name, weight.size(0))
            else:
                logger.warning("head %r of the checkpoint is left out (--load-checkpoint-heads keeps it)", name)
                for key in [key for key in state if key.startswith(f"{start}{name}.")]:
                    del state[key]
                continue
        ours = heads[name].out_proj.weight
        if ours.shape != weight.shape:
            raise EmofairError(
                f"head {name!r} of the checkpoint has {weight.size(0)} outputs of width {weight.size(1)}, "
                f"the model {ours.size(0)} of width {ours.size(1)}",
                remedy="Use the target and modality flags of its training, or another --classification-head-name",
            )
    for name in sorted(set(heads) - stored):
        logger.warning("head %r is not in the checkpoint and keeps its initial weights", name)
        for key, value in heads[name].state_dict().items():
            state[f"{start}{name}.{key}"] = value.clone()
