"""Weights of torchaudio's wav2vec 2.0, HuBERT and WavLM, whose names are close to those of transformers."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from torch import Tensor

from emofair.checkpoints import huggingface
from emofair.checkpoints.loaded_speech import LoadedSpeech, add_mask_embedding, listing
from emofair.checkpoints.speech_shapes import spec_of_weights

logger = logging.getLogger(__name__)

PREFIX = "encoder.transformer."
# The output layer of models that were fine-tuned for speech recognition.
_HEAD = "aux."
_PACKED = re.compile(r"(.+\.attention)\.attention\.in_proj_(weight|bias)")


def read(
    weights: Mapping[str, Tensor], path: str | PathLike[str], kind: str, attention_heads: int | None = None
) -> LoadedSpeech:
    """The speech encoder with these weights; its shape follows from them, and ``kind`` where they do not tell it."""
    if head := [name for name in weights if name.startswith(_HEAD)]:
        logger.warning("%s: its output layer is left out: %s", path, listing(head))
    theirs = to_transformers({name: value for name, value in weights.items() if name not in head})
    mode = "layer_norm" if huggingface.has_layer_norms(theirs) else "default"
    names = huggingface.to_ours(theirs, mode)
    state = {names.get(name, name): value for name, value in theirs.items()}
    add_mask_embedding(state)
    spec = spec_of_weights(state, path, kind, attention_heads)
    return LoadedSpeech(spec, state, Path(path), f"torchaudio {spec.kind}")


def to_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under transformers' names; WavLM's packed query, key and value projections come apart."""
    result = {}
    for name, value in weights.items():
        name = re.sub(r"^encoder\.transformer\.", "encoder.", name)
        name = re.sub(r"^encoder\.feature_projection\.", "feature_projection.", name)
        if (packed := _PACKED.fullmatch(name)) and value.dim() and value.shape[0] % 3 == 0:
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                result[f"{packed[1]}.{part}_proj.{packed[2]}"] = piece.clone()
        else:
            result[name.replace(".attention.attention.out_proj.", ".attention.out_proj.")] = value
    return result
