"""How well units of masked frames are predicted, at several granularities.

Sums are ``[n + 2]``: right answers per granularity, predicted frames, all valid frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from emofair.metrics.classification import Figure, as_array, ratio


def figures(names: Sequence[str]) -> Mapping[str, Figure]:
    """``accuracy_<name>`` for every granularity, their mean ``accuracy``, and ``masked``, the share of frames."""
    each = {f"accuracy_{name}": partial(_accuracy_of, index=i) for i, name in enumerate(names)}
    return {"accuracy": _mean_accuracy, **each, "masked": _masked}


def report(sums: Tensor | np.ndarray, names: Sequence[str]) -> str:
    """One line per granularity."""
    return "\n".join(f"{name} clusters: accuracy {_accuracy_of(sums, i):.4f}" for i, name in enumerate(names))


def confusion(sums: Tensor | np.ndarray, names: Sequence[str]) -> None:
    """There is none."""


def _accuracy_of(sums: Tensor | np.ndarray, index: int) -> float:
    s = as_array(sums)
    return ratio(s[index], s[-2])


def _mean_accuracy(sums: Tensor | np.ndarray) -> float:
    s = as_array(sums)
    return ratio(s[:-2].mean(), s[-2])


def _masked(sums: Tensor | np.ndarray) -> float:
    s = as_array(sums)
    return ratio(s[-2], s[-1])
