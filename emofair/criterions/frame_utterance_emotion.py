"""Emotion of the utterance and of each of its frames (P-TAPT stage 1, arXiv 2110.06309)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Optional

import torch
from fairseq.criterions import register_criterion
from torch import Tensor

from emofair.criterions.base import MetricFamily, counts_key
from emofair.criterions.emotion_classification import EmotionClassificationConfig, EmotionClassificationCriterion
from emofair.errors import EmofairError
from emofair.metrics import classification, frames


@dataclass
class FrameUtteranceEmotionConfig(EmotionClassificationConfig):
    """Options of the criterion."""

    utterance_weight: float = field(default=1.0, metadata={"help": "weight of the loss of the utterance"})
    frame_weight: float = field(default=1.0, metadata={"help": "weight of the mean loss of its frames"})


@register_criterion("frame_utterance_emotion", dataclass=FrameUtteranceEmotionConfig)
class FrameUtteranceEmotionCriterion(EmotionClassificationCriterion):
    """The weighted cross-entropy of an utterance, and the mean over its frames of theirs, with its label as target.

    Upstream takes the mean over all frames of a batch, which are equally many per clip there; taken clip by clip it
    does not depend on the batches. `frame_accuracy` is the share of valid frames that are right.
    """

    families: ClassVar[Mapping[str, MetricFamily]] = {"softmax": classification, "frames": frames}

    def __init__(self, cfg: FrameUtteranceEmotionConfig, task) -> None:
        super().__init__(cfg, task)
        self.weights = (cfg.utterance_weight, cfg.frame_weight)
        self.frames_key = counts_key("frames", ())
        self.counts_keys += (self.frames_key,)

    def losses(self, logits: Tensor, extra: Mapping[str, Tensor], weighted: Tensor) -> Tensor:
        """Loss of every item [N]."""
        if "frame_logits" not in extra:
            raise EmofairError(
                "--criterion frame_utterance_emotion, and the model does not judge frames",
                remedy="Use --arch wav2vec_frame_classifier, or --criterion emotion_classification",
            )
        utterance = super().losses(logits, extra, weighted)
        if len(extra["padding"]) != len(logits):  # windows of an item: frames have no label of their own
            return self.weights[0] * utterance
        log_probs = extra["frame_logits"].float().log_softmax(dim=-1)
        each = -torch.einsum("btk,bk->bt", log_probs, weighted).masked_fill(extra["padding"], 0)
        return self.weights[0] * utterance + self.weights[1] * each.sum(dim=1) / (~extra["padding"]).sum(dim=1)

    def more_counts(self, extra: Optional[Mapping[str, Tensor]], target: Tensor) -> dict[str, Tensor]:
        """Right frames and all valid ones."""
        if extra is None or len(extra["padding"]) != len(target):
            return {self.frames_key: target.new_zeros(2, dtype=torch.float64)}
        valid = ~extra["padding"]
        right = (extra["frame_logits"].argmax(dim=-1) == target[:, None]) & valid
        return {self.frames_key: torch.stack([right.sum(), valid.sum()]).double()}
