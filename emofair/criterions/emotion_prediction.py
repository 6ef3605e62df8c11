"""Losses and metrics of robertaEMO (arXiv 2008.06682): emotions by two-way or k-way softmax, sentiment by L1."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional

import torch
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.distributed import utils as distributed
from omegaconf import II, DictConfig
from torch import Tensor, nn

from emofair.criterions.base import EmofairCriterion, MetricFamily, counts_key, zero_loss
from emofair.data.labels import resolve_target_mode
from emofair.errors import EmofairError
from emofair.inference.predictions import PredictionWriter
from emofair.metrics import binary, classification, regression

logger = logging.getLogger(__name__)


@dataclass
class EmotionCriterionConfig(FairseqDataclass):
    """Options of the criterion; those of the task are taken from there, so that each flag exists once."""

    classification_head_name: str = field(
        default="emotion_classification_head", metadata={"help": "name of the model's output layer to train"}
    )
    eval_metric: bool = II("task.eval_metric")
    save_predictions: Optional[str] = II("task.save_predictions")


@register_criterion("emotion_prediction_cri", dataclass=EmotionCriterionConfig)
class EmotionPredictionCriterion(EmofairCriterion):
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
        super().__init__(task)
        self.head = cfg.classification_head_name
        self.print_table = bool(cfg.eval_metric)
        self.mode = resolve_target_mode(task.cfg)
        # CMU-MOSI and MOSEI scores are also judged as seven classes; other numbers have no natural classes.
        self.names = regression.SENTIMENT_CLASSES if self.mode.kind == "l1" else self.mode.classes
        self.counts_keys = (counts_key("score" if self.mode.is_regression else self.mode.kind, self.names),)
        self.writer = None
        if cfg.save_predictions:
            rank, world_size = distributed.get_global_rank(), distributed.get_global_world_size()
            self.writer = PredictionWriter(cfg.save_predictions, self.mode, rank, world_size)
            _keep_out_of_checkpoint(cfg)

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
        if self.writer is not None and not self.training:
            ids = self.task.dataset(sample["split"]).ids
            self.writer.write(sample["split"], sample["id"].tolist(), ids, logits, target)
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

    def train(self, mode: bool = True) -> "EmotionPredictionCriterion":
        """Set training mode; the change to evaluation starts a new validation pass."""
        if self.writer is not None and self.training and not mode:
            self.writer.begin_pass()
        return super().train(mode)

    def finish_validation(self, logging_outputs: Optional[Sequence[Mapping[str, Any]]] = None) -> None:
        """Merge the workers' predictions; under fairseq-validate with ``--eval-metric`` print the table per class."""
        if self.writer is not None:
            self.writer.finish()
        if logging_outputs and self.print_table:
            logger.info("per class:\n%s", self.report(logging_outputs))


def _keep_out_of_checkpoint(cfg: EmotionCriterionConfig) -> None:
    # fairseq-validate starts from the stored options: it would overwrite this run's file, or fail on another machine.
    run = cfg._get_parent() if isinstance(cfg, DictConfig) else None
    for part in ("task", "criterion"):
        if run is not None and "save_predictions" in run.get(part, ()):
            run[part]["save_predictions"] = None
