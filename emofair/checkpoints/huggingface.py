"""Names and configuration of transformers' Wav2Vec2, Hubert and WavLM, translated to ours and back.

transformers itself is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from emofair.checkpoints.loaded_speech import plain_weight_norm
from emofair.encoders.speech_spec import KINDS, SpeechSpec
from emofair.errors import EmofairError

CLASSES = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}
PRETRAINING_CLASS = "Wav2Vec2ForPreTraining"
# Ours and theirs; # is a number. The group norm of the first convolution comes before the layer norms, which every
# convolution has in the other mode, under the same name of theirs.
_GROUP_NORM = ("feature_extractor.conv_layers.0.2.", "feature_extractor.conv_layers.0.layer_norm.")
_LAYER_NORM = ("feature_extractor.conv_layers.#.2.1.", "feature_extractor.conv_layers.#.layer_norm.")
_NAMES = (
    ("feature_extractor.conv_layers.#.0.", "feature_extractor.conv_layers.#.conv."),
    ("layer_norm.", "feature_projection.layer_norm."),
    ("post_extract_proj.", "feature_projection.projection."),
    ("mask_emb", "masked_spec_embed"),
    ("encoder.pos_conv.0.", "encoder.pos_conv_embed.conv."),
    ("encoder.layer_norm.", "encoder.layer_norm."),
    ("encoder.layers.#.self_attn.grep_linear.", "encoder.layers.#.attention.gru_rel_pos_linear."),
    ("encoder.layers.#.self_attn.grep_a", "encoder.layers.#.attention.gru_rel_pos_const"),
    ("encoder.layers.#.self_attn.relative_attention_bias.", "encoder.layers.#.attention.rel_attn_embed."),
    ("encoder.layers.#.self_attn.", "encoder.layers.#.attention."),
    ("encoder.layers.#.self_attn_layer_norm.", "encoder.layers.#.layer_norm."),
    ("encoder.layers.#.fc1.", "encoder.layers.#.feed_forward.intermediate_dense."),
    ("encoder.layers.#.fc2.", "encoder.layers.#.feed_forward.output_dense."),
    ("encoder.layers.#.final_layer_norm.", "encoder.layers.#.final_layer_norm."),
)
# What only the pre-training of wav2vec 2.0 needs. A quantiser of several layers has no counterpart.
_PRETRAINING_NAMES = (
    ("quantizer.vars", "quantizer.codevectors"),
    ("quantizer.weight_proj.weight", "quantizer.weight_proj.weight"),
    ("quantizer.weight_proj.bias", "quantizer.weight_proj.bias"),
    ("project_q.", "project_q."),
    ("final_proj.", "project_hid."),
)
_WHOLE = {
    *("quantizer.vars", "quantizer.weight_proj.weight", "quantizer.weight_proj.bias"),
    *(f"{module}.{part}" for module in ("project_q", "final_proj") for part in ("weight", "bias")),
}
_PREFIX = re.compile(rf"^({'|'.join(KINDS)})\.")

_ACTIVATIONS = {"gelu": "gelu", "relu": "relu"}
_MODES = {"default": "group", "layer_norm": "layer"}
# Fields of a spec and of theirs, with the values that theirs has where a config.json is silent.
_FIELDS = {
    "embed_dim": ("hidden_size", 768),
    "ffn_dim": ("intermediate_size", 3072),
    "layers": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "layer_norm_first": ("do_stable_layer_norm", False),
    "conv_bias": ("conv_bias", False),
    "conv_pos": ("num_conv_pos_embeddings", 128),
    "conv_pos_groups": ("num_conv_pos_embedding_groups", 16),
    "dropout": ("hidden_dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "activation_dropout": ("activation_dropout", 0.1),
    "dropout_input": ("feat_proj_dropout", 0.0),
    "layerdrop": ("layerdrop", 0.1),
}
_WAVLM_FIELDS = {"num_buckets": ("num_buckets", 320), "max_distance": ("max_bucket_distance", 800)}
_CONVOLUTIONS = {
    "conv_dim": (512,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
}
# Options of self-supervised training in fairseq's words and in theirs; the first four are shapes.
_PRETRAINING_FIELDS = {
    "latent_vars": "num_codevectors_per_group",
    "latent_groups": "num_codevector_groups",
    "latent_dim": "codevector_dim",
    "final_dim": "proj_codevector_dim",
    "num_negatives": "num_negatives",
    "logit_temp": "contrastive_logits_temperature",
    "dropout_features": "feat_quantizer_dropout",
}
# Another value of these is another network.
_FIXED = {
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "feat_proj_layer_norm": True,
    "conv_pos_batch_norm": False,
}


def to_ours(names: Iterable[str], mode: str) -> dict[str, str]:
    """Our name for each of transformers' ``names`` that has one; ``mode`` is the spec's ``extractor_mode``.

    Understands the prefix of a model with a head (``wav2vec2.``, ``hubert.``, ``wavlm.``) and both namings of weight
    normalisation.
    """
    rules = [(_pattern(theirs), ours) for ours, theirs in _rules(mode)]
    result = {}
    for name in names:
        renamed = _rename(plain_weight_norm(_PREFIX.sub("", name)), rules)
        if renamed is not None:
            result[name] = renamed
    return result


def to_theirs(names: Iterable[str], mode: str, prefix: str = "") -> dict[str, str]:
    """The inverse of `to_ours`; ``prefix`` is put before what belongs to the encoder."""
    rules = [(_pattern(ours), theirs) for ours, theirs in _rules(mode)]
    heads = [(_pattern(ours), theirs) for ours, theirs in _PRETRAINING_NAMES]
    result = {}
    for name in names:
        renamed = _rename(name, rules)
        if renamed is None:
            renamed, of_encoder = _rename(name, heads), ""
        else:
            of_encoder = prefix
        if renamed is not None:
            result[name] = of_encoder + renamed
    return result


def name_of(name: str, mode: str) -> str:
    """Theirs for one of our names; one that they do not have stays as it is."""
    return to_theirs([name], mode).get(name, name)


def has_prefix(name: str) -> bool:
    """Whether a name of transformers' is that of an encoder inside a model with a head."""
    return _PREFIX.match(name) is not None


