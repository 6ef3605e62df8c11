"""wav2vec 2.0 that predicts cluster ids of masked frames, at several granularities at once (P-TAPT stage 3).

Chen and Rudnicky, "Exploring wav2vec 2.0 fine-tuning for improved speech emotion recognition", ICASSP 2023,
arXiv 2110.06309.
"""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.models import BaseFairseqModel, register_model
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from emofair.encoders.pretrained import SPEECH
from emofair.encoders.speech import LAST_LAYER
from emofair.encoders.speech_spec import SpeechSpec
from emofair.models.options import SpeechEncoderConfig


@dataclass
class Wav2Vec2PseudoLabelConfig(SpeechEncoderConfig):
    """Options of the model."""

    head_hidden: int = field(default=256, metadata={"help": "width of the hidden layer of each head"})


@register_model("wav2vec2_pseudo_label", dataclass=Wav2Vec2PseudoLabelConfig)
class Wav2Vec2PseudoLabel(BaseFairseqModel):
    """Waveforms → logits of cluster ids at masked frames, one head per granularity."""

    def __init__(self, cfg: DictConfig, n_clusters: list[int]) -> None:
        super().__init__()
        self.cfg = cfg
        self.encoder = SPEECH.build(cfg, checkpoint_activations=cfg.checkpoint_activations)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(self.spec.embed_dim, cfg.head_hidden), nn.Tanh(), nn.Linear(cfg.head_hidden, n))
            for n in n_clusters
        )
        self.encoder.freeze_input(convolutions=not cfg.train_cnn, projection=not cfg.train_projection)
        self.encoder.mask_emb.requires_grad_(not cfg.freeze_mask_emb)

    @classmethod
    def prepare_config(cls, cfg: DictConfig) -> DictConfig:
        """Complete ``cfg`` in place so that it describes the whole model without any file beside it."""
        SPEECH.describe(cfg)
        return cfg

    @classmethod
    def build_model(cls, cfg: DictConfig, task=None) -> "Wav2Vec2PseudoLabel":
        """Build the model from ``cfg``; the encoder stays unfilled until `load_pretrained` or a checkpoint."""
        cls.prepare_config(cfg)
        return cls(cfg, task.n_clusters)

    def load_pretrained(self) -> None:
        """Copy the pretrained weights into the encoder."""
        SPEECH.fill(self.encoder, self.cfg)

    @property
    def spec(self) -> SpeechSpec:
        """Shape of the encoder."""
        return self.encoder.spec

    def forward(
        self, wav: Tensor, n_samples: Optional[Tensor], masked: Tensor, index: Tensor, **unused
    ) -> list[Tensor]:
        """Waveforms [B, L]; ``masked`` Bool [B, T]; ``index`` Long [M] into [B * T] → logits [M, K] per granularity."""

        def mask(x: Tensor, padding: Optional[Tensor]) -> Tensor:
            return x.where(~masked[..., None], self.encoder.mask_emb.to(x.dtype))

        encoded = self.encoder(wav, n_samples, mask=mask)
        frames = F.relu(encoded.hidden[LAST_LAYER].flatten(0, 1)[index])
        return [head(frames) for head in self.heads]

    def max_positions(self) -> None:
        """No limit: clips are cropped by the data set, never filtered."""
        return
