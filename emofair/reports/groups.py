"""Put runs together that differ only in seed and fold, and keep everything else apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from emofair.errors import EmofairError
from emofair.inference.provenance import FOLD
from emofair.reports.runs import Run

# Runs that differ in one of these are never averaged, whatever --group-by says.
APART = ("target", "classes", "split", "protocol")
MODEL = ("name", "system", "task", "model", "modalities", "fusion", "frozen", "settings")


@dataclass(frozen=True)
class Group:
    """Runs whose figures may be averaged. ``label`` tells the group from others in its table."""

    label: str
    data: str
    runs: tuple[Run, ...]

    def get(self, name: str) -> Any:
        """An entry that all runs share; None where they differ or it is absent."""
        values = {_key(run.get(name)): run.get(name) for run in self.runs}
        return next(iter(values.values())) if len(values) == 1 else None

    def values(self, figure: str, entry: str = "metrics") -> list[float | None]:
        """A figure of every run."""
        return [(run.get(entry) or {}).get(figure) for run in self.runs]

    def figures(self) -> list[str]:
        """Names of the figures that any run has."""
        return sorted({name for run in self.runs for name in run.record["metrics"]})

    def confusion(self) -> tuple[np.ndarray, list[str]] | None:
        """Counts summed over the runs, with the classes; None where a run has none."""
        classes = self.get("confusion_classes")
        if classes is None or any(run.get("confusion") is None for run in self.runs):
            return None
        return sum(np.asarray(run.get("confusion")) for run in self.runs), classes


def group_runs(runs: Sequence[Run], by: Sequence[str] = ()) -> list[Group]:
    """Groups in the order of their data, target, split and label.

    ``by`` names entries of metrics.json (``name``, ``settings.lr``) that replace the description of the model and its
    settings. Data, split, protocol and target always keep runs apart.
    """
    for name in by:
        if not any(lookup(run.record, name) is not None for run in runs):
            raise EmofairError(f"no run has an entry {name!r} to group by", remedy="See the entries of a metrics.json")
    collected: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        model = [lookup(run.record, name) for name in (by or MODEL)]
        apart = [run.get(name) for name in APART]
        collected[_key([apart, data_name(run), model])].append(run)
    parts = [part for _, members in sorted(collected.items()) for part in _by_content(members)]
    labels = _labels(parts, by)
    groups = [Group(label, data_name(part[0]), tuple(part)) for label, part in zip(labels, parts, strict=True)]
    return sorted(groups, key=lambda group: (table_of(group), group.label, group.get("protocol") or ""))


def without_repeats(runs: Sequence[Run]) -> tuple[list[Run], list[tuple[Run, Run]]]:
    """Runs without those that score the same checkpoint on the same data again, and pairs (left out, counted)."""
    first: dict[str, Run] = {}
    kept, repeats = [], []
    for run in runs:
        told = [run.get(name) for name in ("checkpoint_sha256", "data", "data_sha256", "split", "protocol", "name")]
        counted = first.setdefault(_key(told), run) if told[0] is not None else run
        if counted is run:
            kept.append(run)
        else:
            repeats.append((run, counted))
    return kept, repeats


def table_of(group: Group) -> tuple[str, str, str, str]:
    """What groups in one table share: data, its content, target, split."""
    hashes = sorted({str(run.get("data_sha256")) for run in group.runs})
    return group.data, " ".join(hashes), str(group.get("target")), str(group.get("split"))


def data_name(run: Run) -> str:
    """The data folder as the user named it, with ``fold3`` written ``fold*``."""
    path = run.get("data")
    if path is None:
        return "data not named"
    return PurePath(*("fold*" if FOLD.fullmatch(part) else part for part in PurePath(path).parts)).as_posix()


def lookup(record: dict[str, Any], name: str) -> Any:
    """An entry by a dotted name."""
    value: Any = record
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _by_content(runs: list[Run]) -> list[list[Run]]:
    """Split runs of one folder whose content was not the same; folds differ by nature."""
    contents: dict[str | None, set] = defaultdict(set)
    for run in runs:
        contents[fold_of(run)].add(run.get("data_sha256"))
    if all(len(hashes) == 1 for hashes in contents.values()):
        return [runs]
    by_hash: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_hash[str(run.get("data_sha256"))].append(run)
    return [by_hash[name] for name in sorted(by_hash)]


def fold_of(run: Run) -> str | None:
    """The fold of a run by its name; None where there is none."""
    fold = run.get("fold")
    return None if fold is None else str(fold)


def _labels(parts: Sequence[Sequence[Run]], by: Sequence[str]) -> list[str]:
    """The model and its input; where that does not tell two groups apart, also what they were trained with."""
    if by:
        return [", ".join(str(lookup(part[0].record, name)) for name in by) for part in parts]
    labels = [describe(part[0]) for part in parts]
    places = [_key([part[0].get(name) for name in APART] + [data_name(part[0])]) for part in parts]
    result = []
    for part, label, place in zip(parts, labels, places, strict=True):
        twins = [p for p, other, where in zip(parts, labels, places, strict=True) if (other, where) == (label, place)]
        result.append(", ".join([label, *_differing(part[0], [twin[0] for twin in twins])]))
    return result


def describe(run: Run) -> str:
    """A name for what was trained: the run's own, or architecture, modalities and fusion."""
    if run.get("name"):
        return run.get("name")
    parts = [run.get("model") or run.get("system") or run.folder.name]
    if run.get("modalities"):
        parts.append(" + ".join(run.get("modalities")))
    if run.get("fusion"):
        parts.append(run.get("fusion"))
    if run.get("frozen"):
        parts.append("encoders frozen")
    return ", ".join(parts)


def _differing(run: Run, twins: Iterable[Run]) -> list[str]:
    every = [twin.get("settings") or {} for twin in twins]
    names = sorted({name for settings in every for name in settings})
    own = run.get("settings") or {}
    return [
        f"{name} {json.dumps(own.get(name)).strip('[]')}"
        for name in names
        if len({_key(settings.get(name)) for settings in every}) > 1
    ]


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
