"""Losses of robertaEMO's semi-supervised form: labelled cross-entropy, MixMatch, UDA.

Training signal annealing is that of UDA (Xie et al. 2019, arXiv 1904.12848, §2.2), linear.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
import torch.nn.functional as F
from fairseq.criterions import register_criterion
from torch import Tensor, nn

from emofair.criterions.emotion_prediction import EmotionCriterionConfig, EmotionPredictionCriterion
from emofair.errors import EmofairError

MIXUP_WEIGHT = 10.0


@dataclass
class EmotionSemisupCriterionConfig(EmotionCriterionConfig):
    """Options of the criterion."""

    tsa_updates: int = field(
        default=6320, metadata={"help": "updates until confident labelled items count fully (signal annealing)"}
    )
    ramp_updates: int = field(default=100, metadata={"help": "updates until the loss on unlabelled items counts fully"})


@register_criterion("emotion_prediction_semisup_cri", dataclass=EmotionSemisupCriterionConfig)
class EmotionSemisupCriterion(EmotionPredictionCriterion):
    """The loss of ``emotion_prediction_cri`` per decision, and what unlabelled items add to it.

    Where every emotion is judged on its own, the loss is divided by their number; it is shown in nats.
    Batches without unlabelled items, and all validation, are supervised only.
    """

    unit = 1.0

    def __init__(self, cfg: EmotionSemisupCriterionConfig, task) -> None:
        super().__init__(cfg, task)
        for option in ("tsa_updates", "ramp_updates"):
            if getattr(cfg, option) < 1:
                raise EmofairError(f"--{option.replace('_', '-')} must be at least 1, not {getattr(cfg, option)}")
        self.tsa_updates, self.ramp_updates = cfg.tsa_updates, cfg.ramp_updates

    def forward(
        self, model: nn.Module, sample: Optional[Mapping[str, Any]], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """See `EmotionPredictionCriterion.forward`; ``sample`` may hold ``unlabelled`` {audio, text}."""
        if not sample or "unlabelled" not in sample or not self.training:
            return super().forward(model, sample)
        logits, extra = model(
            **sample["net_input"],
            unlabelled=sample["unlabelled"],
            target_probabilities=None if self.mode.is_regression else self._one_hot(sample["target"]),
            features_only=True,
            classification_head_name=self.head,
        )
        logits, target = logits.float(), self._target(sample, logits)
        updates = model.num_updates
        if "mixup_logits" in extra:
            loss = self._mixmatch(logits, target, extra, updates)
        elif "aug_uda_logits" in extra:
            loss = self._uda(logits, target, extra, updates)
        else:
            loss = self._losses(logits, target).sum()
        return loss, len(target), self._output(loss, logits.detach(), target, ntokens=sample["ntokens"])

    def _losses(self, logits: Tensor, target: Tensor) -> Tensor:
        return super()._losses(logits, target) / self.decisions

    def _one_hot(self, target: Tensor) -> Tensor:
        """Class indices [N] → distributions [N, G, K]: one K-way, or one two-way per emotion."""
        k = len(self.mode.classes)
        one_hot = F.one_hot(target, k).float()
        if self.mode.kind == "binary":
            return torch.stack([1 - one_hot, one_hot], dim=-1)
        return one_hot.unsqueeze(1)

    def _groups(self, logits: Tensor) -> Tensor:
        """Logits [N, outputs] → [N, G, K]."""
        width = 2 if self.mode.kind == "binary" else len(self.mode.classes)
        return logits.float().view(len(logits), -1, width)

    def _annealed(self, logits: Tensor, target: Tensor, updates: int) -> Tensor:
        """Mean cross-entropy over the labelled decisions that are not yet too confident, times N."""
        if self.mode.is_regression:
            return self._losses(logits, target).sum()
        floor = 1 / len(self.mode.classes)
        threshold = min(1.0, updates / self.tsa_updates) * (1 - floor) + floor
        log_probability = (self._groups(logits).log_softmax(dim=-1) * self._one_hot(target)).sum(dim=-1)
        keep = (log_probability.detach().exp() <= threshold).float()
        return -(log_probability * keep).sum() / keep.sum().clamp(min=1) * len(target)

    def _ramp(self, updates: int) -> float:
        return min(1.0, updates / self.ramp_updates)

    def _mixmatch(self, logits: Tensor, target: Tensor, extra: Mapping[str, Tensor], updates: int) -> Tensor:
        n = len(target)
        mixed, wanted = extra["mixup_logits"].float(), extra["mixup_targets"]
        labelled = -(wanted[:n] * mixed[:n].log_softmax(dim=-1)).sum(dim=-1).mean()
        unlabelled = (mixed[n:].softmax(dim=-1) - wanted[n:]).square().mean()
        extra_loss = labelled + self._ramp(updates) * MIXUP_WEIGHT * unlabelled
        return self._annealed(logits, target, updates) + extra_loss * n

    def _uda(self, logits: Tensor, target: Tensor, extra: Mapping[str, Tensor], updates: int) -> Tensor:
        clean, augmented = extra["ori_uda_logits"].float(), extra["aug_uda_logits"].float()
        if self.mode.is_regression:
            consistency = F.l1_loss(augmented, clean)
        else:
            clean, augmented = self._groups(clean), self._groups(augmented)
            divergence = F.kl_div(
                augmented.log_softmax(dim=-1), clean.log_softmax(dim=-1), log_target=True, reduction="none"
            )
            consistency = divergence.sum(dim=-1).mean()
        return self._annealed(logits, target, updates) + self._ramp(updates) * consistency * len(target)