def has_layer_norms(names: Iterable[str]) -> bool:
    """Whether the convolutions behind transformers' ``names`` have a layer norm each."""
    return any(re.search(r"feature_extractor\.conv_layers\.[1-9]\d*\.layer_norm\.", name) for name in names)


def _rules(mode: str) -> tuple[tuple[str, str], ...]:
    return (_LAYER_NORM if mode == "layer_norm" else _GROUP_NORM, *_NAMES, *_PRETRAINING_NAMES)


def _pattern(name: str) -> re.Pattern[str]:
    rest = "(.+)" if name.endswith(".") else "()"
    return re.compile(re.escape(name).replace(r"\#", r"(\d+)") + rest)


def _rename(name: str, rules: Iterable[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, target in rules:
        if match := pattern.fullmatch(name):
            *numbers, rest = match.groups()
            return (target.replace("#", numbers[0]) if numbers else target) + rest
    return None


def spec_of(config: Mapping[str, Any], *, normalize: bool, sample_rate: int) -> SpeechSpec:
    """The encoder that a ``config.json`` describes; ``normalize`` and ``sample_rate`` are not in it.

    Raises `EmofairError` for a model of another type, and for options that make another network of it.
    """
    kind = config.get("model_type")
    if kind not in KINDS:
        raise EmofairError(f"is a model of type {kind!r}, not one of {', '.join(KINDS)}")
    for name, expected in _FIXED.items():
        if (value := config.get(name, expected)) != expected:
            raise EmofairError(f"its {name} is {value!r}; only {expected!r} is known here")
    fields = {ours: config.get(theirs, default) for ours, (theirs, default) in _fields(kind).items()}
    activation = config.get("hidden_act", "gelu")
    fields["activation_fn"] = next((ours for ours, theirs in _ACTIVATIONS.items() if theirs == activation), activation)
    norm = config.get("feat_extract_norm", "group")
    fields["extractor_mode"] = next((ours for ours, theirs in _MODES.items() if theirs == norm), norm)
    columns = [config.get(name, default) for name, default in _CONVOLUTIONS.items()]
    if not all(isinstance(column, (list, tuple)) for column in columns) or len(set(map(len, columns))) != 1:
        raise EmofairError(f"{', '.join(_CONVOLUTIONS)} are not lists of one length")
    layers = tuple(zip(*columns, strict=True))
    return SpeechSpec(kind=kind, conv_layers=layers, normalize=normalize, sample_rate=sample_rate, **fields)


def config_of(spec: SpeechSpec) -> dict[str, Any]:
    """What `spec_of` reads, for a ``config.json``; `EmofairError` where transformers has no such network."""
    if spec.activation_fn not in _ACTIVATIONS:
        raise EmofairError(f"transformers has no activation function {spec.activation_fn!r} as fairseq has it")
    if spec.conv_dim == spec.embed_dim:
        raise EmofairError(
            f"the convolutions are as wide as the Transformer ({spec.conv_dim}): there is no projection between them, "
            "which transformers always has"
        )
    config = {theirs: getattr(spec, ours) for ours, (theirs, _) in _fields(spec.kind).items()}
    return {
        "model_type": spec.kind,
        **config,
        **{name: list(column) for name, column in zip(_CONVOLUTIONS, zip(*spec.conv_layers, strict=True), strict=True)},
        "num_feat_extract_layers": len(spec.conv_layers),
        "hidden_act": _ACTIVATIONS[spec.activation_fn],
        "feat_extract_activation": "gelu",
        "feat_extract_norm": _MODES[spec.extractor_mode],
        "layer_norm_eps": 1e-5,
    }


def pretraining_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``config.json`` says about self-supervised training, in fairseq's words."""
    return {ours: config[theirs] for ours, theirs in _PRETRAINING_FIELDS.items() if theirs in config}


def pretraining_config(pretraining: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse, for `has_counterpart` weights of wav2vec 2.0 under fairseq's names; shapes come from them."""
    rows, width = pretraining["quantizer.vars"].shape[1:]
    groups = int(options.get("latent_groups", 2))
    values = dict(options) | {
        "latent_groups": groups,
        "latent_vars": rows // groups,
        "latent_dim": width * groups,
        "final_dim": pretraining["final_proj.weight"].shape[0],
    }
    return {theirs: values[ours] for ours, theirs in _PRETRAINING_FIELDS.items() if ours in values}


def has_counterpart(kind: str, pretraining: Iterable[str]) -> bool:
    """Whether transformers has a model for pre-training that holds weights of these names: for wav2vec 2.0 alone."""
    return kind == "wav2vec2" and set(to_theirs(pretraining, "default")) == _WHOLE


def _fields(kind: str) -> dict[str, tuple[str, Any]]:
    return {**_FIELDS, **_WAVLM_FIELDS} if kind == "wavlm" else _FIELDS
