"""The shape of a speech encoder read off its weights, for files that do not describe it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike

from torch import Tensor

from emofair.encoders.speech_spec import CONV_LAYERS, SpeechSpec
from emofair.errors import EmofairError

# Heads of all published models by the width of their Transformer.
_HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}
_PUBLISHED = {kernel: stride for _, kernel, stride in CONV_LAYERS}


def spec_of_weights(
    state: Mapping[str, Tensor], path: str | PathLike[str], kind: str, attention_heads: int | None = None
) -> SpeechSpec:
    """The spec of an encoder with these weights, under our names.

    What weights do not tell follows the published models: strides belong to kernels; the number of heads to the width
    (``attention_heads`` for another one); convolutions with layer norms to a pre-norm Transformer and normalised audio;
    dropouts are those of wav2vec 2.0 BASE. Raises `EmofairError` where these rules do not reach.
    """
    wavlm = "encoder.layers.0.self_attn.grep_a" in state
    try:
        embed_dim = state["encoder.layer_norm.weight"].shape[0]
        if wavlm:
            attention_heads = state["encoder.layers.0.self_attn.grep_a"].shape[1]
        layer_norms = any(".2.1." in name for name in state if name.startswith("feature_extractor."))
        pos_conv = state["encoder.pos_conv.0.weight_v"]
        return SpeechSpec(
            kind="wavlm" if wavlm else kind,
            conv_layers=_conv_layers(state, path),
            extractor_mode="layer_norm" if layer_norms else "default",
            conv_bias="feature_extractor.conv_layers.0.0.bias" in state,
            embed_dim=embed_dim,
            ffn_dim=state["encoder.layers.0.fc1.weight"].shape[0],
            layers=_count(state, r"encoder\.layers\.(\d+)\."),
            heads=attention_heads or _heads(embed_dim, path),
            layer_norm_first=layer_norms,
            conv_pos=pos_conv.shape[2],
            conv_pos_groups=embed_dim // pos_conv.shape[1],
            normalize=layer_norms,
            **({"num_buckets": _buckets(state)} if wavlm else {}),
        )
    except EmofairError as error:
        raise EmofairError(error.what, file=path, remedy=error.remedy) from None
    except KeyError as missing:
        raise EmofairError(f"is not a speech encoder: it lacks the weight {missing.args[0]}", file=path) from None
    except (IndexError, ValueError, ZeroDivisionError):
        raise EmofairError("has weights of the wrong number of dimensions for a speech encoder", file=path) from None


def _conv_layers(state: Mapping[str, Tensor], path: str | PathLike[str]) -> tuple[tuple[int, int, int], ...]:
    layers = []
    for index in range(_count(state, r"feature_extractor\.conv_layers\.(\d+)\.")):
        width, _, kernel = state[f"feature_extractor.conv_layers.{index}.0.weight"].shape
        if kernel not in _PUBLISHED:
            raise EmofairError(
                f"does not tell the strides of its convolutions, and no published model has one of kernel {kernel}",
                file=path,
            )
        layers.append((width, kernel, _PUBLISHED[kernel]))
    return tuple(layers)


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})


def _heads(width: int, path: str | PathLike[str]) -> int:
    if width not in _HEADS:
        raise EmofairError(
            f"does not tell the number of its attention heads, and no published model is {width} wide",
            file=path,
            remedy="Give it (--speech-heads)",
        )
    return _HEADS[width]


def _buckets(state: Mapping[str, Tensor]) -> int:
    return state["encoder.layers.0.self_attn.relative_attention_bias.weight"].shape[0]
