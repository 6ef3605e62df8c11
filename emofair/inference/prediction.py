"""What every predictor takes and gives: recordings as files or samples in, labels with probabilities out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from emofair.data.audio import SAMPLE_RATE, audio_info, read_audio
from emofair.errors import EmofairError
from emofair.inference.predictions import decode

if TYPE_CHECKING:
    from emofair.data.labels import TargetMode

Wave = str | os.PathLike[str] | np.ndarray | torch.Tensor
"""A file, or samples [n] at 16 kHz."""

REMEDY = f"Give a file, or an array or tensor [n] at {SAMPLE_RATE} Hz of floats or int16"
# Silence and full scale of the integer types that wav files come in.
PCM = {"uint8": (128, 2**7), "int16": (0, 2**15), "int32": (0, 2**31)}


@dataclass(frozen=True)
class Prediction:
    """What the model says of one utterance.

    For classes: ``label`` is the most likely one and ``scores`` holds the probability of each by name (of being present
    where every emotion is judged on its own). For a score: ``value``, with ``label`` its text and no ``scores``.
    """

    label: str
    scores: dict[str, float]
    value: float | None = None


def waveform(samples: np.ndarray | torch.Tensor) -> np.ndarray:
    """Samples [n] at 16 kHz as float32 within [-1, 1].

    Floats are taken as they are; PCM as int16, int32 or (around 128) uint8 is scaled. Raises `EmofairError` for
    anything else.
    """
    if isinstance(samples, torch.Tensor):
        samples = samples.detach().cpu()
        samples = (samples.float() if samples.is_floating_point() else samples).numpy()
    if not isinstance(samples, np.ndarray):
        raise EmofairError(f"a {type(samples).__name__} is no recording", remedy=REMEDY)
    if samples.dtype.name not in PCM and not np.issubdtype(samples.dtype, np.floating):
        raise EmofairError(f"samples of the type {samples.dtype} have no known scale", remedy=REMEDY)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise EmofairError(f"samples of shape {list(samples.shape)} are not one finite mono waveform", remedy=REMEDY)
    audio = samples.astype(np.float32, copy=False)
    if samples.dtype.name in PCM:
        silence, full_scale = PCM[samples.dtype.name]
        audio = (audio - silence) / full_scale
    return audio


def samples_of(wav: Wave | None) -> np.ndarray:
    """Samples [n] at 16 kHz of a file (resampled and mixed to mono when need be) or of what `waveform` takes."""
    if wav is None:
        raise EmofairError("this model listens to speech", remedy="Give a wav file")
    return read_audio(wav, resample=True) if isinstance(wav, (str, os.PathLike)) else waveform(wav)


def resampling(files: Iterable[str | os.PathLike[str]]) -> str | None:
    """What is to be noted about files that `samples_of` resamples; None where it resamples none of them."""
    rates = {os.fspath(file): audio_info(file).sample_rate for file in files}
    others = [file for file, rate in rates.items() if rate != SAMPLE_RATE]
    if not others:
        return None
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    found = ", ".join(map(str, sorted({rates[file] for file in others})))
    return f"{others[0]}{more}: resampled from {found} to {SAMPLE_RATE} Hz"


def predictions(mode: TargetMode, logits: torch.Tensor) -> list[Prediction]:
    """One prediction per row of logits [N, num_outputs]."""
    return [_prediction(mode, row) for row in decode(mode, logits).tolist()]


def _prediction(mode: TargetMode, values: list[float]) -> Prediction:
    if not mode.classes:
        return Prediction(f"{values[0]:.3f}", {}, values[0])
    best = max(range(len(values)), key=values.__getitem__)
    return Prediction(mode.classes[best], dict(zip(mode.classes, values, strict=True)))


def count(lists: Mapping[str, Sequence]) -> int:
    """Length of parallel lists."""
    lengths = {len(each) for each in lists.values()}
    if len(lengths) > 1:
        told = " and ".join(f"{len(each)} {name}" for name, each in lists.items())
        raise EmofairError(f"{told} are not parallel lists", remedy="Give one per utterance, None where there is none")
    return lengths.pop()
