"""Criterions whose model answers every item: predictions by utterance id, and the table per class."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.distributed import utils as distributed
from omegaconf import II, DictConfig
from torch import Tensor

from emofair.criterions.base import EmofairCriterion
from emofair.data.labels import TargetMode
from emofair.inference.predictions import PredictionWriter

logger = logging.getLogger(__name__)


@dataclass
class PredictingCriterionConfig(FairseqDataclass):
    """Options that belong to the task are taken from there, so that each flag exists once."""

    eval_metric: bool = II("task.eval_metric")
    save_predictions: Optional[str] = II("task.save_predictions")


class PredictingCriterion(EmofairCriterion):
    """Base of criterions of a `TargetMode`, which writes what the model said where ``save_predictions`` asks for it."""

    def __init__(self, cfg: PredictingCriterionConfig, task, mode: TargetMode) -> None:
        super().__init__(task)
        self.mode = mode
        self.print_table = bool(cfg.eval_metric)
        self.writer = None
        if cfg.save_predictions:
            rank, world_size = distributed.get_global_rank(), distributed.get_global_world_size()
            self.writer = PredictionWriter(cfg.save_predictions, mode, rank, world_size)
            _keep_out_of_checkpoint(cfg)

    def write_predictions(self, sample: Mapping[str, Any], logits: Tensor, target: Tensor) -> None:
        """Add a batch of a validation pass to the predictions; logits [N, num_outputs], target [N]."""
        if self.writer is not None and not self.training:
            ids = self.task.dataset(sample["split"]).ids
            self.writer.write(sample["split"], sample["id"].tolist(), ids, logits, target)

    def train(self, mode: bool = True) -> "PredictingCriterion":
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


def _keep_out_of_checkpoint(cfg: PredictingCriterionConfig) -> None:
    # fairseq-validate starts from the stored options: it would overwrite this run's file, or fail on another machine.
    run = cfg._get_parent() if isinstance(cfg, DictConfig) else None
    for part in ("task", "criterion"):
        if run is not None and "save_predictions" in run.get(part, ()):
            run[part]["save_predictions"] = None
