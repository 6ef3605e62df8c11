"""Emotion of an utterance from its waveform: the fine-tuning of V-FT, TAPT, P-TAPT and FLEA, with any encoder."""

import logging
import math
from dataclasses import dataclass, field
from typing import Optional

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.tasks import register_task
from omegaconf import DictConfig

from emofair.data import manifests
from emofair.data.audio import SAMPLE_RATE
from emofair.data.base import EmofairDataset
from emofair.data.emotion_dataset import (
    BALANCES,
    CLASS_WEIGHTS,
    LABEL_MODES,
    SpeechEmotionDataset,
    class_list,
    inverse_frequency,
    label_distributions,
)
from emofair.data.labels import TargetMode
from emofair.data.speech_dataset import CROPS, ORDERS
from emofair.errors import EmofairError
from emofair.inference.listening import check_window, judged
from emofair.tasks.base import EmofairTaskConfig
from emofair.tasks.waveform import WaveformTask, write_option
from emofair.units.feature_store import Features
from emofair.units.frontend_cache import DTYPES, open_frontend_cache

logger = logging.getLogger(__name__)


@dataclass
class SpeechEmotionConfig(EmofairTaskConfig):
    """Options of the task."""

    class_list: Optional[str] = field(
        default=None, metadata={"help": "comma-separated class names by index (default: labels.txt of the corpus)"}
    )
    normalize: Optional[bool] = field(
        default=None,
        metadata={"help": "bring every clip to zero mean and unit variance (default: as the encoder was trained)"},
    )
    resample: bool = field(default=False, metadata={"help": "accept audio of other rates than 16 kHz"})
    max_seconds: float = field(default=10.0, metadata={"help": "crop longer clips in training"})
    crop: ChoiceEnum(CROPS) = field(
        default="random",
        metadata={"help": "part of a long clip to train on; min: crop every batch to its shortest clip"},
    )
    min_crop_seconds: float = field(default=3.0, metadata={"help": "--crop min crops no clip below this"})
    eval_max_seconds: Optional[float] = field(
        default=None, metadata={"help": "score the first so many seconds of a clip alone (default: all of it)"}
    )
    eval_window_seconds: Optional[float] = field(
        default=None, metadata={"help": "score longer clips in overlapping windows of this length (default: whole)"}
    )
    eval_hop_seconds: Optional[float] = field(
        default=None, metadata={"help": "step from window to window (default: half a window)"}
    )
    batch_order: ChoiceEnum(ORDERS) = field(
        default="length",
        metadata={"help": "batches of similar length, shuffled inside buckets of similar length, or of any length"},
    )
    num_buckets: int = field(default=50, metadata={"help": "buckets of --batch-order bucket"})
    drop_last: bool = field(default=False, metadata={"help": "leave out the incomplete last batch in training"})
    label_mode: ChoiceEnum(LABEL_MODES) = field(
        default="hard",
        metadata={"help": "one class; a class drawn from the annotators' votes; or the votes as a distribution"},
    )
    class_weights: ChoiceEnum(CLASS_WEIGHTS) = field(
        default="inv_freq", metadata={"help": "weight of a class in the loss: by rarity in the training split, or none"}
    )
    balance: ChoiceEnum(BALANCES) = field(
        default="none",
        metadata={"help": "resample: draw the items of an epoch with replacement, all classes equally likely"},
    )
    class_weight_values: Optional[str] = field(
        default=None, metadata={"help": "the weights themselves; written by training, not by hand"}
    )
    frontend_cache: Optional[str] = field(
        default=None,
        metadata={
            "help": "folder for what the frozen convolutions make of every whole clip: filled before the first epoch, "
            "then read instead of audio while training. Crops start at multiples of 20 ms; with group norm (base "
            "models) they keep the statistics of the whole clip. Size: 0.2 GB per hour of audio"
        },
    )
    frontend_cache_dtype: ChoiceEnum(DTYPES) = field(
        default="float16", metadata={"help": "numbers stored in it; float32 takes twice the space"}
    )
    eval_metric: bool = field(
        default=False, metadata={"help": "print the full table per class at the end of a validation"}
    )
    save_predictions: Optional[str] = field(
        default=None, metadata={"help": "write the predictions of each validation to this file, by utterance id"}
    )


