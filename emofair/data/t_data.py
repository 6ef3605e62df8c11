"""The items of a ``T_data`` manifest folder (the form of robertaEMO): lists, sizes and labels joined by utterance id.

Published folders order their files differently, and one of them has lists of different length; joined by id, all load.
The files themselves are described in :mod:`emofair.data.t_data_files`.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from emofair.data.labels import TargetMode
from emofair.data.t_data_files import (
    LISTS,
    Row,
    list_file,
    list_rows,
    read_labels,
    read_list,
    read_sizes,
    write_split,
)
from emofair.errors import EmofairError

__all__ = ["ItemTable", "Row", "check_token_folder", "members", "read_items", "write_split"]

logger = logging.getLogger(__name__)


@dataclass
class ItemTable:
    """The usable items of one split, in the order of its list.

    ``labels`` [n]: int64 class indices or float64 scores (fairseq turns float32 ones into half precision under --fp16),
    None when read without a mode. ``n_audio`` and ``n_text``: token counts [n] int64 from the size file, -1 where it
    has none. ``report``: counts of what was left out, by reason.
    """

    split: str
    ids: list[str]
    labels: np.ndarray | None
    n_audio: np.ndarray
    n_text: np.ndarray
    report: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def read_items(
    data_dir: str | Path,
    split: str,
    mode: TargetMode | None,
    *,
    strict: bool = False,
    modalities: Sequence[str] = tuple(LISTS),
) -> ItemTable:
    """Read one split and join its files by id.

    ``modalities`` names the ones in use ("speech", "text"): only their lists are read; items come in the order of the
    speech list if it is. ``mode`` None reads no labels (an unlabelled split). Items without a label, or with one that
    the mode does not know, are left out, which is told in one log line. ``strict`` turns misaligned lists and left-out
    items into errors. Raises EmofairError for missing or malformed files and for a split that ends up empty.
    """
    data_dir = Path(data_dir)
    if not modalities or not set(modalities) <= set(LISTS):
        raise ValueError(f"modalities must name speech and/or text, not {modalities!r}")
    used = [modality for modality in LISTS if modality in modalities]
    joined, report = _join(data_dir, split, used, strict)
    ids, labels = list(joined), None
    label_file = data_dir / f"label_file_{split}.csv"
    if mode is not None:
        ids, labels = _labelled(label_file, list_file(data_dir, split, used[0]), joined, mode, strict, report)
    sizes = read_sizes(data_dir / f"{split}_size.tsv")
    counts = np.array([sizes.get(name, (-1, -1)) for name in ids], dtype=np.int64).reshape(-1, 2)
    if report:
        left_out = ", ".join(f"{reason}: {count}" for reason, count in report.items())
        logger.warning("%s: split %s has %d items; left out: %s", data_dir, split, len(ids), left_out)
    if not ids:
        raise EmofairError(
            f"split {split!r} has no usable item ({len(joined)} listed)",
            file=data_dir,
            remedy=f"Check that the target option fits {label_file.name}",
        )
    return ItemTable(split, ids, labels, n_audio=counts[:, 1], n_text=counts[:, 0], report=report)


def _join(data_dir: Path, split: str, used: list[str], strict: bool) -> tuple[dict[str, int], dict[str, int]]:
    """Ids that every used list has, in the order of the first, with their rows there; and the counts left out."""
    report: dict[str, int] = {}
    first, *others = (_listed(data_dir, split, modality, strict, report) for modality in used)
    for modality, other in zip(used[1:], others, strict=True):
        if strict and list(first) != list(other):
            _raise_misaligned(data_dir, split, used[0], modality, first, other)
        joined = {name: row for name, row in first.items() if name in other}
        for lone, count in ((used[0], len(first) - len(joined)), (modality, len(other) - len(joined))):
            if count:
                report[f"only in the {lone} list"] = count
        if not joined:
            raise EmofairError(f"the {' and '.join(used)} lists of split {split!r} share no id", file=data_dir)
        first = joined
    return first, report


def _listed(data_dir: Path, split: str, modality: str, strict: bool, report: dict[str, int]) -> dict[str, int]:
    """Ids of one list with their rows; repeated ones are counted, and an empty list is an error."""
    rows, path = list_rows(data_dir, split, modality), list_file(data_dir, split, modality)
    if not rows:
        raise EmofairError(f"the {modality} list of split {split!r} is empty", file=path)
    ids: dict[str, int] = {}
    for name, row in rows:
        if strict and name in ids:
            raise EmofairError(f"{name} is listed again, first in row {ids[name]}", file=path, row=row)
        ids.setdefault(name, row)
    if len(ids) < len(rows):
        report[f"repeated in the {modality} list"] = len(rows) - len(ids)
    return ids


def _raise_misaligned(
    data_dir: Path, split: str, left: str, right: str, first: dict[str, int], other: dict[str, int]
) -> None:
    names, others = list(first), list(other)
    place = next((k for k, pair in enumerate(zip(names, others, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        place = min(len(names), len(others))
    here = names[place] if place < len(names) else "nothing"
    there = others[place] if place < len(others) else "nothing"
    raise EmofairError(
        f"lists are misaligned from item {place + 1} on: {here} here,"
        f" {there} in {list_file(data_dir, split, right).name}",
        file=list_file(data_dir, split, left),
        row=first.get(here, max(first.values(), default=0) + 1),
        remedy="Repair the lists, or leave out strict checking: items are then joined by id",
    )


def _labelled(
    path: Path, listed_in: Path, joined: dict[str, int], mode: TargetMode, strict: bool, report: dict[str, int]
) -> tuple[list[str], np.ndarray]:
    """Ids that have a usable label, and the labels; what is left out is counted in ``report``."""
    table, lost = read_labels(path, joined)
    if lost is not None:
        logger.warning("%s: the first line is taken for a header, but it names item %s", path, lost)
    ids: list[str] = []
    labels: list[float] = []
    missing, unknown = 0, Counter()
    for name, row in joined.items():
        label = table.get(name)
        if label is None or not label.text:
            if strict:
                raise EmofairError(f"{name} has no label in {path.name}", file=listed_in, row=row)
            missing += 1
            continue
        value = _score(label.text, mode, path, label.row) if mode.is_regression else mode.class_index(label.text)
        if value is None:
            if strict:
                known = ", ".join(mode.classes)
                raise EmofairError(f"label {label.text!r} of {name} is none of {known}", file=path, row=label.row)
            unknown[label.text] += 1
            continue
        ids.append(name)
        labels.append(value)
    if missing:
        report["no label"] = missing
    for text, count in unknown.most_common():
        report[f"unknown label {text!r}"] = count
    return ids, np.array(labels, dtype=np.float64 if mode.is_regression else np.int64)


def _score(text: str, mode: TargetMode, path: Path, row: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise EmofairError(f"label {text!r} is not a finite number", file=path, row=row)
    # the published sentiment scores are float32 values printed as float64: 2.40000009536743 means 2.4
    return round(value, 4) if mode.kind == "l1" else value


def check_token_folder(data_raw: str | Path) -> None:
    """Refuse a folder of token files without any ``<split>/audio_token`` or ``<split>/text`` in it."""
    root = Path(data_raw)
    if not root.is_dir():
        raise EmofairError("no such folder", file=root, remedy="Give the folder of the token files as --data-raw")
    if not any(root.glob("*/audio_token")) and not any(root.glob("*/text")):
        there = ", ".join(sorted(entry.name for entry in root.iterdir())[:8])
        raise EmofairError(
            f"no <split>/audio_token or <split>/text folder in it ({f'it holds {there}' if there else 'it is empty'})",
            file=root,
            remedy="Write the token files with 'emofair tokenize'",
        )


def members(data_dir: str | Path, split: str) -> set[str] | None:
    """Ids of a split: those in every list that it has; None when it has none.

    Only the lists count: label and size files may hold other splits' ids.
    """
    lists = [modality for modality in LISTS if list_file(Path(data_dir), split, modality).is_file()]
    return set.intersection(*(set(read_list(Path(data_dir), split, each)) for each in lists)) if lists else None
