"""Checkpoints of PyTorch Lightning with an encoder under transformers' names.

They are those of the original FT-w2v2-ser code, of pseudo-label pre-training, of continued pre-training and of
fine-tuning (wav2vec 2.0), and of FLEA's pre-training (HuBERT).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from emofair.checkpoints import flea, huggingface
from emofair.checkpoints.fairseq_speech import refuse_foreign
from emofair.checkpoints.loaded_speech import LoadedSpeech, add_mask_embedding, split_pretraining
from emofair.checkpoints.speech_shapes import spec_of_weights
from emofair.errors import EmofairError

logger = logging.getLogger(__name__)

_ANCHOR = "feature_projection.layer_norm.weight"
# Where continued pre-training keeps the whole model; the encoder in it has a second, shorter name.
_WHOLE = "wav2vec2PT."


def read(checkpoint: Mapping[str, Any], path: str | PathLike[str], attention_heads: int | None = None) -> LoadedSpeech:
    """The speech encoder in a Lightning checkpoint under transformers' names; its shape follows from its weights."""
    weights = {n: v for n, v in checkpoint["state_dict"].items() if isinstance(v, Tensor)}
    prefixes = [name.removesuffix(_ANCHOR) for name in weights if name.endswith(_ANCHOR)]
    if not prefixes:
        refuse_foreign(weights, path)
        raise EmofairError("holds no wav2vec 2.0 or HuBERT under transformers' names", file=path)
    prefix = min(prefixes, key=len)
    state = under(weights, prefix)
    whole = next((name[: name.index(_WHOLE) + len(_WHOLE)] for name in weights if _WHOLE in name), None)
    pretraining = {} if whole is None else split_pretraining(under(weights, whole))[1]
    add_mask_embedding(state)
    of_flea, symbols = flea.pretraining_of(weights, path)
    used = sum(flea.OF_PRETRAINING in name or name.startswith((prefix, whole or prefix)) for name in weights)
    if used < len(weights):
        logger.warning("%s: its encoder is used, its %d other weights are not", path, len(weights) - used)
    spec = spec_of_weights(state, path, "hubert" if of_flea else "wav2vec2", attention_heads)
    source = "FLEA" if of_flea else "FT-w2v2-ser"
    return LoadedSpeech(spec, state, Path(path), source, pretraining | of_flea, symbols=symbols)


def under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with ``prefix``, under our names; without those of FLEA's pre-training."""
    inside = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix) and flea.OF_PRETRAINING not in name
    }
    mode = "layer_norm" if huggingface.has_layer_norms(inside) else "default"
    names = huggingface.to_ours(inside, mode)
    return {names.get(name, name): value for name, value in inside.items()}
