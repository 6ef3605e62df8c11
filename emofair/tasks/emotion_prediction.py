"""Emotion or sentiment from speech tokens and text tokens (robertaEMO, arXiv 2008.06682)."""

import logging
from dataclasses import dataclass, field
from typing import Optional

from fairseq.tasks import register_task

from emofair.data import t_data
from emofair.data.base import EmofairDataset
from emofair.data.labels import TargetMode, resolve_target_mode
from emofair.data.token_cache import TokenCache
from emofair.data.token_dataset import SpeechTextTokenDataset
from emofair.errors import EmofairError
from emofair.tasks.base import EmofairTask, EmofairTaskConfig

logger = logging.getLogger(__name__)

NO_EFFECT = "accepted for the original's commands; no effect"
SEMISUP = "Use --task emotion_semisup_prediction with --criterion emotion_prediction_semisup_cri"


@dataclass
class EmotionPredictionConfig(EmofairTaskConfig):
    """Options of the task."""

    data_raw: Optional[str] = field(
        default=None, metadata={"help": "root of the token files: DIR/<split>/{audio_token,text}/<id>.txt"}
    )
    num_classes: int = field(
        default=-1, metadata={"help": "outputs of the head; inferred from the target when left out"}
    )
    binary_target_iemocap: bool = field(
        default=False, metadata={"help": "neutral, sad, angry, happy: present or not, each on its own (8 outputs)"}
    )
    softmax_target_iemocap: bool = field(
        default=False, metadata={"help": "one of neutral, sad, angry, happy (4 outputs)"}
    )
    softmax_target_meld: bool = field(default=False, metadata={"help": "one of MELD's 7 emotions (7 outputs)"})
    softmax_target_binary_meld: bool = field(
        default=False, metadata={"help": "MELD's 7 emotions: present or not, each on its own (14 outputs)"}
    )
    regression_target_mos: bool = field(
        default=False, metadata={"help": "sentiment score of CMU-MOSI and MOSEI, L1 loss (1 output)"}
    )
    regression_target: bool = field(default=False, metadata={"help": "any number, squared error (1 output)"})
    emotions: Optional[str] = field(
        default=None, metadata={"help": "comma-separated class list that replaces the one of a softmax target"}
    )
    eval_metric: bool = field(
        default=False, metadata={"help": "print the full table per class at the end of a validation"}
    )
    save_predictions: Optional[str] = field(
        default=None, metadata={"help": "write the predictions of each validation to this file, by utterance id"}
    )
    max_text_tokens: int = field(default=512, metadata={"help": "cut longer texts to this many tokens"})
    max_audio_tokens: int = field(default=2048, metadata={"help": "cut longer speech to this many tokens"})
    max_sample_size: Optional[int] = field(
        default=None, metadata={"help": "cap on the size that counts for batching (speech tokens); nothing is cut"}
    )
    strict_manifest: bool = field(
        default=False,
        metadata={"help": "refuse lists that are not aligned or hold unusable items, instead of joining by id"},
    )
    init_token: Optional[int] = field(
        default=None, metadata={"help": "id that every token file must start with; checked"}
    )
    separator_token: Optional[int] = field(
        default=None, metadata={"help": "id that every token file must end with; checked"}
    )
    token_cache: Optional[str] = field(
        default=None, metadata={"help": "folder for the packed token files (default: beside them)"}
    )
    sample_rate: int = field(default=16000, metadata={"help": NO_EFFECT})
    min_sample_size: Optional[int] = field(default=None, metadata={"help": NO_EFFECT})
    no_shuffle: bool = field(default=False, metadata={"help": "batch items of equal length in list order"})
    truncate_sequence: bool = field(default=False, metadata={"help": "accepted: cutting long items is always on"})
    save_pred: bool = field(default=False, metadata={"help": NO_EFFECT})


@register_task("emotion_prediction", dataclass=EmotionPredictionConfig)
class EmotionPredictionTask(EmofairTask):
    """Speech and/or text tokens → emotion classes or a sentiment score."""

    path_fields = ("data", "data_raw", "save_predictions", "token_cache")
    models = ("robertaEMO", "semiemo")
    criterions = ("emotion_prediction_cri", "emotion_prediction_semisup_cri")
    takes_unlabelled = False

    def __init__(self, cfg) -> None:
        super().__init__(cfg)
        self.mode = resolve_target_mode(cfg)
        self.modalities: tuple[str, ...] = ("text", "speech")
        self.vocabulary: dict[str, Optional[int]] = {"text": None, "speech": None}
        self.max_tokens = {"text": cfg.max_text_tokens, "speech": cfg.max_audio_tokens}

    @classmethod
    def _check_data_folder(cls, cfg) -> None:
        super()._check_data_folder(cfg)
        if not cfg.data_raw:
            raise EmofairError(
                "no folder of token files is given", remedy="Add --data-raw DIR (made by `emofair tokenize`)"
            )
        t_data.check_token_folder(cfg.data_raw)

    def members(self, split: str) -> Optional[set[str]]:
        """Ids in the lists of a split."""
        return t_data.members(self.cfg.data, split)

    def build_model(self, cfg, from_checkpoint: bool = False):
        """Build the model with an output layer for this target, and learn from it what the data must look like."""
        method = getattr(cfg, "semisup", "none")
        if method != "none" and not from_checkpoint and not self.takes_unlabelled:
            raise EmofairError(f"--semisup {method} does nothing with --task {self.cfg._name}", remedy=SEMISUP)
        model = super().build_model(cfg, from_checkpoint)
        model.register_classification_head(model.cfg.classification_head_name, self.mode.num_outputs)
        self.modalities = model.modalities
        for name in self.modalities:
            spec = model.encoder(name).spec
            self.vocabulary[name] = spec.vocab_size
            self.max_tokens[name] = min(self.max_tokens[name], spec.max_positions)
        return model

    def build_dataset(self, split: str, **kwargs) -> EmofairDataset:
        """Join the lists of a split by id and open its token files."""
        return self._token_dataset(split, self.mode)

    def _token_dataset(self, split: str, mode: Optional[TargetMode]) -> SpeechTextTokenDataset:
        cfg = self.cfg
        items = t_data.read_items(cfg.data, split, mode, strict=cfg.strict_manifest, modalities=self.modalities)
        caches = {
            name: TokenCache.open(cfg.data_raw, split, kind, items.ids, cache_dir=cfg.token_cache)
            for name, kind in (("speech", "audio_token"), ("text", "text"))
            if name in self.modalities
        }
        return SpeechTextTokenDataset(
            items,
            mode,
            audio=caches.get("speech"),
            text=caches.get("text"),
            max_audio_tokens=self.max_tokens["speech"],
            max_text_tokens=self.max_tokens["text"],
            audio_vocab=self.vocabulary["speech"],
            text_vocab=self.vocabulary["text"],
            max_sample_size=cfg.max_sample_size,
            init_token=cfg.init_token,
            separator_token=cfg.separator_token,
            seed=cfg.seed,
            training=self.is_trained_on(split) and not cfg.no_shuffle,
        )

    def facts(self) -> dict[str, object]:
        """The facts of every task, and the target with the names of its classes."""
        return {**super().facts(), "target": self.mode.name, "classes": list(self.mode.classes)}
