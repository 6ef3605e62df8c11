"""fairseq's checkpoints of wav2vec (2019) and vq-wav2vec, from its first release on, and what was trained from them."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from fairseq.models.wav2vec.wav2vec import Wav2VecConfig
from torch import Tensor

from emofair.checkpoints import safe
from emofair.checkpoints.fairseq_form import as_dict, model_arguments, model_state, task_arguments
from emofair.checkpoints.layer_spec import parse_layers
from emofair.checkpoints.loaded_speech import listing
from emofair.data.audio import SAMPLE_RATE
from emofair.encoders.shapes import shapes_only
from emofair.encoders.wav2vec import Wav2Vec
from emofair.encoders.wav2vec_spec import QuantizerSpec, Wav2VecSpec
from emofair.errors import EmofairError

logger = logging.getLogger(__name__)

Layers = tuple[tuple[int, int, int], ...]
OURS = "encoder_ssl_json"
_FEATURES, _CONTEXT = "feature_extractor.conv_layers.{}.0.weight", "feature_aggregator.conv_layers.{}.1.weight"
# What only the training needs. Where features are projected by the context network itself, it is there twice.
_LEFT_OUT = ("wav2vec_predictions.", "project_features.")
# Where the original FT-w2v2-ser code keeps fairseq's model in the Lightning checkpoints of its first stage.
_IN_LIGHTNING = "wav2vec.wav2vec."
# Strides of the published models, for files that say nothing about the model.
_STRIDES = {10: 5, 8: 4, 4: 2, 1: 1}
# Fields of a spec that are options of the same meaning.
_FIELDS = {
    "activation": "activation",
    "log_compression": "log_compression",
    "skip_features": "skip_connections_feat",
    "skip_context": "skip_connections_agg",
    "residual_scale": "residual_scale",
    "zero_pad": "agg_zero_pad",
    "dropout": "dropout",
}


@dataclasses.dataclass(frozen=True)
class LoadedWav2Vec:
    """A pretrained wav2vec: its shape, its weights in `Wav2Vec`'s names (fairseq's), its file and the file's form."""

    spec: Wav2VecSpec
    state: dict[str, Tensor]
    path: Path
    source: str = "wav2vec"


def holds_wav2vec(checkpoint: Mapping[str, Any]) -> bool:
    """Whether `load_wav2vec` reads it, by the names of its weights: fairseq's, or a Lightning checkpoint's."""
    names = [*as_dict(checkpoint.get("model")), *as_dict(checkpoint.get("state_dict"))]
    return any(str(name).removeprefix(_IN_LIGHTNING).startswith("feature_aggregator.") for name in names)


def load_wav2vec(path: str | PathLike[str]) -> LoadedWav2Vec:
    """Read fairseq's wav2vec or vq-wav2vec, old names of its architecture included, or what was trained from it.

    That is: by the frame classifier here, or by the first stage of the original FT-w2v2-ser code (a Lightning
    checkpoint), of which the convolution after it and the heads are left out, with a warning. Options that the file
    lacks have fairseq's defaults; one without any options has the published strides. Raises `EmofairError` for another
    model, for a context network that is no stack of convolutions, and for weights that are missing, unknown or
    misshapen, which are listed.
    """
    checkpoint = safe.load(path)
    lightning = _in_lightning(checkpoint, path)
    weights = lightning or model_state(checkpoint, path)
    stored = as_dict(as_dict(checkpoint.get("cfg")).get("model")).get(OURS)
    try:
        if stored is not None:
            spec = Wav2VecSpec.from_json(str(stored))
            state = {n.removeprefix("encoder."): v for n, v in weights.items() if n.startswith("encoder.")}
        else:
            spec = _read_spec(checkpoint, weights, path)
            state = {name: value for name, value in weights.items() if not name.startswith(_LEFT_OUT)}
        check_fit(spec, state)
    except EmofairError as error:
        raise EmofairError(error.what, file=error.file or path, remedy=error.remedy) from None
    return LoadedWav2Vec(spec, state, Path(path), "FT-w2v2-ser" if lightning else "wav2vec")


def check_fit(spec: Wav2VecSpec, state: Mapping[str, Tensor]) -> None:
    """Raise `EmofairError`, listing the weights, unless ``state`` is what a `Wav2Vec` of ``spec`` holds."""
    with shapes_only():
        expected = {name: value.shape for name, value in Wav2Vec(spec).state_dict().items()}
    wrong = [f"{n} {list(state[n].shape)}" for n in expected if n in state and state[n].shape != expected[n]]
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    for what, names in (("lacks", missing), ("has the unknown", unknown), ("has misshapen", wrong)):
        if names:
            raise EmofairError(f"is not the wav2vec that it describes: it {what} weights {listing(names)}")


