"""Any corpus as one list: a tab-separated file with the columns ``id wav text label split``.

``wav`` is relative to ``root``; ``text`` is the transcript, or the path of a ``.txt`` file with it; ``text`` and
``label`` may be absent or empty. ``speaker``, ``session``, ``dialog``, ``sentiment`` (a number), ``start`` and ``end``
(seconds inside the wav) are understood, further columns are kept as they are. Splits are named ``train``, ``valid``
(also ``dev``, ``val``) and ``test``; other names are kept, in lower case. Where folds are to be made of the list, the
column ``split`` may be absent and does not count. Every row that cannot be used is reported as file:row.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path

from emofair.corpora import UNDIVIDED, Source
from emofair.corpora.tables import read_text, tsv_rows
from emofair.data.audio import PathLike
from emofair.data.manifests import META_COLUMNS, Utterance, usable_id
from emofair.errors import EmofairError

ALIASES = {"dev": "valid", "val": "valid", "validation": "valid", "training": "train", "testing": "test"}


def read(
    table: PathLike,
    *,
    root: PathLike | None = None,
    labels: Collection[str] | None = None,
    audio: bool = True,
    divided: bool = True,
) -> Source:
    """Read the list ``table``; ``root`` defaults to its folder; ``labels`` are the only ones allowed, when given.

    With ``audio=False`` the column ``wav`` is not needed. Splits come in the order train, valid, test, others; all
    rows are one split, and the column ``split`` is not looked at, unless ``divided``.
    """
    table = Path(table)
    if table.is_dir():
        raise EmofairError("this is a folder, a list is needed", file=table, remedy="name the list with --list FILE")
    root = table.parent if root is None else Path(root)
    source = Source("tsv", root, facts={"list": str(table)})
    splits: dict[str, list[Utterance]] = {"train": [], "valid": [], "test": []}
    seen: dict[tuple[str, str], int] = {}
    needed = ("id", *(("split",) if divided else ()), *(("wav",) if audio else ()))
    for row, cells in tsv_rows(table, needed, source.problems):
        try:
            split = ALIASES.get(cells["split"].lower(), cells["split"].lower()) if divided else UNDIVIDED
            utterance = _utterance(cells, root, labels, audio)
            if not split:
                raise ValueError(f"{utterance.id!r} has no split")
            if (split, utterance.id) in seen:
                raise ValueError(f"the id {utterance.id!r} is in row {seen[split, utterance.id]} already")
        except ValueError as error:
            source.problems.append(EmofairError(str(error), file=table, row=row))
            continue
        seen[split, utterance.id] = row
        source.rows[split, utterance.id] = (table, row)
        splits.setdefault(split, []).append(utterance)
    source.splits = {split: items for split, items in splits.items() if items}
    if not source.splits and not source.problems:
        raise EmofairError("the list has no rows", file=table)
    return source


def _utterance(cells: dict[str, str], root: Path, labels: Collection[str] | None, audio: bool) -> Utterance:
    if not usable_id(cells["id"]):
        raise ValueError(f"the id {cells['id']!r} cannot be used as a file name")
    if audio and not cells["wav"]:
        raise ValueError(f"{cells['id']!r} has no wav")
    label = cells.get("label") or None
    if labels is not None and label is not None and label not in labels:
        raise ValueError(f"unknown label {label!r} (known: {', '.join(labels)})")
    numbers: dict[str, float | None] = {}
    for column in ("sentiment", "start", "end"):
        try:
            numbers[column] = float(cells[column]) if cells.get(column) else None
        except ValueError:
            numbers[column] = math.nan
        if numbers[column] is not None and not math.isfinite(numbers[column]):
            raise ValueError(f"{column} {cells[column]!r} is not a number")
    return Utterance(
        id=cells["id"],
        path=str(root / cells["wav"]) if audio else "",
        text=_text(cells.get("text", ""), root),
        label=label,
        speaker=cells.get("speaker") or None,
        session=cells.get("session") or None,
        dialog=cells.get("dialog") or None,
        extra={k: v for k, v in cells.items() if v and k not in (*META_COLUMNS, "wav", "split")},
        **numbers,
    )


def _text(cell: str, root: Path) -> str | None:
    if not cell.endswith(".txt"):
        return cell or None
    if os.path.isfile(root / cell):  # a long text cannot be a path, Path.is_file would raise
        return " ".join(read_text(root / cell).split()) or None
    if len(cell.split()) == 1:
        raise ValueError(f"no transcript file {root / cell}")
    return cell
