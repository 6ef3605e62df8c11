"""The runs of a group laid out by seed and fold, and their confusion matrices."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from emofair.reports.groups import Group, fold_of
from emofair.reports.runs import Run


@dataclass(frozen=True)
class Grid:
    """Seeds that have one run in every fold, with a confusion matrix each; ``runs[seed][fold]`` in that order.

    ``left_out`` says of every other seed what it lacks. A seed or fold that no run names is None.
    """

    seeds: tuple[int | str | None, ...]
    folds: tuple[str | None, ...]
    runs: tuple[tuple[Run, ...], ...]
    classes: tuple[str, ...]
    left_out: tuple[str, ...]

    def counts(self) -> np.ndarray:
        """Confusion matrices ``[seeds, folds, k, k]``."""
        k = len(self.classes)
        matrices = [[run.get("confusion") for run in row] for row in self.runs]
        return np.asarray(matrices, dtype=float).reshape(len(self.seeds), len(self.folds), k, k)

    def pooled(self) -> np.ndarray:
        """One confusion matrix per seed, summed over its folds: ``[seeds, k, k]``."""
        return self.counts().sum(axis=1)

    def overlap(self) -> str | None:
        """Which folds test the same items, in words; None where they do not, as far as hashes are known.

        A sum over such folds would count an utterance twice.
        """
        by_hash: dict[str, set] = defaultdict(set)
        for row in self.runs:
            for fold, run in zip(self.folds, row, strict=True):
                if run.get("data_sha256") is not None:
                    by_hash[run.get("data_sha256")].add(fold)
        same = next((folds for folds in by_hash.values() if len(folds) > 1), None)
        return None if same is None else f"folds {' '.join(map(named, in_order(same)))} test the same items"


def is_classified(group: Group) -> bool:
    """Whether the group chose one class of several, so that a confusion matrix says everything about it."""
    return group.get("confusion_classes") is not None and "mae" not in group.figures()


def by_fold(group: Group) -> dict[str | None, list[Run]]:
    """All runs of each fold, folds in their natural order."""
    collected: dict[str | None, list[Run]] = defaultdict(list)
    for run in group.runs:
        collected[fold_of(run)].append(run)
    return {fold: collected[fold] for fold in in_order(collected)}


def arrange(group: Group) -> Grid:
    """Lay out the runs of a group; seeds that are not complete are left out and named."""
    cells: dict[tuple, list[Run]] = defaultdict(list)
    for run in group.runs:
        cells[run.get("seed"), fold_of(run)].append(run)
    folds = in_order({fold for _, fold in cells})
    complete, left_out = [], []
    for seed in in_order({seed for seed, _ in cells}):
        faults = [fault for fold in folds if (fault := _fault(cells.get((seed, fold), []), fold))]
        if faults:
            left_out.append(f"seed {named(seed)} has {', '.join(faults)}")
        else:
            complete.append(seed)
    rows = tuple(tuple(cells[seed, fold][0] for fold in folds) for seed in complete)
    classes = tuple(group.get("confusion_classes") or ())
    return Grid(tuple(complete), tuple(folds), rows, classes, tuple(left_out))


def absent_classes(matrix: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Classes without an item in a confusion matrix ``[k, k]``."""
    return [name for name, count in zip(classes, np.asarray(matrix).sum(axis=1), strict=True) if not count]


def constant_answer(matrix: np.ndarray) -> tuple[int, np.ndarray]:
    """The most frequent true class of a confusion matrix ``[k, k]``, and the matrix of a system that always says it."""
    support = np.asarray(matrix).sum(axis=1)
    best = int(support.argmax())
    constant = np.zeros_like(np.asarray(matrix, dtype=float))
    constant[:, best] = support
    return best, constant


def in_order(names: Iterable[int | str | None]) -> list[int | str | None]:
    """Seeds or folds by the numbers in them (2 before 10), None first."""
    return sorted(names, key=lambda name: [] if name is None else _parts(str(name)))


def named(name: int | str | None) -> str:
    """A seed or fold in a table."""
    return "–" if name is None else str(name)


def _parts(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text) if part]


def _fault(runs: Sequence[Run], fold: str | None) -> str | None:
    where = "" if fold is None else f" of fold {fold}"
    if len(runs) != 1:
        return f"{len(runs) or 'no'} run{'s' if len(runs) > 1 else ''}{where}"
    return None if runs[0].get("confusion") is not None else f"no confusion matrix{where}"