class Options:
    """A checkpoint's options, with fairseq's defaults for those it does not have."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.defaults = {field.name: field.default for field in dataclasses.fields(Wav2VecConfig)}

    def __getitem__(self, name: str) -> Any:
        value = self.given.get(name)
        return self.defaults[name] if value is None else value

    def spec_fields(self) -> dict[str, Any]:
        """Those that are fields of a `Wav2VecSpec` without its layers and quantiser."""
        fields = {ours: self[theirs] for ours, theirs in _FIELDS.items()}
        flags = {"affine_norms": not self["non_affine_group_norm"], "context_bias": not self["no_conv_bias"]}
        return {**fields, **flags}


def conv_layers(options: Options, state: Mapping[str, Tensor], path: str | PathLike[str]) -> Layers:
    """The convolutions that make z: strides as the options say, width and kernel compared with the weights."""
    return _layers(options, "conv_feature_layers", state, _FEATURES, path)


def quantizer_spec(
    options: Options, state: Mapping[str, Tensor], dim: int, path: str | PathLike[str]
) -> QuantizerSpec | None:
    """The vector quantiser by its weights; None where there is none. ``dim`` is the width of z."""
    codes = state.get("vector_quantizer.embedding")
    if codes is not None:
        # [codes, groups or 1, width / groups]; the grouped projection in front has [dim, dim / groups, 1].
        groups = dim // state["vector_quantizer.projection.0.weight"].shape[1]
        if codes.shape[1] not in (1, groups) or codes.shape[2] * groups != dim:
            raise EmofairError(
                f"has codes of shape {list(codes.shape)} for {groups} groups of {dim} channels in all", file=path
            )
        combined = codes.shape[1] == 1 and groups > 1
        width = codes.shape[2] * groups
        return QuantizerSpec("kmeans", codes.shape[0], groups, width, combined, gamma=options["vq_gamma"])
    codes = state.get("vector_quantizer.vars")
    if codes is None:
        return None
    # The last projection has groups x codes outputs; the table holds that many rows, or one group's share of them.
    found = {int(match[1]) for name in state if (match := re.search(r"weight_proj\.(\d+)\.", name))}
    last = f"vector_quantizer.weight_proj.{max(found)}.bias" if found else "vector_quantizer.weight_proj.bias"
    outputs, rows = state[last].shape[0], codes.shape[1]
    combined = outputs != rows
    groups = outputs // rows if combined else int(options["vq_groups"])
    return QuantizerSpec("gumbel", outputs // groups, groups, codes.shape[2] * groups, combined, depth=len(found) or 1)


def _in_lightning(checkpoint: Mapping[str, Any], path: str | PathLike[str]) -> dict[str, Tensor]:
    """fairseq's model in a Lightning checkpoint; empty for another file."""
    weights = {n: v for n, v in as_dict(checkpoint.get("state_dict")).items() if isinstance(v, Tensor)}
    state = {n.removeprefix(_IN_LIGHTNING): v for n, v in weights.items() if n.startswith(_IN_LIGHTNING)}
    if state and len(state) < len(weights):
        logger.warning(
            "%s: its wav2vec is used, its %d other weights (a convolution, heads) are not",
            *(path, len(weights) - len(state)),
        )
    return state


def _read_spec(checkpoint: Mapping[str, Any], state: Mapping[str, Tensor], path: str | PathLike[str]) -> Wav2VecSpec:
    if not any(name.startswith("feature_aggregator.") for name in state):
        raise EmofairError(
            f"is not a wav2vec of 2019: it has no feature_aggregator, but {next(iter(state))} and others"
        )
    if "feature_aggregator.1.weight_ih_l0" in state:
        raise EmofairError("has a GRU for a context network; only convolutions are known here")
    described = any(as_dict(checkpoint.get(form)) for form in ("args", "cfg"))
    options = Options(model_arguments(checkpoint, path) if described else {})
    task = task_arguments(checkpoint, path) if described else {}
    features = conv_layers(options, state, path) if described else _of_weights(state, _FEATURES)
    context = (
        _layers(options, "conv_aggregator_layers", state, _CONTEXT, path)
        if described
        else tuple((width, kernel, 1) for width, kernel in _found(state, _CONTEXT))
    )
    try:
        quantizer = quantizer_spec(options, state, features[-1][0], path)
    except KeyError as missing:
        raise EmofairError(f"lacks the weight {missing.args[0]}") from None
    except (IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise error if isinstance(error, EmofairError) else EmofairError(f"has no usable quantiser: {error}") from None
    return Wav2VecSpec(
        conv_layers=features,
        aggregator_layers=context,
        quantizer=quantizer,
        normalize=bool(task.get("normalize")),
        sample_rate=task.get("sample_rate") or SAMPLE_RATE,
        **options.spec_fields(),
    )


def _layers(options: Options, option: str, state: Mapping[str, Tensor], name: str, path: str | PathLike[str]) -> Layers:
    try:
        layers = parse_layers(options[option])
    except EmofairError as error:
        raise EmofairError(error.what, file=path) from None
    found = _found(state, name)
    if found != [(width, kernel) for width, kernel, _ in layers]:
        raise EmofairError(
            f"its options describe convolutions (width, kernel) {[layer[:2] for layer in layers]}, its weights {found}",
            file=path,
        )
    return tuple(layers)


def _of_weights(state: Mapping[str, Tensor], name: str) -> Layers:
    found = _found(state, name)
    unknown = [kernel for _, kernel in found if kernel not in _STRIDES]
    if unknown or not found:
        what = f"no published model has one of kernel {unknown[0]}" if unknown else "it has none"
        raise EmofairError(f"does not tell the strides of its convolutions, and {what}")
    return tuple((width, kernel, _STRIDES[kernel]) for width, kernel in found)


def _found(state: Mapping[str, Tensor], name: str) -> list[tuple[int, int]]:
    """Width and kernel of each convolution."""
    values = [state.get(name.format(index)) for index in range(100)]
    return [(value.shape[0], value.shape[2]) for value in values if value is not None and value.dim() == 3]
