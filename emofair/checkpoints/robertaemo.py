"""Fine-tuned checkpoints of the original robertaEMO code (arXiv 2008.06682, a fork of fairseq 0.9) in our names."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

from torch import Tensor

from emofair.checkpoints import safe
from emofair.checkpoints.fairseq_form import model_arguments, model_state
from emofair.checkpoints.roberta import check_fit, encoder_state, read_spec
from emofair.encoders.roberta import RobertaSpec
from emofair.errors import EmofairError

logger = logging.getLogger(__name__)

BRANCHES = {"text": "model_text2vec.", "speech": "roberta_vqwav2vec."}
HEAD_DIM = 64  # of every published RoBERTa and Speech-BERT
_CROSS = re.compile(
    r"(?:encoder|decoder)\.sentence_encoder\.layers_(ta|at)\.(\d+)\.self_cross_attn\.((?:q|k|v|out)_proj\..+)"
)
_MODEL_OPTIONS = (
    "encoder_layers_cross",
    "encoder_attention_heads",
    "dropout",
    "attention_dropout",
    "pooler_dropout",
)
_TASK_OPTIONS = (
    "num_classes",
    "regression_target",
    "regression_target_mos",
    "binary_target_iemocap",
    "softmax_target_meld",
    "softmax_target_binary_meld",
    "eval_metric",
)


@dataclasses.dataclass(frozen=True)
class Upstream:
    """A checkpoint of the original: options for our model and our task, and the weights in our model's names."""

    model: dict[str, Any]
    task: dict[str, Any]
    state: dict[str, Tensor]


def refuse_original(checkpoint: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Raise `EmofairError` with the way on when a checkpoint was written by the original code."""
    weights = checkpoint.get("model")
    if isinstance(weights, Mapping) and any(str(key).startswith(tuple(BRANCHES.values())) for key in weights):
        raise EmofairError(
            "a checkpoint of the original robertaEMO code",
            file=path,
            remedy=f"Rewrite it first: emofair convert {path} --to fairseq --out FILE",
        )


def refuse_original_file(path: str | PathLike[str]) -> None:
    """The same for a file; one that cannot be read is left to others."""
    try:
        checkpoint = safe.load(path)
    except EmofairError:
        return
    refuse_original(checkpoint, path)


def read_upstream(
    path: str | PathLike[str],
    *,
    text_heads: int | None = None,
    speech_heads: int | None = None,
    trust: bool | None = None,
) -> Upstream:
    """Read a checkpoint of the original with everything that is needed to use it without the pretrained files.

    The original does not store the shape of its encoders. It follows from the weights but for the attention heads:
    ``text_heads`` and ``speech_heads``, or one per 64 channels as in all published models; ``trust`` as for
    `safe.load`. Raises `EmofairError` for a file of another model, and for a width that 64 does not divide unless the
    heads are given.
    """
    checkpoint = safe.load(path, trust=trust)
    weights, options = model_state(checkpoint, path), model_arguments(checkpoint, path)
    state: dict[str, Tensor] = {}
    model: dict[str, Any] = {name: options[name] for name in _MODEL_OPTIONS if options.get(name) is not None}
    heads = {"text": text_heads, "speech": speech_heads}
    widths = {}
    for name in _modalities(options, weights, path):
        encoder = encoder_state(weights, BRANCHES[name])
        spec = _spec(name, encoder, heads[name], path)
        widths[name] = spec.embed_dim
        model[f"{name}_ssl_json"] = spec.to_json()
        state.update({f"{name}_encoder.{key}": value for key, value in encoder.items()})
    model["t_only"], model["a_only"] = "text" in widths, "speech" in widths
    cross = {f"cross_attention.{m[1]}.{m[2]}.attn.{m[3]}": weights[k] for k in weights if (m := _CROSS.fullmatch(k))}
    model["stack_up"] = bool(options.get("stack_up")) and _trained(cross)
    if model["stack_up"]:
        state.update(cross)
    elif cross:
        logger.warning("%s: its cross-attention was never trained, its head reads the plain <s> vectors", path)
    state.update(_heads(weights, sum(widths.values()), path))
    return Upstream(model, {name: options[name] for name in _TASK_OPTIONS if name in options}, state)


def _modalities(options: Mapping[str, Any], weights: Mapping[str, Tensor], path: str | PathLike[str]) -> list[str]:
    present = [name for name, prefix in BRANCHES.items() if any(key.startswith(prefix) for key in weights)]
    if not present:
        raise EmofairError(
            "is not a checkpoint of the original robertaEMO: neither of its encoders is in it", file=path
        )
    if options.get("all_in"):
        return present
    chosen = {"text": options.get("t_only"), "speech": options.get("a_only")}
    return [name for name in present if chosen[name]] or present


def _spec(name: str, state: Mapping[str, Tensor], heads: int | None, path: str | PathLike[str]) -> RobertaSpec:
    table = state.get("sentence_encoder.embed_tokens.weight")
    width = 0 if table is None else table.shape[1]
    if heads is None and width % HEAD_DIM:
        raise EmofairError(
            f"does not tell the heads of its {name} encoder, and {HEAD_DIM} does not divide the width {width}",
            file=path,
            remedy=f"Give them (--{name}-heads)",
        )
    spec = read_spec(state, {"encoder_attention_heads": heads or width // HEAD_DIM}, path)
    check_fit(spec, state, path)
    return spec


def _trained(cross: Mapping[str, Tensor]) -> bool:
    """Whether the head read the cross-attention: in some versions of the original it did not, so nothing trained it.

    All biases start at exactly 0, and training moves them unless they never get a gradient.
    """
    return any(bool(value.any()) for name, value in cross.items() if name.endswith(".bias"))


def _heads(weights: Mapping[str, Tensor], width: int, path: str | PathLike[str]) -> dict[str, Tensor]:
    heads = {
        name: value for name, value in weights.items() if re.match(r"classification_heads\.[^.]+\.out_proj\.", name)
    }
    for name, value in heads.items():
        if name.endswith("weight") and value.shape[1] != width:
            raise EmofairError(
                f"its output layer reads {value.shape[1]} values, but its encoders give {width}", file=path
            )
    return heads
