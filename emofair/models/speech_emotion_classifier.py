"""Waveform → emotion: a pretrained speech encoder, pooling over time, one linear layer.

The last stage of V-FT, TAPT and P-TAPT (Chen and Rudnicky, "Exploring wav2vec 2.0 fine-tuning for improved speech
emotion recognition", ICASSP 2023, arXiv 2110.06309) and of FLEA (arXiv 2312.16383), with any encoder.
"""

import logging
from dataclasses import dataclass, field
from typing import Optional

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.models import BaseFairseqModel, register_model, register_model_architecture
from omegaconf import DictConfig, open_dict
from torch import Tensor, nn
from torch.nn import functional as F

from emofair.encoders.pretrained import SPEECH
from emofair.encoders.speech import LAST_LAYER, Encoded
from emofair.encoders.speech_spec import SpeechSpec
from emofair.errors import EmofairError
from emofair.models.options import SpanMaskConfig, SpeechEncoderConfig
from emofair.modules.dropout import Dropout
from emofair.modules.pooling import ATTENTION_INITS, ATTENTION_SCORES, POOLINGS, make_pooling, mean_by_item
from emofair.modules.ranges import check_dropout
from emofair.modules.span_masks import channel_mask, time_mask

logger = logging.getLogger(__name__)

WEIGHTED = "weighted"


@dataclass
class SpeechEmotionClassifierConfig(SpanMaskConfig, SpeechEncoderConfig):
    """Options of the model; those left unset take the architecture's value."""

    pooling: Optional[str] = field(
        default=None, metadata={"help": f"frames to one vector: {', '.join(POOLINGS)} (default: mean)"}
    )
    attention_score: ChoiceEnum(ATTENTION_SCORES) = field(
        default="tanh", metadata={"help": "score of a frame in attention pooling"}
    )
    attention_init: ChoiceEnum(ATTENTION_INITS) = field(
        default="uniform", metadata={"help": "how its weights start; zero starts as the mean"}
    )
    layer: str = field(
        default="-1",
        metadata={"help": "layer to pool, 1 to the number of layers, -1 the last; or 'weighted': a learned mixture"},
    )
    relu_features: Optional[bool] = field(
        default=None, metadata={"help": "ReLU on the frames before pooling, as in V-FT, TAPT and P-TAPT"}
    )
    frame_dropout: Optional[float] = field(
        default=None, metadata={"help": "dropout of the frames in front of pooling (default: 0; with FLEA's 0.1)"}
    )
    head_hidden: int = field(default=0, metadata={"help": "width of a hidden layer before the output layer, 0: none"})
    head_dropout: Optional[float] = field(
        default=None, metadata={"help": "dropout in front of the output layer (default: 0)"}
    )
    freeze_layers: int = field(default=0, metadata={"help": "keep the lowest N Transformer layers as they are"})
    freeze_encoder: bool = field(default=False, metadata={"help": "train what is on top of the encoder alone"})
    freeze_updates: int = field(default=0, metadata={"help": "train what is on top alone for this many updates"})


ARCHITECTURES: dict[str, dict[str, object]] = {
    "speech_emotion_classifier": {},
    "wav2vec2_ser": {"pooling": "mean", "relu_features": True},
    "hubert_ser": {"pooling": "attention", "frame_dropout": 0.1},
    "wavlm_ser": {"pooling": "attention", "frame_dropout": 0.1},
    "speech_emotion_tiny": {"ssl_random": "tiny"},
}
KINDS = {"hubert_ser": "hubert", "wavlm_ser": "wavlm"}
DEFAULTS: dict[str, object] = {"pooling": "mean", "relu_features": False, "frame_dropout": 0.0, "head_dropout": 0.0}


def resolve_architecture(cfg: DictConfig) -> DictConfig:
    """Fill in place what the user left unset, from the architecture named in ``cfg._name``, then from the defaults."""
    chosen = {**DEFAULTS, **ARCHITECTURES.get(cfg.get("_name"), {})}
    if cfg.get("w2v_path") is not None:
        chosen.pop("ssl_random", None)
    with open_dict(cfg):
        for name, value in chosen.items():
            if cfg.get(name) is None:
                cfg[name] = value
    return cfg


