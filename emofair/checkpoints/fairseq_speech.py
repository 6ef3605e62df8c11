"""Options of fairseq's ``wav2vec2`` and ``hubert`` and of Microsoft's WavLM, as a `SpeechSpec` and back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from emofair.checkpoints.layer_spec import parse_layers
from emofair.encoders.speech_spec import SpeechSpec
from emofair.errors import EmofairError

# Fields of a spec, and the options of the same meaning with the values that an old file without them had.
_FIELDS = {
    "extractor_mode": ("extractor_mode", "default"),
    "conv_bias": ("conv_bias", False),
    "embed_dim": ("encoder_embed_dim", 768),
    "ffn_dim": ("encoder_ffn_embed_dim", 3072),
    "layers": ("encoder_layers", 12),
    "heads": ("encoder_attention_heads", 12),
    "layer_norm_first": ("layer_norm_first", False),
    "conv_pos": ("conv_pos", 128),
    "conv_pos_groups": ("conv_pos_groups", 16),
    "activation_fn": ("activation_fn", "gelu"),
    "dropout": ("dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "activation_dropout": ("activation_dropout", 0.0),
    "dropout_input": ("dropout_input", 0.0),
    "layerdrop": ("encoder_layerdrop", 0.0),
}
_WAVLM_FIELDS = {"num_buckets": ("num_buckets", 320), "max_distance": ("max_distance", 1280)}
_CONVOLUTIONS = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2"
# Another value of these is another network.
_FIXED = {
    "layer_type": "transformer",
    "pos_conv_depth": 1,
    "conv_pos_batch_norm": False,
    "quantize_input": False,
}
_WAVLM_FIXED = {"relative_position_embedding": True, "gru_rel_pos": True}


def spec_of(kind: str, options: Mapping[str, Any], *, normalize: bool, sample_rate: int) -> SpeechSpec:
    """The encoder that a model's ``options`` describe; what they lack has fairseq's default, what is unknown is left.

    Raises `EmofairError` for options that make another network of it.
    """
    fixed, fields = _FIXED, _FIELDS
    if kind == "wavlm":
        fixed, fields = {**_FIXED, **_WAVLM_FIXED}, {**_FIELDS, **_WAVLM_FIELDS}
        options = {**dict.fromkeys(_WAVLM_FIXED, False), **options}
    for name, expected in fixed.items():
        if (value := _plain(options.get(name, expected))) != expected:
            raise EmofairError(f"its {name} is {value!r}; only {expected!r} is known here")
    values = {ours: _plain(options.get(theirs, default)) for ours, (theirs, default) in fields.items()}
    layers = tuple(parse_layers(options.get("conv_feature_layers", _CONVOLUTIONS)))
    return SpeechSpec(kind=kind, conv_layers=layers, normalize=normalize, sample_rate=sample_rate, **values)


def options_of(spec: SpeechSpec) -> dict[str, Any]:
    """What `spec_of` reads: the options with which fairseq (WavLM: Microsoft's code) builds the same encoder."""
    fields = {**_FIELDS, **_WAVLM_FIELDS} if spec.kind == "wavlm" else _FIELDS
    options = {theirs: getattr(spec, ours) for ours, (theirs, _) in fields.items()}
    if spec.kind == "wavlm":
        options |= {**_WAVLM_FIXED, "normalize": spec.normalize}
    return {**options, "conv_feature_layers": str(list(spec.conv_layers))}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
