"""What is needed to rebuild a wav2vec 2.0, HuBERT or WavLM encoder exactly, except its weights."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from emofair.checkpoints.layer_spec import parse_layers
from emofair.data.audio import SAMPLE_RATE
from emofair.encoders.spec import ConvSpec
from emofair.errors import EmofairError
from emofair.modules.ranges import check_activation

KINDS = ("wav2vec2", "hubert", "wavlm")
EXTRACTOR_MODES = ("default", "layer_norm")
CONV_LAYERS = ((512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2)
# A hostile file must not ask for terabytes.
_LARGEST = 1 << 16


@dataclasses.dataclass(frozen=True)
class SpeechSpec(ConvSpec):
    """The shape of a speech encoder; the defaults are those of wav2vec 2.0 BASE (arXiv 2006.11477).

    ``kind`` is "wav2vec2", "hubert" (arXiv 2106.07447; the same network) or "wavlm" (arXiv 2110.13900; with gated
    relative position bias, whose table has ``num_buckets`` rows for offsets up to ``max_distance`` frames).
    ``conv_layers`` are (channels, kernel, stride). ``extractor_mode`` is "default" (one group norm after the first
    convolution) or "layer_norm" (after each). ``layer_norm_first`` is the pre-norm form of the large models.
    ``normalize``: every clip is brought to zero mean and unit variance before it comes in.
    """

    what: ClassVar[str] = "a speech encoder"

    kind: str = "wav2vec2"
    conv_layers: tuple[tuple[int, int, int], ...] = CONV_LAYERS
    extractor_mode: str = "default"
    conv_bias: bool = False
    embed_dim: int = 768
    ffn_dim: int = 3072
    layers: int = 12
    heads: int = 12
    layer_norm_first: bool = False
    conv_pos: int = 128
    conv_pos_groups: int = 16
    activation_fn: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    dropout_input: float = 0.1
    layerdrop: float = 0.0
    num_buckets: int = 320
    max_distance: int = 800
    normalize: bool = False
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        object.__setattr__(self, "conv_layers", tuple(parse_layers([tuple(layer) for layer in self.conv_layers])))
        _one_of("kind", self.kind, KINDS)
        _one_of("extractor_mode", self.extractor_mode, EXTRACTOR_MODES)
        for name in ("embed_dim", "ffn_dim", "layers", "heads", "conv_pos", "conv_pos_groups", "sample_rate"):
            _count(name, getattr(self, name))
        for name in ("num_buckets", "max_distance"):
            _count(name, getattr(self, name))
        for name in ("dropout", "attention_dropout", "activation_dropout", "dropout_input", "layerdrop"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise EmofairError(f"{name} of a speech encoder is {value!r}, expected a number from 0 to below 1")
        for name in ("conv_bias", "layer_norm_first", "normalize"):
            if not isinstance(getattr(self, name), bool):
                raise EmofairError(f"{name} of a speech encoder is {getattr(self, name)!r}, expected true or false")
        if self.embed_dim % self.heads:
            raise EmofairError(f"{self.heads} attention heads do not divide a width of {self.embed_dim}")
        if self.embed_dim % self.conv_pos_groups:
            raise EmofairError(
                f"{self.conv_pos_groups} groups of the positional convolution do not divide a width of {self.embed_dim}"
            )
        check_activation("activation_fn", self.activation_fn)

    @property
    def conv_dim(self) -> int:
        """Channels that the convolutions give."""
        return self.conv_layers[-1][0]


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise EmofairError(f"{name} of a speech encoder is {value!r}, expected one of {', '.join(choices)}")


def _count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
        raise EmofairError(f"a speech encoder needs a whole number from 1 to {_LARGEST} as {name}, not {value!r}")