@register_model("speech_emotion_classifier", dataclass=SpeechEmotionClassifierConfig)
class SpeechEmotionClassifier(BaseFairseqModel):
    """Waveforms → logits of emotion classes."""

    def __init__(self, cfg: DictConfig, n_classes: int) -> None:
        super().__init__()
        self.cfg = cfg
        check_dropout("--frame-dropout", cfg.frame_dropout)
        check_dropout("--head-dropout", cfg.head_dropout)
        self.encoder = SPEECH.build(cfg, checkpoint_activations=cfg.checkpoint_activations)
        self.layers = self._layers_to_read()
        if len(self.layers) > 1:
            self.layer_weights = nn.Parameter(torch.zeros(len(self.layers)))
        self.pool, width = make_pooling(cfg.pooling, self.spec.embed_dim, cfg.attention_score, cfg.attention_init)
        self.frame_dropout = Dropout(cfg.frame_dropout)
        self.head_dropout = nn.Dropout(cfg.head_dropout)
        self.hidden = nn.Linear(width, cfg.head_hidden) if cfg.head_hidden else None
        self.classifier = nn.Linear(cfg.head_hidden or width, n_classes)
        self.num_updates = 0
        self._freeze()

    @classmethod
    def prepare_config(cls, cfg: DictConfig) -> DictConfig:
        """Complete ``cfg`` in place so that it describes the whole model without any file beside it."""
        resolve_architecture(cfg)
        SPEECH.describe(cfg, kind=KINDS.get(cfg.get("_name"), "wav2vec2"))
        return cfg

    @classmethod
    def build_model(cls, cfg: DictConfig, task=None) -> "SpeechEmotionClassifier":
        """Build the model from ``cfg``; the encoder stays unfilled until `load_pretrained` or a checkpoint."""
        cls.prepare_config(cfg)
        return cls(cfg, len(task.classes))

    def load_pretrained(self) -> None:
        """Copy the pretrained weights into the encoder."""
        SPEECH.fill(self.encoder, self.cfg)

    @property
    def spec(self) -> SpeechSpec:
        """Shape of the encoder."""
        return self.encoder.spec

    def _layers_to_read(self) -> tuple[int, ...]:
        if self.cfg.layer == WEIGHTED:
            return tuple(range(self.encoder.spec.layers + 1))
        try:
            layer = int(self.cfg.layer)
        except ValueError:
            raise EmofairError(f"--layer {self.cfg.layer} is no layer", remedy="Give a number or 'weighted'") from None
        self.encoder.layer_number(layer)
        return (layer,)

    def _freeze(self) -> None:
        cfg, encoder = self.cfg, self.encoder
        if not 0 <= cfg.freeze_layers <= encoder.spec.layers:
            raise EmofairError(f"--freeze-layers {cfg.freeze_layers}, but the encoder has {encoder.spec.layers}")
        encoder.freeze_input(convolutions=not cfg.train_cnn, projection=not cfg.train_projection)
        frozen: list[nn.Module] = []
        if cfg.freeze_layers:
            frozen = [encoder.encoder.pos_conv, *encoder.encoder.layers[: cfg.freeze_layers]]
        if cfg.freeze_encoder:
            frozen = [encoder]
        for part in frozen:
            part.requires_grad_(False)
        masks = cfg.mask_time_prob > 0 and not cfg.freeze_mask_emb and not cfg.freeze_encoder
        encoder.mask_emb.requires_grad_(masks)
        if self.layers[-1] != LAST_LAYER and not cfg.freeze_encoder:
            # An idle parameter would stop DDP, and weight decay would shrink it.
            for layer in encoder.encoder.layers[encoder.layer_number(self.layers[-1]) :]:
                layer.requires_grad_(False)
        if encoder.spec.layer_norm_first and self.layers[-1] != LAST_LAYER:
            encoder.encoder.layer_norm.requires_grad_(False)

    def train(self, mode: bool = True) -> "SpeechEmotionClassifier":
        """Set training mode; a frozen encoder stays in evaluation mode, so that its output never changes."""
        super().train(mode)
        if self.cfg.freeze_encoder:
            self.encoder.eval()
        return self

    def set_num_updates(self, num_updates: int) -> None:
        """fairseq tells how many updates are done; ``freeze_updates`` follows it."""
        self.num_updates = num_updates
        super().set_num_updates(num_updates)

    def _mask(self, x: Tensor, padding: Optional[Tensor]) -> Tensor:
        """Spans of frames become the mask vector, spans of channels 0 (spec: arXiv 2110.06309's training)."""
        cfg = self.cfg
        if cfg.mask_time_prob > 0:
            full = torch.full(x.shape[:1], x.size(1), device=x.device)
            masked = time_mask(full if padding is None else (~padding).sum(dim=1), x.size(1), cfg)
            x = torch.where(masked[..., None], self.encoder.mask_emb.to(x.dtype), x)
        if cfg.mask_channel_prob > 0:
            x = x.masked_fill(channel_mask(x, cfg)[:, None], 0)
        return x

    @property
    def front_end_is_frozen(self) -> bool:
        """Whether the convolutions make the same of a clip in every epoch."""
        return not any(p.requires_grad for p in self.encoder.feature_extractor.parameters())

    def frames(
        self, wav: Optional[Tensor], n_samples: Optional[Tensor] = None, features: Optional[Tensor] = None
    ) -> Encoded:
        """Frames that are pooled, under layer 0 of the result's ``hidden``, [B, T, C], and their padding."""
        frozen = self.cfg.freeze_encoder or (self.training and self.num_updates < self.cfg.freeze_updates)
        mask = self._mask if self.training and not self.cfg.freeze_encoder else None
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            encoded = self.encoder(wav, n_samples, layers=self.layers, mask=mask, features=features)
        if len(self.layers) == 1:
            frames = encoded.hidden[self.layers[0]]
        else:
            weights = self.layer_weights.softmax(dim=0)
            frames = sum(weights[i] * encoded.hidden[layer] for i, layer in enumerate(self.layers))
        return Encoded({0: F.relu(frames) if self.cfg.relu_features else frames}, encoded.padding)

    def forward(
        self,
        wav: Optional[Tensor] = None,
        n_samples: Optional[Tensor] = None,
        item: Optional[Tensor] = None,
        n_items: Optional[int] = None,
        features: Optional[Tensor] = None,
        **unused,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Waveforms [R, L] that end at ``n_samples`` [R] → logits [R, K] and the pooled vectors behind them.

        Where ``item`` [R] says of which of ``n_items`` items a row is a window, the mean of their logits: [n_items, K].
        ``features`` [R, T, C], what the convolutions made of the clips earlier, may take the place of the waveforms.
        """
        encoded = self.frames(wav, n_samples, features)
        pooled = self.pool(self.frame_dropout(encoded.hidden[0]), encoded.padding_mask())
        x = self.head_dropout(pooled)
        if self.hidden is not None:
            x = self.head_dropout(F.relu(self.hidden(x)))
        logits = self.classifier(x)
        if item is not None:
            logits = mean_by_item(logits, item, n_items)
        return logits, {"pooled": pooled}

    def facts(self) -> dict[str, object]:
        """What distinguishes this model in a table of results."""
        source = "random" if self.cfg.ssl_random is not None else "pretrained"
        return {"encoder": f"{self.spec.kind}, {source}", "pooling": self.cfg.pooling, "layer": self.cfg.layer}

    def max_positions(self) -> None:
        """No limit: clips are cropped by the data set, never filtered."""
        return


def _leave_to_prepare_config(cfg) -> None:
    """fairseq calls this from flags only; `resolve_architecture` serves flags, hydra and checkpoints alike."""


for _name in ARCHITECTURES:
    if _name != "speech_emotion_classifier":
        register_model_architecture("speech_emotion_classifier", _name)(_leave_to_prepare_config)
