"""Lists of clips as FLEA (arXiv 2312.16383) reads them: one scp file per split, ``name path label`` a line.

Fields are separated by tabs or blanks; a path may contain blanks, with either. The path is relative to ``root``, by
default to the folder of its list. `exc` counts as `hap`. Names of IEMOCAP tell session and speaker. A file that is
listed twice, under whatever names, is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from emofair.corpora import Source
from emofair.corpora.tables import read_text
from emofair.data.audio import PathLike
from emofair.data.manifests import Utterance, usable_id
from emofair.errors import EmofairError

LABELS = ("ang", "hap", "neu", "sad")
MERGED = {"exc": "hap"}
_IEMOCAP = re.compile(r"Ses0(\d)[FM]_\w+_([FM])\d+")


def read(
    lists: Mapping[str, PathLike], *, root: PathLike | None = None, labels: Collection[str] | None = None
) -> Source:
    """Read the ``lists`` of splits (train, valid, test). ``labels`` are the ones allowed, by default `LABELS`."""
    first = Path(next(iter(lists.values())))
    source = Source("scp", first.parent if root is None else Path(root))
    source.facts = {"lists": {split: Path(path).name for split, path in lists.items()}}
    allowed = LABELS if labels is None else tuple(labels)
    for split, path in lists.items():
        items = _read_list(Path(path), None if root is None else Path(root), allowed, source.problems)
        if not items and not source.problems:
            raise EmofairError("the list has no rows", file=path)
        source.splits[split] = list(items.values())
        source.rows |= {(split, item.id): (path, row) for row, item in items.items()}
    return source


def _read_list(
    path: Path, root: Path | None, labels: Collection[str], problems: list[EmofairError]
) -> dict[int, Utterance]:
    """The clips of a list by their row."""
    items: dict[int, Utterance] = {}
    rows: dict[str, int] = {}
    files: dict[str, int] = {}
    for row, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = _utterance(line, root or path.parent, labels)
            if item.id in rows:
                raise ValueError(f"{item.id!r} is in row {rows[item.id]} already")
            file = os.path.realpath(item.path)
            if file in files:
                raise ValueError(_listed_twice(item, items[files[file]], files[file]))
        except ValueError as error:
            problems.append(EmofairError(str(error), file=path, row=row))
            continue
        items[row], rows[item.id], files[file] = item, row, row
    return items


def _listed_twice(item: Utterance, first: Utterance, row: int) -> str:
    other = "" if item.label == first.label else f" with the label {first.label!r} instead of {item.label!r}"
    return f"the audio of {item.id!r} is in row {row} already, as {first.id!r}{other} ({item.path})"


def _utterance(line: str, root: Path, labels: Collection[str]) -> Utterance:
    name, place, label = _fields(line.strip())
    if not name or not place or not label:
        raise ValueError("not a name, a path and a label")
    if not usable_id(name):
        raise ValueError(f"the name {name!r} cannot be used as a file name")
    merged = {name: other for name, other in MERGED.items() if other in labels and name not in labels}
    label = merged.get(label, label)
    if label not in labels:
        raise ValueError(f"unknown label {label!r} (known: {', '.join((*labels, *merged))})")
    known = _IEMOCAP.match(name)
    session, gender = known.groups() if known else (None, None)
    return Utterance(
        name,
        str(root / place),
        label=label,
        session=session,
        speaker=f"Ses0{session}{gender}" if session else None,
    )


def _fields(line: str) -> tuple[str, str, str]:
    """Name, path and label: between tabs where there are two, else the first word, the last one, and what is between.

    Of more columns the second is the path and the last one the label, as FLEA reads them.
    """
    if line.count("\t") >= 2:
        columns = [column.strip() for column in line.split("\t")]
        return columns[0], columns[1], columns[-1]
    first, _, rest = line.replace("\t", " ").partition(" ")
    place, _, last = rest.strip().rpartition(" ")
    return first, place.strip(), last
