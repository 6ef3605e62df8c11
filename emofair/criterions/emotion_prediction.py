"""Losses and metrics of robertaEMO (arXiv 2008.06682): emotions by two-way or k-way softmax, sentiment by L1."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional

import torch
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from torch import Tensor, nn

from emofair.criterions.base import MetricFamily, counts_key, zero_loss
from emofair.criterions.predicting import PredictingCriterion, PredictingCriterionConfig
from emofair.data.labels import resolve_target_mode
from emofair.errors import EmofairError
from emofair.metrics import binary, classification, regression


@dataclass
class EmotionCriterionConfig(PredictingCriterionConfig):
    """Options of the criterion."""

    classification_head_name: str = field(
        default="emotion_classification_head", metadata={"help": "name of the model's output layer to train"}
    )


@register_criterion("emotion_prediction_cri", dataclass=EmotionCriterionConfig)
class EmotionPredictionCriterion(PredictingCriterion):
    """Sum of losses over a batch, divided by the number of items N for the gradient.

    - softmax: cross-entropy;
    - binary: k two-way cross-entropies per item, logits [N, 2 k] read as [N, k, (absent, present)];
    - l1, mse: absolute and squared error of the score.

    All in float32. The published ``loss`` is the mean per decision, in bits for classification (as fairseq has it:
    divided by ln 2) and in units of the score for regression (so with L1 it is the MAE).
    """

    families: ClassVar[Mapping[str, MetricFamily]] = {
        "softmax": classification,
        "binary": binary,
        "score": regression,
    }

    def __init__(self, cfg: EmotionCriterionConfig, task) -> None:
        super().__init__(cfg, task, resolve_target_mode(task.cfg))
        self.head = cfg.classification_head_name
        # CMU-MOSI and MOSEI scores are also judged as seven classes; other numbers have no natural classes.
        self.names = regression.SENTIMENT_CLASSES if self.mode.kind == "l1" else self.mode.classes
        self.counts_keys = (counts_key("score" if self.mode.is_regression else self.mode.kind, self.names),)

    def forward(
        self, model: nn.Module, sample: Optional[Mapping[str, Any]], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Return the loss summed over the batch, its divisor N, and sums for the figures.

        ``sample`` holds ``net_input`` {audio, text}, ``target`` [N] (class indices or scores), ``id`` [N], ``split``,
        ``nsentences`` and ``ntokens``. Without items (an empty worker's batch) everything is zero.
        """
        if not sample:
            loss = zero_loss(model)
            logits = loss.new_zeros(0, self.mode.num_outputs).detach()
            return loss, 0, self._output(loss, logits, logits.new_zeros(0), ntokens=0)
        logits, _ = model(**sample["net_input"], features_only=True, classification_head_name=self.head)
        logits, target = logits.float(), self._target(sample, logits)
        losses = self._losses(logits, target)
        self.write_predictions(sample, logits, target)
        return losses.sum(), len(target), self._output(losses, logits.detach(), target, ntokens=sample["ntokens"])

    def _target(self, sample: Mapping[str, Any], logits: Tensor) -> Tensor:
        if "target" not in sample:
            raise EmofairError("the batch has no labels", remedy="Give the split a label file")
        if logits.size(-1) != self.mode.num_outputs:
            raise EmofairError(
                f"head {self.head!r} has {logits.size(-1)} outputs, and the target {self.mode.name} needs "
                f"{self.mode.num_outputs}",
                remedy="Use the target flags of its training, or another --classification-head-name",
            )
        # Never squeeze: a batch of one must not broadcast.
        return sample["target"].view(len(logits))

    def _losses(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.mode.kind == "softmax":
            return F.cross_entropy(logits, target, reduction="none")
        if self.mode.kind == "binary":
            present = target.view(-1, 1) == torch.arange(len(self.mode.classes), device=target.device)
            return F.cross_entropy(logits.view(-1, 2), present.long().view(-1), reduction="none")
        distance = F.l1_loss if self.mode.kind == "l1" else F.mse_loss
        return distance(logits.view(-1), target.float(), reduction="none")

    @property
    def decisions(self) -> int:
        """Choices per item: one, or one per emotion."""
        return len(self.mode.classes) if self.mode.kind == "binary" else 1

    @property
    def unit(self) -> float:
        """What the loss summed over an item is divided by to be shown."""
        return 1.0 if self.mode.is_regression else math.log(2) * self.decisions

    def _output(self, losses: Tensor, logits: Tensor, target: Tensor, ntokens: int) -> dict[str, Any]:
        return {
            # Summed in double, so that the published loss does not depend on how the items were batched.
            "loss": losses.detach().double().sum() / self.unit,
            "sample_size": len(target),
            "nsentences": len(target),
            "ntokens": ntokens,
            self.counts_keys[0]: self._counts(logits, target),
        }

    def _counts(self, logits: Tensor, target: Tensor) -> Tensor:
        k = len(self.mode.classes)
        if self.mode.kind == "softmax":
            return classification.confusion_matrix(logits.argmax(dim=1), target, k)
        if self.mode.kind == "binary":
            return binary.decision_counts(logits.view(-1, k, 2), target)
        return regression.score_sums(logits, target, self.names)
