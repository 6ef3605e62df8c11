"""Class-weighted cross-entropy of waveform emotion recognition (arXiv 2110.06309), exact for any batches."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional

import torch
from fairseq.criterions import register_criterion
from torch import Tensor, nn

from emofair.criterions.base import MetricFamily, counts_key, zero_loss
from emofair.criterions.predicting import PredictingCriterion, PredictingCriterionConfig
from emofair.errors import EmofairError
from emofair.metrics import classification


@dataclass
class EmotionClassificationConfig(PredictingCriterionConfig):
    """Options of the criterion."""

    label_smoothing: float = field(default=0.0, metadata={"help": "share of the target spread over all classes"})


@register_criterion("emotion_classification", dataclass=EmotionClassificationConfig)
class EmotionClassificationCriterion(PredictingCriterion):
    """Sum over items of w_y times the cross-entropy, with the sum of w_y as its divisor.

    The weights w are those of the classes in the training split (task option ``class_weights``), all 1 without. A
    target that is a distribution p counts as its classes do, each with its share. As loss and divisor are sums, several
    workers and ``--update-freq`` give the weighted mean of the whole batch. Published in bits, as fairseq has it.
    """

    families: ClassVar[Mapping[str, MetricFamily]] = {"softmax": classification}

    def __init__(self, cfg: EmotionClassificationConfig, task) -> None:
        super().__init__(cfg, task, task.mode)
        if not 0 <= cfg.label_smoothing < 1:
            raise EmofairError(
                f"--label-smoothing {cfg.label_smoothing} is no share", remedy="Give a number from 0 to below 1"
            )
        self.label_smoothing = cfg.label_smoothing
        self.register_buffer("class_weights", task.class_weights(), persistent=False)
        self.counts_keys = (counts_key("softmax", self.mode.classes),)

    def forward(
        self, model: nn.Module, sample: Optional[Mapping[str, Any]], reduce: bool = True
    ) -> tuple[Tensor, Any, dict[str, Any]]:
        """Return the loss summed over the batch, its divisor, and sums for the figures.

        ``sample`` holds ``net_input``, ``target`` Long [N] or float [N, K], ``id`` [N], ``split``, ``nsentences`` and
        ``ntokens``. Without items (an empty worker's batch) everything is zero.
        """
        if not sample:
            loss = zero_loss(model)
            none = loss.new_zeros(0, len(self.mode.classes)).detach()
            target = none.sum(dim=1)
            output = self._output(loss, none.sum(), none, target, ntokens=0)
            return loss, 0.0, {**output, **self.more_counts(None, target)}
        if "target" not in sample:
            raise EmofairError(f"split {sample['split']} has no labels", remedy="Prepare the corpus with labels")
        logits, extra = model(**sample["net_input"])
        logits, shares = logits.float(), sample["target"]
        target = shares if shares.dim() == 1 else shares.argmax(dim=1)
        if shares.dim() == 1:
            # Not one_hot, which reads the values back to check them.
            shares = (target[:, None] == torch.arange(len(self.mode.classes), device=target.device)).float()
        weighted = shares * self.class_weights
        losses = self.losses(logits, extra, self._smoothed(weighted))
        self.write_predictions(sample, logits, target)
        output = self._output(losses, weighted.sum(), logits.detach(), target, ntokens=sample["ntokens"])
        return losses.sum(), weighted.sum(), {**output, **self.more_counts(extra, target)}

    def losses(self, logits: Tensor, extra: Mapping[str, Tensor], weighted: Tensor) -> Tensor:
        """Loss of every item [N] from logits [N, K] and its weighted target [N, K]."""
        return -(weighted * logits.log_softmax(dim=1)).sum(dim=1)

    def more_counts(self, extra: Optional[Mapping[str, Tensor]], target: Tensor) -> dict[str, Tensor]:
        """Further counts of a batch, by key; ``extra`` is the model's second output, None for an empty batch."""
        return {}

    def _smoothed(self, weighted: Tensor) -> Tensor:
        share = self.label_smoothing
        return (1 - share) * weighted + share / len(self.mode.classes) * self.class_weights if share else weighted

    def _output(self, losses: Tensor, weight: Tensor, logits: Tensor, target: Tensor, ntokens: int) -> dict[str, Any]:
        return {
            # Summed in double, so that the published loss does not depend on how the items were batched.
            "loss": losses.detach().double().sum() / math.log(2),
            "sample_size": weight.double(),
            "nsentences": len(target),
            "ntokens": ntokens,
            self.counts_keys[0]: classification.confusion_matrix(
                logits.argmax(dim=1), target.long(), len(self.mode.classes)
            ),
        }
