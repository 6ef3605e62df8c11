"""robertaEMO's task with unlabelled utterances beside the labelled ones (for the model ``semiemo``)."""

from dataclasses import dataclass

from fairseq.tasks import register_task

from emofair.data.base import EmofairDataset
from emofair.data.semisup_dataset import SemisupDataset
from emofair.errors import EmofairError
from emofair.tasks.emotion_prediction import EmotionPredictionConfig, EmotionPredictionTask

UNLABELLED = "unsup"


@dataclass
class EmotionSemisupPredictionConfig(EmotionPredictionConfig):
    """The options of ``emotion_prediction``; what unlabelled data is used for is the model's ``--semisup``."""


@register_task("emotion_semisup_prediction", dataclass=EmotionSemisupPredictionConfig)
class EmotionSemisupPredictionTask(EmotionPredictionTask):
    """Emotion classes or a sentiment score, learned from labelled and unlabelled utterances.

    Unlabelled ones are listed in ``unsup_{a,t,size}.tsv``, with their token files in ``<data-raw>/unsup/``.
    """

    uses_unlabelled = False

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model, and learn from it whether unlabelled data is needed."""
        model = super().build_model(cfg, from_checkpoint)
        self.uses_unlabelled = getattr(model, "semisup", "none") != "none"
        if self.uses_unlabelled and model.semisup == "mixmatch" and self.mode.is_regression:
            raise EmofairError("--semisup mixmatch needs classes, not a score", remedy="Use --semisup uda")
        return model

    def build_dataset(self, split: str, **kwargs) -> EmofairDataset:
        """The split's utterances; in training with unlabelled companions."""
        labelled = super().build_dataset(split, **kwargs)
        if split != "train" or not self.uses_unlabelled:
            return labelled
        return SemisupDataset(labelled, self._token_dataset(UNLABELLED, mode=None))
