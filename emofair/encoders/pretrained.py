"""From a model's options to its speech encoder: the shape from a checkpoint, a named size, or what a training stored.

A configuration that uses it has ``w2v_path``, ``ssl_random`` and ``encoder_ssl_json`` (the shape as JSON, written by
the training, so that a fine-tuned checkpoint needs no file beside it), and may have `OVERRIDES`.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, open_dict

from emofair import compat
from emofair.encoders.speech import SpeechEncoder
from emofair.encoders.speech_spec import SpeechSpec
from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.checkpoints.speech import LoadedSpeech

logger = logging.getLogger(__name__)

# What a fine-tuning may change of a pretrained encoder: option of the model → field of its spec.
OVERRIDES = {
    "encoder_dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "dropout_input": "dropout_input",
    "layerdrop": "layerdrop",
}
_NARROW = {
    "embed_dim": 48,
    "ffn_dim": 96,
    "layers": 2,
    "heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "conv_layers": ((32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2),
}
RANDOM_SIZES: dict[str, dict[str, object]] = {
    "tiny": _NARROW,
    "small": {
        "embed_dim": 192,
        "ffn_dim": 768,
        "layers": 4,
        "heads": 4,
        "conv_pos": 32,
        "conv_layers": ((32, 10, 5), (48, 3, 2), (64, 3, 2), (96, 3, 2), (128, 3, 2), *[(192, 2, 2)] * 2),
    },
    "base": {},
    "large": {
        "embed_dim": 1024,
        "ffn_dim": 4096,
        "layers": 24,
        "heads": 16,
        "extractor_mode": "layer_norm",
        "conv_bias": True,
        "layer_norm_first": True,
        "normalize": True,
    },
}

# By path, between reading an encoder's shape and copying its weights: a large model is not read from disk twice.
_opened: dict[Path, LoadedSpeech] = {}


def describe(cfg: DictConfig, kind: str = "wav2vec2") -> SpeechSpec:
    """The shape of the encoder that ``cfg`` asks for; written into ``cfg.encoder_ssl_json``.

    ``kind`` is that of an encoder of random weights (``ssl_random``). Raises `EmofairError` when neither a checkpoint
    nor a size is given.
    """
    if cfg.get("encoder_ssl_json") is None:
        spec = dataclasses.replace(_source(cfg, kind), **_overrides(cfg))
        with open_dict(cfg):
            cfg.encoder_ssl_json = spec.to_json()
    return SpeechSpec.from_json(cfg.encoder_ssl_json)


def fill(encoder: SpeechEncoder, cfg: DictConfig) -> None:
    """Copy the pretrained weights into an encoder; one of random weights is left as it is."""
    if cfg.ssl_random is not None:
        logger.info("the encoder of size %r starts from random weights", cfg.ssl_random)
        return
    path = _path(cfg)
    loaded = _opened.pop(path, None) or _load(path)
    encoder.load_state_dict(loaded.state)
    logger.info("encoder: %s (%s)", path, loaded.source)


def _source(cfg: DictConfig, kind: str) -> SpeechSpec:
    if cfg.ssl_random is not None:
        if cfg.w2v_path is not None:
            raise EmofairError("--w2v-path and --ssl-random exclude each other", remedy="Give one of them")
        if cfg.ssl_random not in RANDOM_SIZES:
            raise EmofairError(
                f"--ssl-random {cfg.ssl_random}: unknown size", remedy=f"Choose one of {', '.join(RANDOM_SIZES)}"
            )
        return SpeechSpec(kind=kind, **RANDOM_SIZES[cfg.ssl_random])
    _opened.clear()  # what a job that failed left behind
    path = _path(cfg)
    _opened[path] = _load(path)
    return _opened[path].spec


def _path(cfg: DictConfig) -> Path:
    if cfg.w2v_path is None:
        raise EmofairError(
            "no pretrained encoder is given",
            remedy="Add --w2v-path FILE (wav2vec 2.0, HuBERT or WavLM), or --ssl-random tiny for a random one",
        )
    return Path(compat.original_path(cfg.w2v_path))


def _load(path: Path) -> LoadedSpeech:
    from emofair.checkpoints.speech import load_speech_encoder

    return load_speech_encoder(path)


def _overrides(cfg: DictConfig) -> dict[str, float]:
    return {field: cfg[option] for option, field in OVERRIDES.items() if cfg.get(option) is not None}
