"""robertaEMO's task with unlabelled utterances beside the labelled ones (for the model ``semiemo``)."""

from dataclasses import dataclass

from fairseq.tasks import register_task

from emofair.criterions.emotion_semisup import EmotionSemisupCriterion
from emofair.data.base import EmofairDataset
from emofair.data.semisup_dataset import SemisupDataset
from emofair.errors import EmofairError
from emofair.protocol import TEST
from emofair.tasks.emotion_prediction import SEMISUP, EmotionPredictionConfig, EmotionPredictionTask

UNLABELLED = "unsup"


@dataclass
class EmotionSemisupPredictionConfig(EmotionPredictionConfig):
    """The options of ``emotion_prediction``; what unlabelled data is used for is the model's ``--semisup``."""


@register_task("emotion_semisup_prediction", dataclass=EmotionSemisupPredictionConfig)
class EmotionSemisupPredictionTask(EmotionPredictionTask):
    """Emotion classes or a sentiment score, learned from labelled and unlabelled utterances.

    Unlabelled ones are listed in ``unsup_{a,t,size}.tsv``, with their token files in ``<data-raw>/unsup/``.
    """

    takes_unlabelled = True
    uses_unlabelled = False

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model, and learn from it whether unlabelled data is needed."""
        method = getattr(cfg, "semisup", "none")
        self.uses_unlabelled = self.trains and method != "none"
        if self.uses_unlabelled:
            if method == "mixmatch" and self.mode.is_regression:
                raise EmofairError("--semisup mixmatch needs classes, not a score", remedy="Use --semisup uda")
            self._check_overlap((UNLABELLED, split) for split in dict.fromkeys([*self.subsets.valid, TEST]))
        return super().build_model(cfg, from_checkpoint)

    def build_criterion(self, cfg, from_checkpoint: bool = False):
        """Build the criterion, which must have a loss for unlabelled data where that is used."""
        criterion = super().build_criterion(cfg, from_checkpoint)
        if self.uses_unlabelled and not isinstance(criterion, EmotionSemisupCriterion):
            raise EmofairError(f"--criterion {cfg._name} has no loss for unlabelled utterances", remedy=SEMISUP)
        return criterion

    def build_dataset(self, split: str, **kwargs) -> EmofairDataset:
        """The split's utterances; in training with unlabelled companions."""
        labelled = super().build_dataset(split, **kwargs)
        if not self.uses_unlabelled or not self.is_trained_on(split):
            return labelled
        return SemisupDataset(labelled, self._token_dataset(UNLABELLED, mode=None))
