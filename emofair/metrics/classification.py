"""One label out of k: accuracy, recall and F1 from a confusion matrix.

A matrix is ``[k, k]`` with the true class in the row and the predicted class in the column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

Figure = Callable[["Tensor | np.ndarray"], float]


def confusion_matrix(predicted: Tensor, actual: Tensor, n_classes: int) -> Tensor:
    """Count every pair of true and predicted class.

    ``predicted`` and ``actual`` are integer tensors of one shape; the result is float64 ``[n_classes, n_classes]`` on
    their device. Neither reads a value back to the host, as `torch.bincount` would.
    """
    classes = torch.arange(n_classes, device=actual.device)
    rows = (actual.reshape(-1, 1) == classes).double()
    columns = (predicted.reshape(-1, 1) == classes).double()
    return rows.T @ columns


def as_array(sums: Tensor | np.ndarray | Sequence) -> np.ndarray:
    """Bring sums to the host as float64, in one transfer."""
    if isinstance(sums, Tensor):
        sums = sums.detach().to("cpu")
    return np.asarray(sums, dtype=np.float64)


def ratio(numerator: float, denominator: float) -> float:
    """Divide; 0 where there is nothing to divide by."""
    return float(numerator) / float(denominator) if denominator else 0.0


def accuracy(matrix: Tensor | np.ndarray) -> float:
    """Share of items whose class is right (weighted accuracy, WA, in the speech-emotion literature)."""
    m = as_array(matrix)
    return ratio(np.trace(m), m.sum())


def recalls(matrix: Tensor | np.ndarray) -> np.ndarray:
    """Recall of each class ``[k]``; NaN for a class that does not occur."""
    m = as_array(matrix)
    with np.errstate(invalid="ignore"):
        return np.diag(m) / m.sum(axis=1)


def precisions(matrix: Tensor | np.ndarray) -> np.ndarray:
    """Precision of each class ``[k]``; 0 for a class that is never predicted."""
    m = as_array(matrix)
    return np.diag(m) / np.maximum(m.sum(axis=0), 1)


def uar(matrix: Tensor | np.ndarray) -> float:
    """Unweighted average recall (UA) over the classes that occur.

    The measure of the INTERSPEECH challenges (Schuller et al., "The INTERSPEECH 2009 Emotion Challenge").
    """
    recall = recalls(matrix)
    present = recall[~np.isnan(recall)]
    return float(present.mean()) if len(present) else 0.0


def f1_scores(matrix: Tensor | np.ndarray) -> np.ndarray:
    """F1 of each class ``[k]``, ``2 TP / (2 TP + FP + FN)``; 0 where the denominator is 0."""
    m = as_array(matrix)
    return 2 * np.diag(m) / np.maximum(m.sum(axis=0) + m.sum(axis=1), 1)


def weighted_f1(matrix: Tensor | np.ndarray) -> float:
    """F1 averaged with the number of true items of each class, as MOSI, MOSEI, MELD and IEMOCAP papers report it."""
    m = as_array(matrix)
    return ratio(f1_scores(m) @ m.sum(axis=1), m.sum())


def macro_f1(matrix: Tensor | np.ndarray) -> float:
    """F1 averaged over the classes that occur among the truths or the predictions."""
    m = as_array(matrix)
    occurs = (m.sum(axis=0) + m.sum(axis=1)) > 0
    return float(f1_scores(m)[occurs].mean()) if occurs.any() else 0.0


def f1_of_means(matrix: Tensor | np.ndarray) -> float:
    """Harmonic mean of the mean precision and of the mean recall (`uar`).

    FT-w2v2-ser (arXiv 2110.06309) logs it as "microF1"; what is usually called that equals the accuracy here. The mean
    precision is over the classes that occur among the truths or the predictions, as in `macro_f1`.
    """
    m = as_array(matrix)
    occurs = (m.sum(axis=0) + m.sum(axis=1)) > 0
    precision = float(precisions(m)[occurs].mean()) if occurs.any() else 0.0
    recall = uar(m)
    return ratio(2 * precision * recall, precision + recall)


def figures(names: Sequence[str]) -> Mapping[str, Figure]:
    """``accuracy``, weighted ``f1``, ``f1_macro``, ``uar``, and ``f1_<label>`` for every class in ``names``."""
    per_class = {f"f1_{name}": partial(_f1_of, index=i) for i, name in enumerate(names)}
    return {"accuracy": accuracy, "f1": weighted_f1, "f1_macro": macro_f1, "uar": uar, **per_class}


def confusion(sums: Tensor | np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The confusion matrix ``[k, k]`` behind the sums: here the sums themselves."""
    return as_array(sums)


def constant_guess(target: Tensor, names: Sequence[str]) -> tuple[str, Tensor]:
    """The most frequent class of ``target`` ``[N]``, and the sums of a system that always says it."""
    best = torch.bincount(target, minlength=len(names)).argmax()
    return names[int(best)], confusion_matrix(best.expand_as(target), target, len(names))


def report(sums: Tensor | np.ndarray, names: Sequence[str]) -> str:
    """Lay out a confusion matrix with precision, recall, F1 and support of every class, as text."""
    matrix = as_array(sums)
    corner = "true \\ predicted"
    width = max(len(corner), *(len(name) for name in names))
    cells = [max(7, len(name)) for name in names]
    head = [corner.ljust(width), *(n.rjust(w) for n, w in zip(names, cells, strict=True))]
    lines = ["  ".join([*head, "precision", " recall", "     f1", "support"])]
    measures = (precisions(matrix), np.nan_to_num(recalls(matrix)), f1_scores(matrix))
    for name, counts, precision, recall, f1 in zip(names, matrix, *measures, strict=True):
        row = [name.ljust(width), *(f"{int(c):>{w}}" for c, w in zip(counts, cells, strict=True))]
        row += [f"{precision:>9.4f}", f"{recall:>7.4f}", f"{f1:>7.4f}", f"{int(counts.sum()):>7}"]
        lines.append("  ".join(row))
    return "\n".join(lines)


def _f1_of(matrix: Tensor | np.ndarray, index: int) -> float:
    return float(f1_scores(matrix)[index])
