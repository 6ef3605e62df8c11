"""How many frames of a recording are classified as the recording is. Sums are ``[right, all]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from emofair.metrics.classification import Figure, as_array, ratio


def figures(names: Sequence[str]) -> Mapping[str, Figure]:
    """``frame_accuracy``."""
    return {"frame_accuracy": _accuracy}


def report(sums: Tensor | np.ndarray, names: Sequence[str]) -> str:
    """One line."""
    return f"frame accuracy {_accuracy(sums):.4f}"


def confusion(sums: Tensor | np.ndarray, names: Sequence[str]) -> None:
    """There is none."""


def _accuracy(sums: Tensor | np.ndarray) -> float:
    right, every = as_array(sums)
    return ratio(right, every)
