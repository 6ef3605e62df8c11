"""What waveform models listen to: which recordings at all, and what part of them in which windows."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emofair.data.audio import SAMPLE_RATE
from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.encoders.spec import ConvSpec
    from emofair.inference.prediction import Wave


def window_options(window_seconds: float | None) -> dict[str, float | None]:
    """The options of the task under which longer clips are judged in such windows, half a window apart.

    None leaves the options as they are stored.
    """
    return {} if window_seconds is None else {"eval_window_seconds": window_seconds, "eval_hop_seconds": None}


def check_window(spec: ConvSpec, window_seconds: float | None) -> None:
    """Raise EmofairError for windows, if there are any, that hold less than two frames of an encoder."""
    shortest = (spec.receptive_field + spec.hop) / SAMPLE_RATE
    if window_seconds is not None and not shortest <= window_seconds < math.inf:
        raise EmofairError(
            f"windows of {window_seconds} s hold less than two frames", remedy=f"Give {shortest} or more"
        )


def judged(options: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """In samples, by the options of the task: how much of a clip is judged, in what windows, and their step.

    None: all of it; no windows.
    """
    names = ("eval_max_seconds", "eval_window_seconds", "eval_hop_seconds")
    limit, window, hop = (None if options[name] is None else round(options[name] * SAMPLE_RATE) for name in names)
    return limit, window, hop or (window and window // 2)


def heard(wav: Wave | None, shortest: int) -> np.ndarray:
    """`samples_of` a recording; EmofairError for one that is silent or has less than ``shortest`` samples, a frame."""
    from emofair.inference.prediction import samples_of

    samples = samples_of(wav)
    file = wav if isinstance(wav, (str, os.PathLike)) else None
    if len(samples) < shortest:
        raise EmofairError(
            f"{len(samples)} samples at {SAMPLE_RATE} Hz are less than one frame ({shortest})", file=file
        )
    if not np.ptp(samples):
        raise EmofairError("the recording is silent: all samples are the same", file=file)
    return samples


def unheard(sample: Mapping[str, Any], shortest: int) -> Sequence[int]:
    """Ids of the items of a batch that `heard` would refuse."""
    given = sample["net_input"]
    rows = [wav[:n].numpy() for wav, n in zip(given["wav"], given["n_samples"].tolist(), strict=True)]
    items = given["item"].tolist() if "item" in given else range(len(rows))
    fine = {item for item, row in zip(items, rows, strict=True) if len(row) >= shortest and np.ptp(row)}
    return [name for item, name in enumerate(sample["id"].tolist()) if item not in fine]
