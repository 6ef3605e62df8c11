"""What frozen convolutions make of a list of clips, kept on disk: computed once, then read in place of the audio.

A cache is a feature dump (`emofair.units.feature_store`) of whole clips in a folder of its own, whose name says what it
was made from: the weights of the convolutions, whether clips are normalised, the precision, and of every clip its id,
length, cut, and the size and time of its file. Whatever changes, another folder is filled; the old ones may be deleted.
A killed fill goes on where it stopped. One process fills while the others wait.

How near training from a cache is to training from audio:

- a whole clip gets the same but for rounding (float16: 1 part in 2,000), in any batch;
- a crop is a crop of the whole clip's frames and so begins where a frame does (every 20 ms). With layer norm (the large
  models) these are the frames of the cropped audio; with group norm (the base models) the mean and variance over time
  of the first layer are then those of the whole clip, which is what evaluation sees, and not those of the crop;
- masks, dropout and the trained projection come behind the convolutions, and are drawn anew in every epoch as ever.
  Anything random in front of them would be the same in every epoch; there is none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from emofair.data.clip_audio import audio_fingerprint
from emofair.data.file_lock import locked
from emofair.data.manifests import Utterance
from emofair.encoders.speech import SpeechEncoder
from emofair.errors import EmofairError
from emofair.units.extractors import ModelFeatures, weights_hash
from emofair.units.feature_dump import DumpOptions, dump_shard
from emofair.units.feature_store import Features, list_hash, shard_name

logger = logging.getLogger(__name__)

DTYPES = ("float16", "float32")


class ConvFeatures(ModelFeatures):
    """Output of an encoder's convolutions, on the encoder's device."""

    def __init__(self, encoder: SpeechEncoder, *, autocast_bf16: bool = False) -> None:
        spec, front = encoder.spec, encoder.feature_extractor
        super().__init__(front, spec, device=next(front.parameters()).device, autocast_bf16=autocast_bf16)
        self.spec = {name: getattr(spec, name) for name in ("conv_layers", "extractor_mode", "conv_bias")}
        self.source = {
            "features": "convolutions",
            "weights_sha256": weights_hash(self.spec, front),
            "normalize": spec.normalize,
        }
        self.dim = spec.conv_dim

    def compute(self, wav: Tensor, n_samples: Tensor) -> Tensor:
        """Features [B, T, conv_dim]."""
        return self.model(wav, n_samples)


def open_frontend_cache(
    folder: str | os.PathLike[str],
    encoder: SpeechEncoder,
    items: Sequence[Utterance],
    split: str,
    *,
    dtype: str = "float16",
    autocast_bf16: bool = False,
    resample: bool = False,
    batch_seconds: float = 40.0,
) -> Features:
    """The frames of ``items`` from the convolutions of ``encoder``; computed first, on its device, if need be.

    They are computed in batches of ``batch_seconds`` of padded audio.
    Raises EmofairError for clips that cannot be read, and where ``folder`` cannot be written.
    """
    extractor = ConvFeatures(encoder, autocast_bf16=autocast_bf16)
    options = DumpOptions(
        batch_seconds=batch_seconds,
        float16=dtype == "float16",
        resample=resample,
        float16_remedy="give --frontend-cache-dtype float32",
    )
    own = Path(folder) / f"{split}.{_key(extractor, items, dtype, resample)}"
    begin = time.monotonic()
    try:
        own.mkdir(parents=True, exist_ok=True)
        with locked(own / "lock", essential=True):
            dumped = dump_shard(extractor, items, own, split, options=options)
            features = _opened(own, split)
            if features is None:
                dumped = dump_shard(extractor, items, own, split, options=options)
                features = Features(own, split)
    except OSError as error:
        raise EmofairError(f"the front-end cache cannot be written ({error.strerror or error})", file=own) from None
    gigabytes = features.n_frames * features.dim * np.dtype(dtype).itemsize / 1e9
    logger.info(
        *("front-end cache: %s, %d clips, %.2f GB, %s", own, len(items), gigabytes),
        f"filled in {time.monotonic() - begin:.1f} s" if dumped.made else "was there already",
    )
    return features


def _key(extractor: ConvFeatures, items: Sequence[Utterance], dtype: str, resample: bool) -> str:
    made_of = [extractor.source, dtype, extractor.autocast_bf16, resample, list_hash(items), audio_fingerprint(items)]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def _opened(folder: Path, split: str) -> Features | None:
    """The dump, or None for a damaged one, which is then deleted."""
    try:
        features = Features(folder, split)
        features.clip(0)
    except EmofairError as error:
        logger.warning("%s; the front-end cache is filled again", error)
        for suffix in (".json", ".len", ".npy"):
            (folder / f"{shard_name(split, 0, 1)}{suffix}").unlink(missing_ok=True)
        return None
    return features
