"""Options that models with a speech encoder have in common; configurations extend these."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from emofair.modules.span_masks import MODES


@dataclass
class SpeechEncoderConfig(FairseqDataclass):
    """Where the encoder comes from (see `emofair.encoders.pretrained`), and what of it is trained."""

    w2v_path: Optional[str] = field(
        default=None, metadata={"help": "pretrained encoder: a checkpoint file, or a Hugging Face folder"}
    )
    ssl_random: Optional[str] = field(
        default=None, metadata={"help": "a random encoder of a named size instead: tiny, small, base, large"}
    )
    train_cnn: bool = field(default=False, metadata={"help": "train the convolutions too"})
    train_projection: bool = field(
        default=False, metadata={"help": "train the projection between convolutions and Transformer too"}
    )
    freeze_mask_emb: bool = field(default=False, metadata={"help": "keep the vector of masked frames as it is"})
    encoder_dropout: Optional[float] = field(
        default=None, metadata={"help": "dropout in the encoder (default: that of its pre-training)"}
    )
    attention_dropout: Optional[float] = field(default=None, metadata={"help": "the same on attention weights"})
    activation_dropout: Optional[float] = field(default=None, metadata={"help": "the same inside feed-forward layers"})
    dropout_input: Optional[float] = field(default=None, metadata={"help": "the same on the encoder's input"})
    layerdrop: Optional[float] = field(default=0.0, metadata={"help": "chance to skip a layer in training"})
    checkpoint_activations: bool = field(
        default=False, metadata={"help": "recompute the encoder's activations in the backward pass to save memory"}
    )
    encoder_ssl_json: Optional[str] = field(
        default=None, metadata={"help": "shape of the encoder; written by training, not by hand"}
    )


@dataclass
class SpanMaskConfig(FairseqDataclass):
    """Masks of spans of time and of channels in training."""

    mask_time_prob: float = field(
        default=0.08, metadata={"help": "share of frames masked in training, before overlaps"}
    )
    mask_time_length: int = field(default=15, metadata={"help": "frames of a masked span"})
    mask_min_spans: int = field(
        default=2, metadata={"help": "spans of frames per clip, at least; clips too short for them are not masked"}
    )
    mask_channel_prob: float = field(default=0.05, metadata={"help": "share of channels set to 0 in training"})
    mask_channel_length: int = field(default=64, metadata={"help": "channels of a masked span"})
    mask_mode: ChoiceEnum(MODES) = field(
        default="per_row",
        metadata={"help": "spans placed inside each clip, or as transformers does, over the padded length"},
    )