@register_task("speech_emotion", dataclass=SpeechEmotionConfig)
class SpeechEmotionTask(WaveformTask):
    """Waveforms → one of k emotions."""

    path_fields = ("data", "save_predictions", "frontend_cache")
    models = ("speech_emotion_classifier", "wav2vec_frame_classifier")
    criterions = ("emotion_classification", "frame_utterance_emotion")
    _crop_hop = 1

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        self._check_lengths()
        self.classes = class_list(cfg.data, cfg.class_list)
        write_option(cfg, class_list=",".join(self.classes))
        self.mode = TargetMode(
            "emotion", "softmax", self.classes, len(self.classes), {name: i for i, name in enumerate(self.classes)}
        )
        self.normalize = bool(cfg.normalize)

    def _check_lengths(self) -> None:
        cfg = self.cfg
        for name in ("max_seconds", "eval_max_seconds", "eval_hop_seconds"):
            if cfg[name] is not None and not 0 < cfg[name] < math.inf:
                option = f"--{name.replace('_', '-')}"
                raise EmofairError(f"{option} {cfg[name]} is no length", remedy="Give seconds above 0")
        if not 0 <= cfg.min_crop_seconds < math.inf:
            raise EmofairError(f"--min-crop-seconds {cfg.min_crop_seconds} is no length", remedy="Give seconds, or 0")
        if cfg.num_buckets < 1:
            raise EmofairError(f"--num-buckets {cfg.num_buckets} leaves nothing to shuffle", remedy="Give 1 or more")

    def class_weights(self) -> torch.Tensor:
        """Weight of each class in the loss [K]; computed once, from the training split, and stored from then on."""
        if self.cfg.class_weight_values is None:
            values = [1.0] * len(self.classes)
            if self.cfg.class_weights == "inv_freq":
                split = self.subsets.train
                values = inverse_frequency(self._distributions(self.items(split), split))
                if absent := [name for name, value in zip(self.classes, values, strict=True) if not value]:
                    logger.warning("split %s: no items of class %s; it cannot be learned", split, ", ".join(absent))
            write_option(self.cfg, class_weight_values=",".join(map(repr, values)))
        values = [float(value) for value in self.cfg.class_weight_values.split(",")]
        if len(values) != len(self.classes):
            raise EmofairError(f"{len(values)} class weights for {len(self.classes)} classes")
        return torch.tensor(values)

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False):
        """Build the model, and learn from its encoder how clips are to be normalised."""
        model = super().build_model(cfg, from_checkpoint)
        if self.cfg.normalize is not None and bool(self.cfg.normalize) != model.spec.normalize:
            raise EmofairError(
                f"--normalize is {bool(self.cfg.normalize)}, and the encoder was trained with {model.spec.normalize}",
                remedy="Leave --normalize out: it follows from the encoder",
            )
        check_window(model.spec, self.cfg.eval_window_seconds)
        self.normalize = model.spec.normalize
        if self.caches:
            self._check_cache(model, cfg._name)
            self._model, self._crop_hop = model, model.spec.hop
        return model

    @property
    def caches(self) -> bool:
        """Whether this run reads frames of the frozen convolutions; a finished model is scored from audio."""
        return self.trains and self.cfg.frontend_cache is not None

    def _check_cache(self, model, arch: str) -> None:
        wrong = None
        if not hasattr(model, "front_end_is_frozen"):
            wrong = f"--arch {arch}"
        elif not model.front_end_is_frozen:
            wrong = "--train-cnn, which changes them"
        elif self.cfg.eval_window_seconds is not None or self.cfg.eval_max_seconds is not None:
            wrong = "--eval-window-seconds and --eval-max-seconds: a part would have the statistics of its whole clip"
        if wrong is not None:
            raise EmofairError(
                f"--frontend-cache keeps what frozen convolutions make of whole clips, and does not go with {wrong}",
                remedy="Leave one of them out",
            )

    def get_batch_iterator(self, dataset, *args, **options):
        """See `EmofairTask.get_batch_iterator`; the front-end caches are filled before anything is read.

        Not earlier: a training that goes on has its weights only now.
        """
        if self.caches:
            for split, each in self.datasets.items():
                if each.frames is None:
                    each.read_from(self._frames(each, split))
        return super().get_batch_iterator(dataset, *args, **options)

    def _frames(self, dataset: SpeechEmotionDataset, split: str) -> Features:
        return open_frontend_cache(
            self.cfg.frontend_cache,
            self._model.encoder,
            dataset.items,
            split,
            dtype=str(self.cfg.frontend_cache_dtype),
            autocast_bf16=self.cfg.autocast_bf16,
            resample=self.resamples,
        )

    def _distributions(self, items: list[manifests.Utterance], split: str):
        # What is validated or tested is scored by its label, whatever training makes of the votes.
        mode = str(self.cfg.label_mode) if self.is_trained_on(split) else "hard"
        return label_distributions(items, self.classes, split, self.cfg.data, mode)

    def build_dataset(self, split: str, **kwargs) -> EmofairDataset:
        """Read the list of a split and its labels."""
        cfg, items = self.cfg, self.items(split)
        labelled = any(item.label is not None or item.votes for item in items)
        trains = self.is_trained_on(split)

        limit, window, hop = judged(cfg)
        return SpeechEmotionDataset(
            items,
            split,
            self._distributions(items, split) if labelled or trains else None,
            str(cfg.label_mode),
            str(cfg.balance),
            normalize=self.normalize,
            resample=self.resamples,
            max_samples=round(cfg.max_seconds * SAMPLE_RATE),
            crop=str(cfg.crop),
            min_samples=round(cfg.min_crop_seconds * SAMPLE_RATE),
            crop_hop=self._crop_hop,
            eval_samples=limit,
            window=window,
            hop=hop,
            order=str(cfg.batch_order),
            n_buckets=cfg.num_buckets,
            drop_last=cfg.drop_last,
            seed=cfg.seed,
            training=trains,
        )

    def facts(self) -> dict[str, object]:
        """The facts of every task, and the target with the names of its classes."""
        return {**super().facts(), "target": self.mode.name, "classes": list(self.classes)}
