"""One yes/no decision per emotion, as IEMOCAP is scored in the multimodal literature.

Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences" (ACL 2019), Table 4: accuracy and
weighted F1 of neutral, sad, angry and happy, each against the rest.

The sums are one vector of ``4 k + k * k``: for each emotion the 2 x 2 matrix [[true no, false yes], [false no, true
yes]], then the k x k matrix of the emotion with the highest log-odds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from emofair.metrics import classification
from emofair.metrics.classification import Figure, as_array, confusion_matrix


def decision_counts(logits: Tensor, target: Tensor) -> Tensor:
    """Count the decisions of one batch.

    ``logits`` ``[N, k, 2]`` with index 1 = "present"; ``target`` ``[N]`` is the one emotion that is present. A tie
    counts as "absent". Returns float64 ``[4 k + k * k]``.
    """
    k = logits.size(1)
    log_odds = logits[..., 1] - logits[..., 0]
    says_yes = log_odds > 0
    is_true = target.reshape(-1, 1) == torch.arange(k, device=target.device)
    cells = [(~is_true & ~says_yes), (~is_true & says_yes), (is_true & ~says_yes), (is_true & says_yes)]
    per_emotion = torch.stack([cell.sum(dim=0) for cell in cells], dim=1).double()
    return torch.cat([per_emotion.reshape(-1), confusion_matrix(log_odds.argmax(dim=1), target, k).reshape(-1)])


def split(sums: Tensor | np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Take the vector apart: ``[k, 2, 2]`` decisions and the ``[k, k]`` confusion matrix."""
    values = as_array(sums)
    return values[: 4 * k].reshape(k, 2, 2), values[4 * k :].reshape(k, k)


def figures(names: Sequence[str]) -> Mapping[str, Figure]:
    """Figures per emotion, over all decisions, and of the emotion with the highest log-odds.

    ``accuracy_<name>``; ``f1_<name>`` weighted over present and absent; ``f1pos_<name>`` of "present" alone;
    ``accuracy`` over all k N decisions; ``accuracy<k>`` and ``uar<k>`` from the argmax over the k log-odds.
    """
    k = len(names)
    result: dict[str, Figure] = {"accuracy": partial(_of_all, k=k)}
    for i, name in enumerate(names):
        result[f"accuracy_{name}"] = partial(_of_emotion, k=k, index=i, measure=classification.accuracy)
        result[f"f1_{name}"] = partial(_of_emotion, k=k, index=i, measure=classification.weighted_f1)
        result[f"f1pos_{name}"] = partial(_of_emotion, k=k, index=i, measure=_f1_of_present)
    result[f"accuracy{k}"] = partial(_of_argmax, k=k, measure=classification.accuracy)
    result[f"uar{k}"] = partial(_of_argmax, k=k, measure=classification.uar)
    return result


def confusion(sums: Tensor | np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The confusion matrix ``[k, k]`` of the emotion with the highest log-odds."""
    return split(sums, len(names))[1]


def constant_guess(target: Tensor, names: Sequence[str]) -> tuple[str, Tensor]:
    """The most frequent emotion of ``target`` ``[N]``, and the sums of a system that always gives one answer.

    The answer ranks that emotion first; every emotion is "present" only if it is in more than half of the items.
    """
    share = torch.bincount(target, minlength=len(names)).double() / len(target)
    # Odds of a majority vote on each emotion: its share against one half.
    logits = torch.stack([torch.full_like(share, 0.5), share], dim=1)
    return names[int(share.argmax())], decision_counts(logits.expand(len(target), -1, -1), target)


def report(sums: Tensor | np.ndarray, names: Sequence[str]) -> str:
    """A table for each emotion's decision, then one for the most likely emotion, as text."""
    decisions, matrix = split(sums, len(names))
    tables = [classification.report(m, (f"not {name}", name)) for m, name in zip(decisions, names, strict=True)]
    return "\n\n".join([*tables, classification.report(matrix, names)])


def _of_all(sums: Tensor | np.ndarray, k: int) -> float:
    return classification.accuracy(split(sums, k)[0].sum(axis=0))


def _of_emotion(sums: Tensor | np.ndarray, k: int, index: int, measure: Figure) -> float:
    return measure(split(sums, k)[0][index])


def _of_argmax(sums: Tensor | np.ndarray, k: int, measure: Figure) -> float:
    return measure(split(sums, k)[1])


def _f1_of_present(matrix: np.ndarray) -> float:
    return float(classification.f1_scores(matrix)[1])
