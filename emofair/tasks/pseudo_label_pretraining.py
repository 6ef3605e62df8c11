"""Masked prediction of cluster ids from the waveform: the second pre-training of P-TAPT (arXiv 2110.06309)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.tasks import register_task
from omegaconf import DictConfig

from emofair.checkpoints.fairseq_form import as_dict
from emofair.data.audio import SAMPLE_RATE
from emofair.data.base import EmofairDataset
from emofair.data.pseudo_label_dataset import PseudoLabelDataset, read_units
from emofair.data.speech_dataset import ORDERS
from emofair.errors import EmofairError
from emofair.modules.span_masks import MODES
from emofair.tasks.base import EmofairTaskConfig
from emofair.tasks.waveform import WaveformTask
from emofair.units.unit_labels import check_record, read_record


@dataclass
class PseudoLabelPretrainingConfig(EmofairTaskConfig):
    """Options of the task."""

    label_dir: Optional[str] = field(
        default=None, metadata={"help": "folder of {split}.km{K}, as emofair units writes them (default: the data's)"}
    )
    num_clusters: str = field(default="64,512,4096", metadata={"help": "granularities K, comma-separated"})
    label_rate: Optional[int] = field(
        default=None,
        metadata={"help": "ids per second, a multiple of the encoder's frames (default: what emofair units noted)"},
    )
    label_slack: int = field(
        default=0,
        metadata={"help": "a clip may have so many ids fewer than frames; 2 for labels made as upstream does"},
    )
    resample: bool = field(default=False, metadata={"help": "accept audio of other rates than 16 kHz"})
    max_seconds: float = field(default=10.0, metadata={"help": "crop longer clips, at a random place"})
    batch_order: ChoiceEnum(ORDERS) = field(
        default="bucket",
        metadata={"help": "batches of similar length, shuffled inside buckets of similar length, or of any length"},
    )
    num_buckets: int = field(default=50, metadata={"help": "buckets of --batch-order bucket"})
    mask_time_prob: float = field(default=0.65, metadata={"help": "share of frames masked, before overlaps"})
    mask_time_length: int = field(default=10, metadata={"help": "frames of a masked span"})
    mask_min_spans: int = field(default=2, metadata={"help": "spans per clip, at least"})
    mask_mode: ChoiceEnum(MODES) = field(
        default="per_row",
        metadata={"help": "spans placed inside each clip, or as transformers does, over the padded length"},
    )


@register_task("pseudo_label_pretraining", dataclass=PseudoLabelPretrainingConfig)
class PseudoLabelPretrainingTask(WaveformTask):
    """Waveforms with masked frames → the cluster ids of these."""

    path_fields = ("data", "label_dir")
    models = ("wav2vec2_pseudo_label",)
    criterions = ("pseudo_label",)
    uses_labels = False

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        try:
            self.n_clusters = [int(n) for n in cfg.num_clusters.split(",")]
        except ValueError:
            self.n_clusters = []
        if not self.n_clusters or min(self.n_clusters) < 2 or len(set(self.n_clusters)) < len(self.n_clusters):
            raise EmofairError(
                f"--num-clusters {cfg.num_clusters} is no list of different numbers from 2 on",
                remedy="Give for example 64,512,4096",
            )
        if cfg.mask_time_prob <= 0 or cfg.mask_time_length < 1:
            raise EmofairError("nothing is masked, so nothing is predicted", remedy="Raise --mask-time-prob")
        self.spec = None

    def earlier_stages(self, model_cfg: DictConfig) -> dict[str, Mapping[str, Any]]:
        """Those of every waveform task, and what made the labels."""
        records = {path: read_record(path) for path in self._label_files(self.subsets.train)}
        seen = {f"{path}.json": as_dict(record.get("trained_on")) for path, record in records.items()}
        return {**super().earlier_stages(model_cfg), **{path: facts for path, facts in seen.items() if facts}}

    def _label_files(self, split: str) -> list[Path]:
        return [Path(self.cfg.label_dir or self.cfg.data) / f"{split}.km{n}" for n in self.n_clusters]

    def build_model(self, cfg: DictConfig, from_checkpoint: bool = False):
        """Build the model, and learn from its encoder how audio becomes frames."""
        model = super().build_model(cfg, from_checkpoint)
        self.spec, self.frames_of = model.spec, model.encoder.n_frames
        return model

    def build_dataset(self, split: str, **kwargs) -> EmofairDataset:
        """Read the list of a split and the cluster ids of its frames."""
        cfg = self.cfg
        items = self.items(split)
        units = []
        for path, n in zip(self._label_files(split), self.n_clusters, strict=True):
            record = read_record(path)
            check_record(record, items, path)
            units.append([ids[:: self._ids_per_frame(record, path)] for ids in read_units(path, len(items), n)])
        return PseudoLabelDataset(
            items,
            split,
            units,
            self.frames_of,
            mask_prob=cfg.mask_time_prob,
            mask_length=cfg.mask_time_length,
            min_spans=cfg.mask_min_spans,
            mask_mode=str(cfg.mask_mode),
            slack=cfg.label_slack,
            normalize=self.spec.normalize,
            resample=self.resamples,
            max_samples=round(cfg.max_seconds * SAMPLE_RATE),
            crop_hop=self.spec.hop,
            order=str(cfg.batch_order),
            n_buckets=cfg.num_buckets,
            seed=cfg.seed,
            training=self.is_trained_on(split),
        )

    def _ids_per_frame(self, record: Mapping[str, Any], path: Path) -> int:
        """Of so many ids of a frame the first one counts: that of MFCCs, at 100 Hz, has the same centre."""
        frames = SAMPLE_RATE // self.spec.hop
        rate = self.cfg.label_rate or as_dict(record.get("features")).get("frame_rate") or frames
        if rate % frames:
            raise EmofairError(
                f"{rate:g} ids per second are no multiple of the encoder's {frames} frames",
                file=path,
                remedy="Cluster features of the same frame rate",
            )
        return int(rate // frames)

    def facts(self) -> dict[str, object]:
        """The facts of every task, and the granularities."""
        return {**super().facts(), "target": "units", "n_clusters": self.n_clusters}
