"""Tables of cross-validation: figures pooled over the folds of a seed, and figures of every fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emofair.metrics import classification
from emofair.reports import columns
from emofair.reports.document import Block, Items, Table, Text
from emofair.reports.folds import absent_classes, arrange, by_fold, constant_answer, in_order, is_classified, named
from emofair.reports.groups import Group

# Heading, the figure's name in metrics.json, and how it follows from a confusion matrix.
FIGURES = (
    ("WA", "accuracy", classification.accuracy),
    ("UA", "uar", classification.uar),
    ("macro F1", "f1_macro", classification.macro_f1),
)
HEADINGS = [heading for heading, _, _ in FIGURES]
POOLED = (
    "Pooled over folds: the confusion matrices of a seed are summed over its folds, so that a class that one fold "
    "lacks still counts; mean ± sample standard deviation over seeds."
)
BY_FOLD = "By fold: mean ± sample standard deviation over the runs of the fold."


def blocks(groups: Sequence[Group]) -> list[Block]:
    """Both tables for those of ``groups``, all on the same data, that have several folds; nothing without any."""
    several = [group for group in groups if is_classified(group) and len(by_fold(group)) > 1]
    return [*_pooled(several), *_by_fold(several)] if several else []


def _pooled(groups: Sequence[Group]) -> list[Block]:
    rows, scored, notes = [], [], []
    for group in groups:
        grid = arrange(group)
        overlap = grid.overlap()
        notes += [f"not pooled, {_of(group)}: {fault}" for fault in (*grid.left_out, overlap) if fault]
        if grid.seeds and not overlap:
            matrices = grid.pooled()
            rows.append([group.label, str(group.get("protocol")), str(len(matrices)), *_cells(matrices)])
            scored.append((group, matrices[0]))
    rows += _floor(scored)
    table = [Text(POOLED), Table(["model", "protocol", "seeds", "items", *HEADINGS], rows, numeric=5)] if rows else []
    return [*table, *([Items(notes)] if notes else [])]


def _by_fold(groups: Sequence[Group]) -> list[Block]:
    """Rows by fold, then model; each fold ends in its floor."""
    runs = [(group, by_fold(group)) for group in groups]
    rows, notes = [], {}
    for fold in in_order({fold for _, folds in runs for fold in folds}):
        scored = []
        for group, folds in runs:
            if fold not in folds:
                continue
            matrices = [run.get("confusion") for run in folds[fold]]
            model = [named(fold), group.label, str(group.get("protocol")), str(len(matrices))]
            rows.append([*model, *_cells(matrices)])
            scored += [(group, matrix) for matrix in matrices[:1] if matrix is not None]
        rows += [[named(fold), *row] for row in _floor(scored)]
        for group, matrix in scored:
            if absent := absent_classes(matrix, group.get("confusion_classes")):
                left = len(group.get("confusion_classes")) - len(absent)
                notes[f"fold {named(fold)} has no item of {', '.join(absent)}: its UA is over the other {left}"] = None
    table = Table(["fold", "model", "protocol", "runs", "items", *HEADINGS], rows, numeric=5)
    return [Text(BY_FOLD), table, *([Items(list(notes))] if notes else [])]


def _cells(matrices: Sequence) -> list[str]:
    """Number of items and the figures, over confusion matrices ``[k, k]``; a missing one shows in the figures."""
    known = [np.asarray(matrix) for matrix in matrices if matrix is not None]
    items = in_order({str(int(matrix.sum())) for matrix in known})
    values = [[None if matrix is None else figure(matrix) for matrix in matrices] for _, _, figure in FIGURES]
    shown = [columns.cell(value, name) for value, (_, name, _) in zip(values, FIGURES, strict=True)]
    return [", ".join(items) or columns.ABSENT, *shown]


def _floor(scored: Sequence[tuple[Group, np.ndarray]]) -> list[list[str]]:
    """Rows of a constant answer on the items that the groups were scored on: one, where these are the same."""
    protocols: dict[tuple[str, ...], set[str]] = {}
    for group, matrix in scored:
        best, constant = constant_answer(matrix)
        row = (f"always {group.get('confusion_classes')[best]}", *_cells([constant]))
        protocols.setdefault(row, set()).add(str(group.get("protocol")))
    return [[name, ", ".join(sorted(every)), columns.ABSENT, *cells] for (name, *cells), every in protocols.items()]


def _of(group: Group) -> str:
    return f"{group.label} ({group.get('protocol')})"
