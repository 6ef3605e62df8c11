"""A real-valued score: errors, correlations, and the accuracies that sentiment papers derive from it.

The definitions are those of the CMU-MOSI and CMU-MOSEI literature (Zadeh et al., ACL 2018; Tsai et al., "Multimodal
Transformer for Unaligned Multimodal Language Sequences", ACL 2019; Hazarika et al., "MISA", 2020, for the has-zero and
non-zero forms of the two-class figures). CCC is Lin's concordance correlation coefficient (Biometrics, 1989).

The sums are one vector: `MOMENTS`, the 2 x 2 matrix of the sign over items whose score is not 0, the 2 x 2 matrix of
">= 0" over all items, then either the k x k matrix of the scores rounded to the classes (half to even), or, without
classes, the number of items whose rounded scores agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from emofair.metrics import classification
from emofair.metrics.classification import Figure, as_array, confusion_matrix, ratio

MOMENTS = ("n", "abs_error", "sq_error", "x", "y", "xx", "yy", "xy")
SENTIMENT_CLASSES = ("-3", "-2", "-1", "0", "1", "2", "3")

# Variances below this share of the mean square are rounding noise of a constant, not variation.
CONSTANT = 1e-12


def score_sums(predicted: Tensor, actual: Tensor, names: Sequence[str] = ()) -> Tensor:
    """Sum what the figures need over one batch.

    ``predicted`` and ``actual`` are float ``[N]``; ``names`` are consecutive integers to which both are clamped and
    rounded, or empty. Returns float64 ``[16 + len(names) ** 2]`` or ``[17]``.
    """
    x, y = predicted.reshape(-1).double(), actual.reshape(-1).double()
    error = x - y
    moments = torch.stack([torch.ones_like(x), error.abs(), error**2, x, y, x * x, y * y, x * y], dim=1).sum(dim=0)
    # Class 2 stands for "left out": it has no cell in a 2 x 2 matrix.
    polar = confusion_matrix((x > 0).long(), torch.where(y == 0, 2, (y > 0).long()), 2)
    has_zero = confusion_matrix((x >= 0).long(), (y >= 0).long(), 2)
    if names:
        low, high = float(names[0]), float(names[-1])
        # Clamping to whole numbers commutes with rounding, so one matrix also gives the coarser class sets.
        x_class, y_class = ((v.clamp(low, high).round() - low).long() for v in (x, y))
        classes = confusion_matrix(x_class, y_class, len(names)).reshape(-1)
    else:
        classes = (x.round() == y.round()).double().sum().reshape(1)
    return torch.cat([moments, polar.reshape(-1), has_zero.reshape(-1), classes])


def mae(sums: Tensor | np.ndarray) -> float:
    """Mean absolute error."""
    m = _moments(sums)
    return ratio(m["abs_error"], m["n"])


def mse(sums: Tensor | np.ndarray) -> float:
    """Mean squared error."""
    m = _moments(sums)
    return ratio(m["sq_error"], m["n"])


def pearson(sums: Tensor | np.ndarray) -> float:
    """Pearson's correlation; 0 where either side is constant."""
    variance_x, variance_y, covariance = _second_moments(sums)
    if variance_x == 0 or variance_y == 0:
        return 0.0
    return float(np.clip(covariance / np.sqrt(variance_x * variance_y), -1.0, 1.0))


def concordance(sums: Tensor | np.ndarray) -> float:
    """Lin's concordance correlation coefficient (population moments); 0 where both sides are constant."""
    m = _moments(sums)
    variance_x, variance_y, covariance = _second_moments(sums)
    if variance_x == 0 or variance_y == 0:
        return 0.0
    shift = (m["x"] - m["y"]) / m["n"]
    return ratio(2 * covariance, variance_x + variance_y + shift**2)


