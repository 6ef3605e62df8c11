"""What is needed to rebuild a wav2vec (2019) or vq-wav2vec encoder exactly, except its weights."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from emofair.checkpoints.layer_spec import parse_layers
from emofair.data.audio import SAMPLE_RATE
from emofair.encoders.spec import ConvSpec
from emofair.errors import EmofairError

ACTIVATIONS = ("relu", "gelu")
QUANTIZERS = ("kmeans", "gumbel")
# Those of the published wav2vec large.
CONV_LAYERS = ((512, 10, 5), (512, 8, 4), *[(512, 4, 2)] * 3, *[(512, 1, 1)] * 2)
AGGREGATOR_LAYERS = tuple((512, kernel, 1) for kernel in range(2, 14))


@dataclasses.dataclass(frozen=True)
class QuantizerSpec:
    """A vector quantiser: ``groups`` of ``vars`` codes each, ``dim`` wide together.

    ``kind`` is "kmeans" or "gumbel". With ``combined`` all groups share their codes. ``depth`` counts the layers in
    front of a Gumbel quantiser; ``gamma`` weighs the commitment loss of a k-means one.
    """

    kind: str
    vars: int
    groups: int
    dim: int
    combined: bool = False
    depth: int = 1
    gamma: float = 0.25

    def __post_init__(self) -> None:
        if self.kind not in QUANTIZERS:
            raise EmofairError(f"a vector quantiser is one of {', '.join(QUANTIZERS)}, not {self.kind!r}")
        sizes = (self.vars, self.groups, self.dim, self.depth)
        if not all(type(size) is int and 0 < size < 1 << 20 for size in sizes) or self.dim % self.groups:
            raise EmofairError(f"{self.groups} groups of {self.vars} codes, {self.dim} wide, make no vector quantiser")


@dataclasses.dataclass(frozen=True)
class Wav2VecSpec(ConvSpec):
    """The shape of a wav2vec; the defaults are those of wav2vec large (arXiv 1904.05862).

    ``conv_layers`` make the features z, ``aggregator_layers`` the context c; both are (channels, kernel, stride). With
    ``zero_pad`` the context network sees zeros before the first frame, otherwise copies of it. ``skip_features`` and
    ``skip_context`` add the input of a layer to its output and scale the sum by the root of ``residual_scale``.
    ``normalize``: every clip is brought to zero mean and unit variance before it comes in.
    """

    what: ClassVar[str] = "a wav2vec"

    conv_layers: tuple[tuple[int, int, int], ...] = CONV_LAYERS
    aggregator_layers: tuple[tuple[int, int, int], ...] = AGGREGATOR_LAYERS
    quantizer: QuantizerSpec | None = None
    activation: str = "relu"
    log_compression: bool = True
    skip_features: bool = False
    skip_context: bool = True
    residual_scale: float = 0.5
    affine_norms: bool = True
    context_bias: bool = True
    zero_pad: bool = False
    dropout: float = 0.0
    normalize: bool = False
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        for name in ("conv_layers", "aggregator_layers"):
            layers = parse_layers([tuple(layer) for layer in getattr(self, name)])
            object.__setattr__(self, name, tuple(layers))
        if any(stride != 1 for _, _, stride in self.aggregator_layers):
            raise EmofairError("the context network of a wav2vec has strides of 1")
        if self.activation not in ACTIVATIONS:
            raise EmofairError(f"a wav2vec has one of {', '.join(ACTIVATIONS)} as activation, not {self.activation!r}")
        for name, value in dataclasses.asdict(self).items():
            if isinstance(getattr(type(self), name, None), bool) and not isinstance(value, bool):
                raise EmofairError(f"{name} of a wav2vec is {value!r}, expected true or false")
        for name, highest in (("residual_scale", 1e6), ("dropout", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < highest:
                raise EmofairError(f"{name} of a wav2vec is {value!r}, expected a number from 0")
        if type(self.sample_rate) is not int or self.sample_rate < 1:
            raise EmofairError(f"sample_rate of a wav2vec is {self.sample_rate!r}")

    @property
    def dim(self) -> int:
        """Channels of the features z."""
        return self.conv_layers[-1][0]

    @property
    def context_dim(self) -> int:
        """Channels of the context c."""
        return self.aggregator_layers[-1][0]

    @classmethod
    def read_fields(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the class from what the JSON holds."""
        quantizer = fields.get("quantizer")
        return {**fields, "quantizer": None if quantizer is None else QuantizerSpec(**quantizer)}
