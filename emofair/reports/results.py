"""Put a report together: tables of groups, pictures, single runs, and what is not known about them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path

from emofair.reports import columns, comparison, fold_tables, plots
from emofair.reports.columns import ABSENT
from emofair.reports.document import Block, Code, Heading, Items, Picture, Table, Text
from emofair.reports.groups import Group, describe, group_runs, table_of, without_repeats
from emofair.reports.names import slug, unique
from emofair.reports.runs import LOG, Run

# Facts about a run whose absence is told.
EXPECTED = {
    "checkpoint_sha256": "hash of the checkpoint",
    "seed": "seed",
    "commit": "commit of the source tree",
    "train_command": "training command",
    "data_sha256": "hash of the data",
    "majority": "majority baseline",
}


def build(
    runs: Sequence[Run],
    out: Path,
    *,
    title: str = "Results",
    by: Sequence[str] = (),
    baseline: str | None = None,
    pictures: bool = True,
    tell: Callable[[str], object] = lambda note: None,
) -> list[Block]:
    """The blocks of the report on ``runs`` that will be written to ``out``; pictures are drawn beside it.

    With the name of a group as ``baseline``, the others on its data are compared with it by a paired bootstrap;
    ``tell`` hears which are not, and why. Raises `EmofairError` where no group, or more than one, has that name.
    """
    runs, repeats = without_repeats(runs)
    groups = group_runs(runs, by)
    if baseline is not None:
        comparison.check_baseline(groups, baseline)
    blocks: list[Block] = [Heading(1, title), Text(_reading(groups))]
    names: set[str] = set()
    for _, members in groupby(groups, key=table_of):
        together = list(members)
        blocks += [Heading(2, _table_title(together[0])), _table(together)]
        blocks += fold_tables.blocks(together)
        if baseline is not None:
            blocks += comparison.blocks(together, baseline, tell)
        blocks += _per_class(together)
        for group in together:
            drawn = _pictures(group, out, names) if pictures else []
            if drawn:
                blocks += [Heading(3, f"{group.label} ({group.get('protocol')})"), *drawn]
    blocks += [Heading(2, "Runs"), _run_table(runs, out.parent)]
    blocks += _commands(runs, out.parent)
    blocks += _not_known(runs, repeats, out.parent, pictures)
    return blocks


def _reading(groups: Sequence[Group]) -> str:
    several = any(len(group.runs) > 1 for group in groups)
    figures = "Accuracies, recalls and F1 are in per cent, errors and correlations in units of the score"
    spread = "; mean ± sample standard deviation over runs that differ only in seed or fold" if several else ""
    return (
        f"{figures}{spread}. WA is the share of items that are right, UA the mean recall of the classes. F1 of a "
        "yes/no decision is weighted over both answers. The row “always …” is a system that gives one answer to "
        "everything: the floor. Protocol clean: nothing of the test set was used before; transductive: its "
        "audio was, without labels; paper: published habits."
    )


def _table_title(group: Group) -> str:
    folds = sorted({str(run.get("fold")) for run in group.runs if run.get("fold") is not None})
    parts = [group.data, str(group.get("target") or "target not named"), str(group.get("split"))]
    return ", ".join(parts + ([f"folds {' '.join(folds)}"] if folds else []))


def _table(groups: Sequence[Group]) -> Table:
    shown = columns.columns_of({name for group in groups for name in group.figures()})
    header = ["model", "protocol", "runs", *(column.heading for column in shown)]
    rows = [
        [
            *(group.label, str(group.get("protocol")), str(len(group.runs))),
            *(columns.cell(group.values(column.figure), column.figure) for column in shown),
        ]
        for group in groups
    ]
    return Table(header, [*rows, *_floor(groups, shown)], numeric=len(shown) + 1)


def _floor(groups: Sequence[Group], shown: Sequence[columns.Column]) -> list[list[str]]:
    """The row of a constant answer, over the different test sets of the table."""
    floors = {str(run.get("data_sha256")): run for group in groups for run in group.runs if run.get("majority")}
    if not floors:
        return []
    guesses = sorted({str(run.get("majority_guess")) for run in floors.values()})
    protocols = sorted({str(group.get("protocol")) for group in groups})
    cells = [
        columns.cell([run.get("majority").get(column.figure) for run in floors.values()], column.figure)
        for column in shown
    ]
    return [[f"always {' or '.join(guesses)}", ", ".join(protocols), ABSENT, *cells]]


def _per_class(groups: Sequence[Group]) -> list[Block]:
    """One table per kind of figure that every class has, groups in the rows."""
    classes = groups[0].get("classes") or []
    blocks: list[Block] = []
    for kind in columns.per_class({name for group in groups for name in group.figures()}, classes):
        rows = [
            [
                *(group.label, str(group.get("protocol"))),
                *(columns.cell(group.values(kind.figure + name), kind.figure) for name in classes),
            ]
            for group in groups
        ]
        blocks += [
            Text(f"{kind.heading} by class:"),
            Table(["model", "protocol", *classes], rows, numeric=len(classes)),
        ]
    return blocks


def _pictures(group: Group, out: Path, names: set[str]) -> list[Block]:
    parts = (group.get("target"), group.get("split"), group.label)
    stem = unique("_".join([out.stem, *(slug(str(part)) for part in parts)]), names)
    drawn: list[Block] = []
    n = len(group.runs)
    pooled = group.confusion()
    if pooled is not None:
        counts, classes = pooled
        name = f"{stem}_confusion.png"
        plots.draw_confusion(out.parent / name, counts.tolist(), classes)
        over = f"counts over {n} runs" if n > 1 else "counts"
        drawn.append(Picture(name, f"confusion matrix of {group.label}, {over}", 480))
    panels = _panels(group)
    if panels:
        name = f"{stem}_curves.png"
        plots.draw_curves(out.parent / name, panels)
        drawn.append(Picture(name, f"learning curves of {group.label}", 360 * len(panels)))
    return drawn


def _panels(group: Group) -> list[tuple[str, dict[str, list[dict[int, float]]]]]:
    curves = [run.curves for run in group.runs if run.curves is not None and run.curves.values]
    subsets = ["train", *sorted({curve.validation() for curve in curves if curve.validation()})]
    figure = columns.curve_figure({name for c in curves for s in subsets for name in c.values.get(s, {})})
    panels = []
    for name in ("loss", figure) if figure else ("loss",):
        scale = columns.scale(name)
        lines = {
            subset: [{epoch: value * scale for epoch, value in curve.of(subset, name).items()} for curve in curves]
            for subset in subsets
        }
        lines = {subset: runs for subset, runs in lines.items() if any(runs)}
        if lines:
            panels.append((columns.axis_label(name), lines))
    return panels


def _run_table(runs: Sequence[Run], folder: Path) -> Table:
    def score(run: Run) -> str:
        shown = columns.columns_of(run.record["metrics"])
        return f"{shown[0].heading} {columns.cell([run.record['metrics'][shown[0].figure]], shown[0].figure)}"

    entries: dict[str, Callable[[Run], object]] = {
        "run": lambda run: _path(run, folder),
        "model": describe,
        "split": lambda run: run.get("split"),
        "protocol": lambda run: run.get("protocol"),
        "seed": lambda run: run.get("seed"),
        "fold": lambda run: run.get("fold"),
        "updates": lambda run: run.get("updates"),
        "selected on": lambda run: run.get("selected_on"),
        "checkpoint": lambda run: (run.get("checkpoint_sha256") or "")[:12] or None,
        "commit": lambda run: run.get("commit"),
        "items": lambda run: run.get("n"),
        "score": lambda run: score(run) if columns.columns_of(run.record["metrics"]) else None,
    }
    rows = [[ABSENT if (value := entry(run)) is None else str(value) for entry in entries.values()] for run in runs]
    return Table(list(entries), rows, numeric=2)


def _commands(runs: Sequence[Run], folder: Path) -> list[Block]:
    lines = []
    for run in runs:
        lines += [f"# {_path(run, folder)}"]
        lines += [run.get(name) for name in ("train_command", "command") if run.get(name)]
    return [Heading(2, "Commands"), Code(lines)]


def _not_known(runs: Sequence[Run], repeats: Sequence[tuple[Run, Run]], folder: Path, pictures: bool) -> list[Block]:
    items = [
        f"{meaning}: {_paths((r for r in runs if r.get(name) is None), folder)}" for name, meaning in EXPECTED.items()
    ]
    items += [f"{LOG}, so no learning curves: {_paths((r for r in runs if r.curves is None), folder)}"]
    empty = (r for r in runs if r.curves is not None and not r.curves.values)
    items += [f"epochs in the {LOG}: {_paths(empty, folder)}"]
    items += [f"confusion matrix: {_paths((r for r in runs if r.get('confusion') is None), folder)}"]
    items = [item for item in items if not item.endswith(": ")]
    items += [
        f"{_path(a, folder)} scores the checkpoint of {_path(b, folder)} again, and is not counted" for a, b in repeats
    ]
    if not pictures:
        items.append("pictures: matplotlib is not installed (pip install 'emofair[plots]')")
    return [Heading(2, "Not available"), Items(items)] if items else []


def _paths(runs: Iterable[Run], folder: Path) -> str:
    return ", ".join(_path(run, folder) for run in runs)


def _path(run: Run, folder: Path) -> str:
    return Path(os.path.relpath(run.folder, folder)).as_posix()
