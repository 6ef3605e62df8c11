"""The statistics of a method over runs and folds: a log in the format of FT-w2v2-ser, and everything behind it.

The log is that of Chen, Rudnicky, "Exploring Wav2vec 2.0 fine-tuning for improved speech emotion recognition" (arXiv
2110.06309): a run is a seed, and all standard deviations are those of a population (ddof 0). One thing differs where a
fold lacks a class: there it counts the class with recall 0, and here the class is left out of the mean, as in all
figures of emofair.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from emofair.errors import EmofairError
from emofair.metrics import classification
from emofair.reports.folds import Grid, absent_classes, arrange, is_classified, named
from emofair.reports.groups import APART, MODEL, Group
from emofair.reports.names import slug, unique

FIRST_LINE = "+++ SUMMARY +++"
METRICS = {
    "UAR": classification.uar,
    "WAR": classification.accuracy,
    "macroF1": classification.macro_f1,
    "microF1": classification.f1_of_means,
}
POOLED = {"UA": classification.uar, "WA": classification.accuracy, "macro F1": classification.macro_f1}
DEFINITIONS = {
    "UAR": "mean recall of the classes (UA)",
    "WAR": "share of items that are right (WA)",
    "macroF1": "mean F1 of the classes",
    "microF1": "harmonic mean of the mean precision and of the mean recall; so called by FT-w2v2-ser",
}
CONVENTION = "a class that a fold lacks is left out of the means of that fold (FT-w2v2-ser: counted as 0)"


def methods(groups: Sequence[Group], name: str | None = None) -> dict[str, tuple[Group, Grid]]:
    """The groups that chose one class of several, by the name of their files.

    That is the label, with what differs of protocol, split, target and data where labels are equal; or ``name``. Raises
    `EmofairError` if there is no such group, if ``name`` is given and there are several, and if a run is missing: the
    message names each.
    """
    classified = [group for group in groups if is_classified(group)]
    if not classified:
        raise EmofairError(
            "no run has a confusion matrix of classes, so there is nothing to summarise",
            remedy="Leave --summary-dir out, or give runs of a classifier",
        )
    if name is not None and len(classified) > 1:
        raise EmofairError(
            f"{len(classified)} methods cannot all be called {name!r}: {', '.join(_called(g) for g in classified)}",
            remedy="Leave --summary-name out, or give the runs of one method",
        )
    taken: set[str] = set()
    result = {}
    faults = []
    for group in classified:
        grid = arrange(group)
        faults += [f"{_called(group)}: {fault}" for fault in grid.left_out]
        result[unique(name or _file_name(group, classified), taken)] = group, grid
    if faults:
        raise EmofairError(
            f"nothing is averaged over runs that are not complete: {'; '.join(faults)}",
            remedy="Evaluate what is missing, or leave the seed out of the runs",
        )
    return result


def summary(method: str, group: Group, grid: Grid) -> dict[str, Any]:
    """Everything about a method, for JSON; figures in per cent.

    ``values[metric][run][fold]``, ``confusion[run][fold][true][predicted]``, ``pooled`` per run over its folds (null
    where folds test the same items), ``config_sha256`` over ``configuration``, where an entry is null that runs put
    together by ``--group-by`` do not share.
    """
    counts, x = grid.counts(), values(grid)
    configuration = {entry: group.get(entry) for entry in (*MODEL, *APART) if entry != "name"}
    overlap = grid.overlap()
    pooled = {n: [100 * figure(matrix) for matrix in grid.pooled()] for n, figure in POOLED.items()}
    absent = [absent_classes(matrix, grid.classes) for matrix in counts[0]]
    return {
        "method": method,
        "label": group.label,
        "data": group.data,
        "split": group.get("split"),
        "target": group.get("target"),
        "protocol": group.get("protocol"),
        "classes": list(grid.classes),
        "seeds": list(grid.seeds),
        "folds": list(grid.folds),
        "items": [int(matrix.sum()) for matrix in counts[0]],
        "unit": "per cent",
        "ddof": 0,
        "definitions": DEFINITIONS,
        "absent_classes": {
            "convention": CONVENTION,
            "folds": {named(fold): names for fold, names in zip(grid.folds, absent, strict=True) if names},
        },
        "statistics": {metric: statistics(table) for metric, table in x.items()},
        "values": {metric: table.tolist() for metric, table in x.items()},
        "pooled": None if overlap else pooled,
        "not_pooled_because": overlap,
        "confusion": counts.astype(int).tolist(),
        "configuration": configuration,
        "config_sha256": hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest(),
        "checkpoint_sha256": [[run.get("checkpoint_sha256") for run in row] for row in grid.runs],
        "data_sha256": [run.get("data_sha256") for run in grid.runs[0]],
    }


def values(grid: Grid) -> dict[str, np.ndarray]:
    """Each metric in per cent, ``[runs, folds]``."""
    return {
        metric: np.array([[100 * figure(matrix) for matrix in row] for row in grid.counts()])
        for metric, figure in METRICS.items()
    }


def statistics(table: np.ndarray) -> dict[str, float]:
    """The five statistics of one metric ``[runs, folds]``, under the names of the log and in its order."""
    over_folds = table.mean(axis=1)
    return {
        "Mean": float(table.mean()),
        "Fold Std.": float(table.std(axis=1).mean()),
        "Fold Median": float(np.median(table, axis=1).mean()),
        "Run Std.": float(over_folds.std()),
        "Run Median": float(np.median(over_folds)),
    }


def log_text(grid: Grid) -> str:
    """The statistics log."""
    lines = [
        f"{name} {metric} [%]: {value:.2f}"
        for metric, table in values(grid).items()
        for name, value in statistics(table).items()
    ]
    return "\n".join([FIRST_LINE, *lines]) + "\n"


def notes(told: dict[str, Any]) -> list[str]:
    """What a reader of a `summary` has to know beside its figures."""
    folds, n_classes = told["absent_classes"]["folds"], len(told["classes"])
    result = [
        f"fold {fold} has no item of {', '.join(names)}: its UAR is over the other {n_classes - len(names)}"
        for fold, names in folds.items()
    ]
    return result + ([f"not pooled: {told['not_pooled_because']}"] if told["not_pooled_because"] else [])


def _called(group: Group) -> str:
    return f"{group.label} ({group.get('protocol')})"


def _file_name(group: Group, groups: Sequence[Group]) -> str:
    """The label, and what tells the group from others of the same label."""

    def facts(each: Group) -> list[str]:
        return [str(each.get("protocol")), str(each.get("split")), str(each.get("target")), each.data]

    twins = [facts(other) for other in groups if slug(other.label) == slug(group.label)]
    telling = [own for own, *others in zip(facts(group), *twins, strict=True) if len(set(others)) > 1]
    return "_".join(map(slug, [group.label, *telling]))
