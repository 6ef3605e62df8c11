"""wav2vec (2019) as a classifier of the emotion of every frame: the first stage of P-TAPT.

Chen and Rudnicky, "Exploring wav2vec 2.0 fine-tuning for improved speech emotion recognition", ICASSP 2023,
arXiv 2110.06309. Its frames, clustered, are what the third stage predicts.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Optional

import torch
from fairseq.models import BaseFairseqModel, register_model, register_model_architecture
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn
from torch.nn import functional as F

from emofair.encoders.pretrained import WAV2VEC
from emofair.encoders.wav2vec_spec import Wav2VecSpec
from emofair.models.options import SpanMaskConfig
from emofair.modules.pooling import mean_by_item, mean_over_time
from emofair.modules.span_masks import channel_mask, time_mask

KERNEL, STRIDE = 4, 2
# Samples of silence before and after a clip, with which frame t is centred where wav2vec 2.0's frame t is, and there
# are as many of them. Without, there are one or two fewer, 272 samples late.
ALIGN = (272, 273)


@dataclass
class Wav2VecFrameClassifierConfig(SpanMaskConfig):
    """Options of the model."""

    w2v_path: Optional[str] = field(default=None, metadata={"help": "pretrained wav2vec, as wav2vec_large.pt"})
    ssl_random: Optional[str] = field(
        default=None, metadata={"help": "a random encoder of a named size instead: tiny, large"}
    )
    frame_hidden: int = field(default=128, metadata={"help": "width of the hidden layer of both heads"})
    rnn_hidden: int = field(default=256, metadata={"help": "width of the LSTM over the utterance, per direction"})
    train_cnn: bool = field(default=False, metadata={"help": "train the feature convolutions too"})
    no_align_pad: bool = field(
        default=False,
        metadata={"help": "frames as published: 272 samples late, and one or two fewer than wav2vec 2.0's"},
    )
    encoder_ssl_json: Optional[str] = field(
        default=None, metadata={"help": "shape of the encoder; written by training, not by hand"}
    )


ARCHITECTURES = {"wav2vec_frame_classifier_tiny": "tiny"}


class Frames(NamedTuple):
    """Frame features [B, T, C] at 50 Hz and their padding [B, T] (true = padding)."""

    features: Tensor
    padding: Tensor


@register_model("wav2vec_frame_classifier", dataclass=Wav2VecFrameClassifierConfig)
class Wav2VecFrameClassifier(BaseFairseqModel):
    """Waveforms → logits of emotion classes, of the utterance and of every frame."""

    def __init__(self, cfg: DictConfig, n_classes: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.encoder = WAV2VEC.build(cfg)
        width = self.spec.context_dim
        self.downsample = nn.Conv1d(width, width, KERNEL, STRIDE)
        self.frame_head = _head(width, cfg.frame_hidden, n_classes)
        self.forwards = nn.LSTM(width, cfg.rnn_hidden, batch_first=True)
        self.backwards = nn.LSTM(width, cfg.rnn_hidden, batch_first=True)
        self.utterance_head = _head(2 * cfg.rnn_hidden, cfg.frame_hidden, n_classes)
        self.encoder.feature_extractor.requires_grad_(cfg.train_cnn)
        if self.encoder.vector_quantizer is not None:
            self.encoder.vector_quantizer.requires_grad_(False)

    @classmethod
    def prepare_config(cls, cfg: DictConfig) -> DictConfig:
        """Complete ``cfg`` in place so that it describes the whole model without any file beside it."""
        if cfg.w2v_path is None and cfg.ssl_random is None:
            with open_dict(cfg):
                cfg.ssl_random = ARCHITECTURES.get(cfg.get("_name"))
        WAV2VEC.describe(cfg)
        return cfg

    @classmethod
    def build_model(cls, cfg: DictConfig, task=None) -> "Wav2VecFrameClassifier":
        """Build the model from ``cfg``; the encoder stays unfilled until `load_pretrained` or a checkpoint."""
        cls.prepare_config(cfg)
        return cls(cfg, len(task.classes))

    def load_pretrained(self) -> None:
        """Copy the pretrained weights into the encoder."""
        WAV2VEC.fill(self.encoder, self.cfg)

    @property
    def spec(self) -> Wav2VecSpec:
        """Shape of the encoder."""
        return self.encoder.spec

    def n_frames(self, n_samples: int | Tensor) -> int | Tensor:
        """Frames of clips with so many samples, at least 1; for clips of 400 samples or more those of wav2vec 2.0."""
        n = self.encoder.n_frames(n_samples + (0 if self.cfg.no_align_pad else sum(ALIGN)))
        n = (n - KERNEL) // STRIDE + 1
        return n.clamp(min=1) if isinstance(n, Tensor) else max(n, 1)

    def frames(self, wav: Tensor, n_samples: Optional[Tensor] = None) -> Frames:
        """Waveforms [B, L] that end at ``n_samples`` [B] → the features that are classified, and clustered later."""
        if n_samples is None:
            n_samples = torch.full((len(wav),), wav.size(1), device=wav.device)
        lengths = self.n_frames(n_samples)
        if not self.cfg.no_align_pad:
            wav, n_samples = F.pad(wav, ALIGN), n_samples + sum(ALIGN)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.cfg.train_cnn):
            z = self.encoder.features(wav, n_samples)
        n_z = self.encoder.n_frames(n_samples)
        if self.training:
            z = self._mask(z, n_z)
        c = self.encoder.context(z, n_z)
        # Beyond a clip's end there is nothing, and a clip of few frames is filled up.
        c = c.masked_fill((torch.arange(c.size(1), device=c.device) >= n_z[:, None])[..., None], 0)
        c = F.pad(c.transpose(1, 2), (0, max(0, KERNEL - c.size(1))))
        features = F.relu(self.downsample(c)).transpose(1, 2)
        return Frames(features, torch.arange(features.size(1), device=wav.device) >= lengths[:, None])

    def _mask(self, z: Tensor, lengths: Tensor) -> Tensor:
        masked = time_mask(lengths, z.size(1), self.cfg)[..., None] | channel_mask(z, self.cfg)[:, None]
        return z.masked_fill(masked, 0)

    def forward(
        self,
        wav: Tensor,
        n_samples: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        n_items: Optional[int] = None,
        **unused,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Waveforms [B, L] that end at ``n_samples`` [B] → logits [B, K], and those of frames [B, T, K] with padding.

        Where ``item`` [B] says of which of ``n_items`` items a row is a window, the mean of their logits: [n_items, K].
        """
        features, padding = self.frames(wav, n_samples)
        # A reversed clip begins with its last valid frame, wherever the padding of the batch ends.
        lengths = (~padding).sum(dim=1, keepdim=True)
        turned = (lengths - 1 - torch.arange(padding.size(1), device=padding.device)).clamp(min=0)
        reverse = features.gather(1, turned[..., None].expand_as(features))
        both = torch.cat([self.forwards(features)[0], self.backwards(reverse)[0]], dim=-1)
        logits = self.utterance_head(F.relu(mean_over_time(both, padding)))
        if item is not None:
            logits = mean_by_item(logits, item, n_items)
        return logits, {"frame_logits": self.frame_head(features), "padding": padding}

    def facts(self) -> dict[str, object]:
        """What distinguishes this model in a table of results."""
        return {"encoder": "wav2vec, " + ("random" if self.cfg.ssl_random is not None else "pretrained")}

    def max_positions(self) -> None:
        """No limit: clips are cropped by the data set, never filtered."""
        return


def _head(width: int, hidden: int, n_classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, n_classes))


def _leave_to_prepare_config(cfg) -> None:
    """fairseq calls this from flags only; `prepare_config` serves flags, hydra and checkpoints alike."""


for _name in ARCHITECTURES:
    register_model_architecture("wav2vec_frame_classifier", _name)(_leave_to_prepare_config)
