"""Cross-entropy of cluster ids at masked frames (P-TAPT stage 3, arXiv 2110.06309)."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Optional

import torch
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import Tensor, nn

from emofair.criterions.base import EmofairCriterion, MetricFamily, counts_key, zero_loss
from emofair.metrics import masked_prediction


@register_criterion("pseudo_label", dataclass=FairseqDataclass)
class PseudoLabelCriterion(EmofairCriterion):
    """Sum over granularities of the cross-entropy summed over masked frames; its divisor is the number of those.

    So the loss is the sum of one mean per granularity. Published in bits, as fairseq has it.
    """

    families: ClassVar[Mapping[str, MetricFamily]] = {"masked": masked_prediction}

    def __init__(self, cfg: FairseqDataclass, task) -> None:
        super().__init__(task)
        self.counts_keys = (counts_key("masked", [str(n) for n in task.n_clusters]),)

    def forward(
        self, model: nn.Module, sample: Optional[Mapping[str, Any]], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return the summed loss, the number of predicted frames M, and sums for the figures.

        ``sample`` holds ``net_input``, ``target`` Long [M, granularities], ``n_frames``, ``nsentences``, ``ntokens``.
        A batch without masked frames (or an empty worker's) has a loss of 0 that is connected to every parameter.
        """
        n_sets = int(self.counts_keys[0].count("|")) + 1
        if not sample or not len(sample["target"]):
            loss = zero_loss(model)
            correct, frames = loss.new_zeros(n_sets), sample["n_frames"] if sample else 0
            return loss, 0, self._output(loss, correct, 0, frames, sample)
        logits = model(**sample["net_input"])
        target = sample["target"]
        losses = [F.cross_entropy(each.float(), target[:, i], reduction="sum") for i, each in enumerate(logits)]
        correct = torch.stack([(each.argmax(dim=1) == target[:, i]).sum() for i, each in enumerate(logits)])
        loss = torch.stack(losses).sum()
        return loss, len(target), self._output(loss, correct, len(target), sample["n_frames"], sample)

    def _output(
        self, loss: Tensor, correct: Tensor, n_masked: int, n_frames: int, sample: Optional[Mapping[str, Any]]
    ) -> dict[str, Any]:
        counts = torch.cat([correct.double(), correct.new_tensor([n_masked, n_frames]).double()])
        return {
            "loss": loss.detach().double() / math.log(2),
            "sample_size": n_masked,
            "nsentences": sample["nsentences"] if sample else 0,
            "ntokens": sample["ntokens"] if sample else 0,
            self.counts_keys[0]: counts,
        }
