"""Which utterances a group got right, from the ``predictions.tsv`` beside each metrics.json."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emofair.errors import EmofairError
from emofair.inference.evaluation import PREDICTIONS
from emofair.reports.folds import arrange, named
from emofair.reports.groups import Group
from emofair.reports.runs import Run

REMEDY = "Make it again with `emofair evaluate ... --out DIR`"


@dataclass(frozen=True)
class Scored:
    """Utterances of all folds: sorted ids, true classes ``[N]``, shares of the seeds that are right ``[N]``."""

    ids: tuple[str, ...]
    labels: np.ndarray
    hits: np.ndarray
    classes: tuple[str, ...]
    seeds: int


def scored_utterances(group: Group) -> Scored:
    """Read the predictions of every run of a group.

    Raises `EmofairError` for a seed without its run in some fold, a file that is absent or does not belong to its
    metrics.json, an utterance that two folds test, and seeds that were tested on different utterances.
    """
    grid = arrange(group)
    if grid.left_out:
        raise EmofairError("; ".join(grid.left_out))
    if not grid.classes:
        raise EmofairError("no classes that are the same in all runs")
    position = {name: i for i, name in enumerate(grid.classes)}
    by_seed = []
    for row in grid.runs:
        table: dict[str, tuple[str, str]] = {}
        for run, fold in zip(row, grid.folds, strict=True):
            for name, cells in read_predictions(run).items():
                if name in table:
                    raise EmofairError(f"{name!r} of fold {named(fold)} is tested in an earlier fold as well")
                table[name] = cells
        by_seed.append(table)
    ids = tuple(sorted(by_seed[0]))
    labels = [by_seed[0][name][1] for name in ids]
    for seed, table in zip(grid.seeds, by_seed, strict=True):
        if sorted(table) != list(ids) or [table[name][1] for name in ids] != labels:
            raise EmofairError(f"seeds {named(grid.seeds[0])} and {named(seed)} were tested on different utterances")
    hits = np.mean([[table[name][0] == table[name][1] for name in ids] for table in by_seed], axis=0)
    return Scored(ids, np.array([position[label] for label in labels], dtype=int), hits, grid.classes, len(grid.seeds))


def read_predictions(run: Run) -> dict[str, tuple[str, str]]:
    """Predicted and true class of each utterance of a run, checked against its metrics.json."""
    path = Path(run.folder, PREDICTIONS)
    table: dict[str, tuple[str, str]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            header = next(rows, [])
            if not {"id", "prediction", "label"} <= set(header):
                raise EmofairError("no table with columns id, prediction and label", file=path, row=1, remedy=REMEDY)
            name, prediction, label = (header.index(column) for column in ("id", "prediction", "label"))
            for number, row in enumerate(rows, start=2):
                if len(row) != len(header):
                    what = f"{len(row)} columns, and the header has {len(header)}"
                    raise EmofairError(what, file=path, row=number, remedy=REMEDY)
                if row[name] in table:
                    raise EmofairError(f"{row[name]!r} is there twice", file=path, row=number, remedy=REMEDY)
                table[row[name]] = row[prediction], row[label]
    except FileNotFoundError:
        raise EmofairError("no such file", file=path, remedy=REMEDY) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EmofairError(f"cannot be read ({error})", file=path, remedy=REMEDY) from None
    support = dict(zip(run.get("confusion_classes"), map(sum, run.get("confusion")), strict=True))
    if Counter(label for _, label in table.values()) != Counter(support):
        raise EmofairError("its labels are not those that metrics.json counts", file=path, remedy=REMEDY)
    return table
