"""Checkpoints of fairseq's ``wav2vec2`` and ``hubert``, of what was fine-tuned from them, and of Microsoft's WavLM."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import Enum
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from emofair.checkpoints.fairseq_form import as_dict, model_arguments, model_state, task_arguments
from emofair.checkpoints.layer_spec import parse_layers
from emofair.checkpoints.loaded_speech import SPECIAL_LABELS, LoadedSpeech, plain_weight_norm, split_pretraining
from emofair.data.audio import SAMPLE_RATE
from emofair.encoders.speech_spec import SpeechSpec
from emofair.errors import EmofairError

logger = logging.getLogger(__name__)

CTC_PREFIX = "w2v_encoder.w2v_model."
OURS = "encoder_ssl_json"
# Weights that only another architecture has, and what it is called.
_FOREIGN = {
    "sentence_encoder.": "a RoBERTa (of text or of speech codes)",
    "feature_aggregator.": "a wav2vec of 2019 or a vq-wav2vec",
    "modality_encoders.": "a data2vec 2.0",
    "encoder.pos_conv.0.0.": "a model with several positional convolutions, such as data2vec",
    ".conv_module.": "a Conformer",
    ".adapter_layer.": "a model with adapters in its layers",
    "input_quantizer.": "a wav2vec 2.0 of quantised input",
}

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


def read(checkpoint: Mapping[str, Any], path: str | PathLike[str]) -> LoadedSpeech:
    """The speech encoder of a loaded checkpoint that has its weights under ``model``.

    That of a model fine-tuned for speech recognition is taken out of it. Raises `EmofairError` for another architecture
    and for one that is not described.
    """
    weights = {plain_weight_norm(name): value for name, value in model_state(checkpoint, path).items()}
    cfg = as_dict(checkpoint.get("cfg"))
    if OURS in as_dict(cfg.get("model")):
        return _ours(weights, as_dict(cfg["model"])[OURS], path)
    source = "fairseq"
    if "encoder_embed_dim" in cfg or "conv_feature_layers" in cfg:
        options, task, source = cfg, cfg, "Microsoft"
    else:
        options, task = model_arguments(checkpoint, path), task_arguments(checkpoint, path)
    if any(name.startswith(CTC_PREFIX) for name in weights):
        weights, options, task = _of_fine_tuned(weights, options, task, path)
        source = "fairseq, fine-tuned"
    refuse_foreign(weights, path)
    state, pretraining = split_pretraining(weights)
    try:
        spec = spec_of(
            _kind(options, weights),
            options,
            normalize=bool(task.get("normalize")),
            sample_rate=task.get("sample_rate") or SAMPLE_RATE,
        )
    except EmofairError as error:
        raise EmofairError(error.what, file=path) from None
    symbols = _symbols(checkpoint, task, pretraining.get("label_embs_concat"))
    return LoadedSpeech(spec, state, Path(path), f"{source} {spec.kind}", pretraining, options, symbols)


def _symbols(checkpoint: Mapping[str, Any], task: Mapping[str, Any], table: Tensor | None) -> tuple[str, ...]:
    """What the rows of a HuBERT's table of labels stand for, behind the special ones; nothing where it is not known.

    The task's state has the dictionary; older files only name one, whose labels are the numbers of its clusters.
    """
    if table is None:
        return ()
    dictionaries = as_dict(checkpoint.get("task_state")).get("dictionaries")
    if dictionaries is None and len(task.get("labels") or ()) <= 1:
        return tuple(map(str, range(table.shape[0] - SPECIAL_LABELS)))
    known = [d for d in dictionaries or () if d is not None]
    if len(known) != 1 or len(known[0]) != table.shape[0]:
        return ()
    return tuple(known[0].symbols[SPECIAL_LABELS:])


def refuse_foreign(weights: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Raise `EmofairError` for weights of an architecture that is known not to be one of ours, or of none."""
    for part, name in _FOREIGN.items():
        if any(part in weight for weight in weights):
            raise EmofairError(f"is {name}, not a wav2vec 2.0, HuBERT or WavLM", file=path)
    if not any(name.startswith("feature_extractor.conv_layers.") for name in weights):
        raise EmofairError(
            f"holds no wav2vec 2.0, HuBERT or WavLM: none of its weights ({next(iter(weights))}, ...) is a convolution "
            "of one",
            file=path,
        )


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


def _ours(weights: Mapping[str, Tensor], text: Any, path: str | PathLike[str]) -> LoadedSpeech:
    """The encoder of a model that was trained here: it lies under ``encoder.``, and its spec beside it."""
    try:
        spec = SpeechSpec.from_json(str(text))
    except EmofairError as error:
        raise EmofairError(error.what, file=path) from None
    state = {name.removeprefix("encoder."): v for name, v in weights.items() if name.startswith("encoder.")}
    head = {name: value for name, value in weights.items() if not name.startswith("encoder.")}
    return LoadedSpeech(spec, state, Path(path), f"emofair {spec.kind}", head=head)


def _of_fine_tuned(
    weights: Mapping[str, Tensor], options: Mapping[str, Any], task: Mapping[str, Any], path: str | PathLike[str]
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Weights, model options and task options of the encoder in a model fine-tuned for speech recognition."""
    inner = as_dict(options.get("w2v_args"))
    if not inner:
        raise EmofairError(
            "was fine-tuned and does not tell the shape of its encoder (it has no w2v_args)",
            file=path,
            remedy="Use the model it was fine-tuned from",
        )
    kept = {n.removeprefix(CTC_PREFIX): value for n, value in weights.items() if n.startswith(CTC_PREFIX)}
    logger.warning(
        "%s: was fine-tuned for speech recognition; its encoder is used, its %d other weights are not",
        path,
        len(weights) - len(kept),
    )
    # One file in two forms again: a flat Namespace, or a configuration with parts.
    model, before = as_dict(inner.get("model")) or inner, as_dict(inner.get("task")) or inner
    return kept, model, {**before, **{name: task[name] for name in ("normalize", "sample_rate") if name in task}}


def _kind(options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    if "encoder.layers.0.self_attn.grep_a" in weights or "gru_rel_pos" in options:
        return "wavlm"
    name = str(options.get("_name") or options.get("arch"))
    return "hubert" if "label_embs_concat" in weights or name.startswith("hubert") else "wav2vec2"


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