def figures(names: Sequence[str] = ()) -> Mapping[str, Figure]:
    """All figures of a score.

    ``mae``, ``mse``, ``corr``, ``ccc``; ``accuracy`` of the rounded score, clamped to ``names`` first if there are any;
    for the seven sentiment classes also ``accuracy5`` (clamped to -2 .. 2); ``binary-accuracy`` = ``ba-accuracy`` and
    weighted ``f1`` of the sign where the true score is not 0; ``binary-accuracy-has0`` and ``f1_has0`` of ">= 0" over
    all items. An accuracy over no item is 0.
    """
    result: dict[str, Figure] = {"mae": mae, "mse": mse, "corr": pearson, "ccc": concordance}
    if names:
        result["accuracy"] = partial(_rounded_accuracy, k=len(names))
        if tuple(names) == SENTIMENT_CLASSES:
            result["accuracy5"] = _accuracy5
    else:
        result["accuracy"] = _unclamped_accuracy
    result["binary-accuracy"] = result["ba-accuracy"] = partial(_two_way, row=0, measure=classification.accuracy)
    result["f1"] = partial(_two_way, row=0, measure=classification.weighted_f1)
    result["binary-accuracy-has0"] = partial(_two_way, row=1, measure=classification.accuracy)
    result["f1_has0"] = partial(_two_way, row=1, measure=classification.weighted_f1)
    return result


def confusion(sums: Tensor | np.ndarray, names: Sequence[str] = ()) -> np.ndarray | None:
    """The confusion matrix ``[k, k]`` of the rounded scores; None without classes."""
    return _class_matrix(sums, len(names)) if names else None


def constant_guess(target: Tensor, names: Sequence[str] = ()) -> tuple[str, Tensor]:
    """The median of ``target`` ``[N]``, and the sums of a system that always says it (the constant of lowest MAE)."""
    median = target.double().median()
    return f"{float(median):g}", score_sums(median.expand_as(target), target, names)


def report(sums: Tensor | np.ndarray, names: Sequence[str] = ()) -> str:
    """Tables of the two-class forms and, with ``names``, of the rounded classes, as text."""
    polar, has_zero = (_two_way(sums, row, measure=np.array) for row in (0, 1))
    tables = [classification.report(polar, ("< 0", "> 0")), classification.report(has_zero, ("< 0", ">= 0"))]
    if names:
        tables.append(classification.report(_class_matrix(sums, len(names)), names))
    return "\n\n".join(tables)


def _moments(sums: Tensor | np.ndarray) -> dict[str, float]:
    return dict(zip(MOMENTS, as_array(sums)[: len(MOMENTS)].tolist(), strict=True))


def _second_moments(sums: Tensor | np.ndarray) -> tuple[float, float, float]:
    """Population variances of both sides and their covariance; a variance within rounding noise is exactly 0."""
    m = _moments(sums)
    if not m["n"]:
        return 0.0, 0.0, 0.0

    def central(product: str, first: str, second: str) -> float:
        return (m[product] - m[first] * m[second] / m["n"]) / m["n"]

    variances = [central("xx", "x", "x"), central("yy", "y", "y")]
    floors = [CONSTANT * m["xx"] / m["n"], CONSTANT * m["yy"] / m["n"]]
    x, y = (0.0 if v <= floor else v for v, floor in zip(variances, floors, strict=True))
    return x, y, central("xy", "x", "y")


def _two_way(sums: Tensor | np.ndarray, row: int, measure: Figure) -> float:
    start = len(MOMENTS) + 4 * row
    return measure(as_array(sums)[start : start + 4].reshape(2, 2))


def _class_matrix(sums: Tensor | np.ndarray, k: int) -> np.ndarray:
    return as_array(sums)[len(MOMENTS) + 8 :].reshape(k, k)


def _rounded_accuracy(sums: Tensor | np.ndarray, k: int) -> float:
    return classification.accuracy(_class_matrix(sums, k))


def _accuracy5(sums: Tensor | np.ndarray) -> float:
    five = np.array([0, 0, 1, 2, 3, 4, 4])
    fold = np.eye(5)[five]
    return classification.accuracy(fold.T @ _class_matrix(sums, 7) @ fold)


def _unclamped_accuracy(sums: Tensor | np.ndarray) -> float:
    values = as_array(sums)
    return ratio(values[len(MOMENTS) + 8], values[0])
