"""From a model's options to its encoder of waveforms: the shape from a checkpoint, a named size, or what is stored.

A configuration that uses it has ``w2v_path``, ``ssl_random`` and ``encoder_ssl_json`` (the shape as JSON, written by
the training, so that a fine-tuned checkpoint needs no file beside it), and may have `OVERRIDES`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig, open_dict
from torch import Tensor

from emofair import compat
from emofair.encoders.shapes import FillableModule
from emofair.encoders.spec import Spec
from emofair.encoders.speech import SpeechEncoder
from emofair.encoders.speech_spec import SpeechSpec
from emofair.encoders.wav2vec import Wav2Vec
from emofair.encoders.wav2vec_spec import Wav2VecSpec
from emofair.errors import EmofairError

logger = logging.getLogger(__name__)

# What a fine-tuning may change of a pretrained encoder: option of the model → field of its spec.
OVERRIDES = {
    "encoder_dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "dropout_input": "dropout_input",
    "layerdrop": "layerdrop",
}
_NARROW_CONV = ((32, 10, 5), *[(32, 3, 2)] * 4, *[(32, 2, 2)] * 2)
_SMALL_CONV = ((32, 10, 5), (48, 3, 2), (64, 3, 2), (96, 3, 2), (128, 3, 2), *[(192, 2, 2)] * 2)
SPEECH_SIZES = {
    "tiny": SpeechSpec(
        embed_dim=48, ffn_dim=96, layers=2, heads=4, conv_pos=16, conv_pos_groups=4, conv_layers=_NARROW_CONV
    ),
    "small": SpeechSpec(embed_dim=192, ffn_dim=768, layers=4, heads=4, conv_pos=32, conv_layers=_SMALL_CONV),
    "base": SpeechSpec(),
    "large": SpeechSpec(
        embed_dim=1024,
        ffn_dim=4096,
        layers=24,
        heads=16,
        extractor_mode="layer_norm",
        conv_bias=True,
        layer_norm_first=True,
        normalize=True,
    ),
}
WAV2VEC_SIZES = {
    "tiny": Wav2VecSpec(
        conv_layers=((32, 10, 5), (32, 8, 4), *[(32, 4, 2)] * 3, *[(32, 1, 1)] * 2),
        aggregator_layers=((32, 2, 1), (32, 3, 1)),
    ),
    "large": Wav2VecSpec(),
}


class Loaded(Protocol):
    """What was read from a file: the shape, the weights, and the form of the file in words."""

    spec: Any
    state: dict[str, Tensor]
    source: str


class Pretrained:
    """The encoders of one family: ``sizes`` are the shapes of random ones by name, ``load`` reads files.

    ``files`` is what an error proposes where neither a file nor a size is given.
    """

    def __init__(
        self,
        encoder: type[FillableModule],
        sizes: Mapping[str, Spec],
        load: Callable[[Path], Loaded],
        *,
        files: str,
    ) -> None:
        self.encoder, self.sizes, self.load = encoder, sizes, load
        self.remedy = f"Add --w2v-path {files}, or --ssl-random tiny for a random one"
        # Between reading an encoder's shape and copying its weights: a large model is not read from disk twice.
        self._opened: dict[Path, Loaded] = {}

    def describe(self, cfg: DictConfig, **fields: object) -> Spec:
        """The shape of the encoder that ``cfg`` asks for; written into ``cfg.encoder_ssl_json``.

        ``fields`` are set in the shape of an encoder of random weights. Raises `EmofairError` when neither a
        checkpoint nor a size is given, or both.
        """
        if cfg.get("encoder_ssl_json") is None:
            spec = dataclasses.replace(self._source(cfg, fields), **_overrides(cfg))
            with open_dict(cfg):
                cfg.encoder_ssl_json = spec.to_json()
        return self._spec_class.from_json(cfg.encoder_ssl_json)

    def build(self, cfg: DictConfig, **options: object) -> FillableModule:
        """The encoder of a configuration that `describe` has completed, its weights not yet `fill`ed in."""
        spec = self._spec_class.from_json(cfg.encoder_ssl_json)
        return (self.encoder.unfilled if cfg.ssl_random is None else self.encoder)(spec, **options)

    def fill(self, encoder: FillableModule, cfg: DictConfig) -> None:
        """Copy the pretrained weights into an encoder; one of random weights is left as it is."""
        if cfg.ssl_random is not None:
            logger.info("the encoder of size %r starts from random weights", cfg.ssl_random)
            return
        path = self._path(cfg)
        loaded = self._opened.pop(path, None) or self.load(path)
        encoder.load_state_dict(loaded.state)
        logger.info("encoder: %s (%s)", path, loaded.source)

    @property
    def _spec_class(self) -> type[Spec]:
        return type(next(iter(self.sizes.values())))

    def _source(self, cfg: DictConfig, fields: Mapping[str, object]) -> Spec:
        if cfg.ssl_random is not None:
            if cfg.w2v_path is not None:
                raise EmofairError("--w2v-path and --ssl-random exclude each other", remedy="Give one of them")
            if cfg.ssl_random not in self.sizes:
                raise EmofairError(
                    f"--ssl-random {cfg.ssl_random}: unknown size", remedy=f"Choose one of {', '.join(self.sizes)}"
                )
            return dataclasses.replace(self.sizes[cfg.ssl_random], **fields)
        self._opened.clear()  # what a job that failed left behind
        path = self._path(cfg)
        self._opened[path] = self.load(path)
        return self._opened[path].spec

    def _path(self, cfg: DictConfig) -> Path:
        if cfg.w2v_path is None:
            raise EmofairError("no pretrained encoder is given", remedy=self.remedy)
        return Path(compat.original_path(cfg.w2v_path))


def _load_speech(path: Path) -> Loaded:
    from emofair.checkpoints.speech import load_speech_encoder

    return load_speech_encoder(path)


def _load_wav2vec(path: Path) -> Loaded:
    from emofair.checkpoints.wav2vec import load_wav2vec

    return load_wav2vec(path)


def _overrides(cfg: DictConfig) -> dict[str, float]:
    return {field: cfg[option] for option, field in OVERRIDES.items() if cfg.get(option) is not None}


SPEECH = Pretrained(SpeechEncoder, SPEECH_SIZES, _load_speech, files="FILE (wav2vec 2.0, HuBERT or WavLM)")
WAV2VEC = Pretrained(Wav2Vec, WAV2VEC_SIZES, _load_wav2vec, files="wav2vec_large.pt")
