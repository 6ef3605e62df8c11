"""The ``T_data`` manifest folder of robertaEMO: lists, sizes and labels per split, joined by utterance id.

Per split: ``<split>_a.tsv`` and ``<split>_t.tsv`` (one file name per line, no header), ``<split>_size.tsv`` (really
comma separated: id, text tokens, audio tokens; header optional) and ``label_file_<split>.csv`` (first line always a
header). Published folders mix CRLF and LF, order their files differently, carry labels and sizes of other splits, and
one of them has lists of different length; reading joins by id, so all of these load.
"""

from __future__ import annotations

import csv
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import EmofairError
from .labels import TargetMode

logger = logging.getLogger(__name__)

LISTS = {"speech": "a", "text": "t"}
SPLITS = ("train", "valid", "test")
_EXTENSION = re.compile(r"\.(wav|txt|mp4|flac)$", re.IGNORECASE)


@dataclass
class ItemTable:
    """The usable items of one split, in the order of its list.

    ``labels``: int64 class indices or float32 scores [n], None when read without a mode. ``n_audio`` and ``n_text``:
    token counts [n] int64 from the size file, -1 where it has none. ``report``: counts of what was left out, by reason.
    """

    split: str
    ids: list[str]
    labels: np.ndarray | None
    n_audio: np.ndarray
    n_text: np.ndarray
    report: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


class _Cell(NamedTuple):
    row: int
    values: tuple[str, ...]


def item_id(name: str) -> str:
    """Utterance id of a listed file: its name without a final .wav, .txt, .mp4 or .flac; other dots are the id's."""
    return _EXTENSION.sub("", name)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Non-empty comma-separated rows with their 1-based number; any line ending, optional byte-order mark."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                if any(cells):
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EmofairError(f"cannot be read ({error})", file=path) from None


def _needed(data_dir: Path, name: str) -> Path:
    """Path of a file that must be there, else an error that lists what is."""
    path = data_dir / name
    if path.is_file():
        return path
    if not data_dir.is_dir():
        raise EmofairError("no such folder", file=data_dir, remedy="Give the folder with the manifests as --data")
    there = sorted(entry.name for entry in data_dir.iterdir() if entry.suffix in (".tsv", ".csv"))
    listing = (
        f"it holds {', '.join(there[:16])}{' ...' if len(there) > 16 else ''}" if there else "it holds no manifests"
    )
    raise EmofairError(f"there is no {name} in this folder; {listing}", file=data_dir)


def read_list(data_dir: str | Path, split: str, modality: str) -> dict[str, int]:
    """Ids of one list file with their 1-based rows, in order; repeated ids keep their first row."""
    path = _needed(Path(data_dir), f"{split}_{LISTS[modality]}.tsv")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EmofairError(f"cannot be read ({error})", file=path) from None
    ids: dict[str, int] = {}
    for row, line in enumerate(lines, 1):
        if line.strip():
            ids.setdefault(item_id(line.strip()), row)
    return ids


def _read_labels(path: Path) -> dict[str, _Cell]:
    labels: dict[str, _Cell] = {}
    for number, (row, cells) in enumerate(_rows(path)):
        if number == 0:  # the form has a header whatever it says
            continue
        if len(cells) != 2:
            raise EmofairError(f"expected two columns (id, label), found {len(cells)}", file=path, row=row)
        name, label = cells
        known = labels.setdefault(name, _Cell(row, (label,)))
        if known.values != (label,):
            raise EmofairError(
                f"{name} is labelled {label!r} here and {known.values[0]!r} in row {known.row}", file=path, row=row
            )
    for name in [name for name in labels if _EXTENSION.search(name)]:
        labels.setdefault(item_id(name), labels[name])
    return labels


def _read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    sizes: dict[str, tuple[int, int]] = {}
    if not path.is_file():
        return sizes
    for number, (row, cells) in enumerate(_rows(path)):
        try:
            if len(cells) != 3:
                raise ValueError
            text, audio = int(cells[1]), int(cells[2])
        except ValueError:
            if number == 0:  # a header, which only some published files have
                continue
            raise EmofairError(
                f"expected id, text tokens, audio tokens; found {','.join(cells)!r}", file=path, row=row
            ) from None
        sizes.setdefault(cells[0], (text, audio))
        sizes.setdefault(item_id(cells[0]), (text, audio))
    return sizes


def _join(data_dir: Path, split: str, need: Sequence[str], strict: bool) -> tuple[dict[str, int], dict[str, int]]:
    """Ids that every needed list has, in the order of the first, with their rows there; and the counts left out."""
    lists = {modality: read_list(data_dir, split, modality) for modality in need}
    first, *others = lists.values()
    report: dict[str, int] = {}
    if not others:
        return first, report
    other = others[0]
    if strict and list(first) != list(other):
        pairs = zip(list(first) + [None] * len(other), list(other) + [None] * len(first), strict=False)
        row, (left, right) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
        raise EmofairError(
            f"lists are misaligned: item {row} is {left or 'absent'} here"
            f" and {right or 'absent'} in {split}_{LISTS[need[1]]}.tsv",
            file=data_dir / f"{split}_{LISTS[need[0]]}.tsv",
            row=first.get(left, row) if left else row,
            remedy="Repair the lists, or read without strict checking: items are then joined by id",
        )
    joined = {name: row for name, row in first.items() if name in other}
    for modality, lone in ((need[0], len(first) - len(joined)), (need[1], len(other) - len(joined))):
        if lone:
            report[f"only in the {modality} list"] = lone
    if not joined:
        raise EmofairError(f"the lists of split {split!r} ({', '.join(need)}) have no id in common", file=data_dir)
    return joined, report


def _score(text: str, mode: TargetMode, path: Path, row: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise EmofairError(f"label {text!r} is not a finite number", file=path, row=row)
    # the published sentiment scores are float32 values printed as float64: 2.40000009536743 means 2.4
    return round(value, 4) if mode.kind == "l1" else value


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
    speech list if it is. ``mode`` None reads no labels (an unlabelled split). Items without a label or with one the mode does not know are left out, told in one log line.
    ``strict`` turns misaligned lists and left-out items into errors. Raises EmofairError for missing or malformed files
    and for a split that ends up empty.
    """
    data_dir = Path(data_dir)
    if not modalities or not set(modalities) <= set(LISTS):
        raise ValueError(f"modalities must name speech and/or text, not {modalities!r}")
    need = [modality for modality in LISTS if modality in modalities]
    joined, report = _join(data_dir, split, need, strict)
    list_file = data_dir / f"{split}_{LISTS[need[0]]}.tsv"
    ids, labels = list(joined), None
    if mode is not None:
        ids, labels = _labelled(data_dir / f"label_file_{split}.csv", list_file, joined, mode, strict, report)
    sizes = _read_sizes(data_dir / f"{split}_size.tsv")
    counts = np.array([sizes.get(name, (-1, -1)) for name in ids], dtype=np.int64).reshape(-1, 2)
    if report:
        left_out = ", ".join(f"{reason}: {count}" for reason, count in report.items())
        logger.warning("%s: split %s has %d items; left out: %s", data_dir, split, len(ids), left_out)
    if not ids:
        raise EmofairError(
            f"split {split!r} has no usable item ({len(joined)} listed)",
            file=data_dir,
            remedy=f"Check that the target option fits label_file_{split}.csv" if joined else None,
        )
    return ItemTable(split, ids, labels, counts[:, 1], counts[:, 0], report)


def _labelled(
    path: Path, list_file: Path, joined: dict[str, int], mode: TargetMode, strict: bool, report: dict[str, int]
) -> tuple[list[str], np.ndarray]:
    """Ids that have a usable label, and the labels; what is left out is counted in ``report``."""
    table = _read_labels(_needed(path.parent, path.name))
    ids: list[str] = []
    labels: list[float] = []
    missing, unknown = 0, Counter()
    for name, list_row in joined.items():
        cell = table.get(name)
        if cell is None or not cell.values[0]:
            if strict:
                raise EmofairError(f"{name} has no label in {path.name}", file=list_file, row=list_row)
            missing += 1
            continue
        text = cell.values[0]
        value = _score(text, mode, path, cell.row) if mode.is_regression else mode.class_index(text)
        if value is None:
            if strict:
                known = ", ".join(mode.classes)
                raise EmofairError(f"label {text!r} of {name} is none of {known}", file=path, row=cell.row)
            unknown[text] += 1
            continue
        ids.append(name)
        labels.append(value)
    if missing:
        report["no label"] = missing
    for text, count in unknown.most_common():
        report[f"unknown label {text!r}"] = count
    return ids, np.array(labels, dtype=np.float32 if mode.is_regression else np.int64)


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


def check_split_overlap(data_dir: str | Path, splits: Sequence[str] = SPLITS) -> None:
    """Refuse a folder in which an item belongs to two splits.

    Only the lists count (an item is in a split when every list the split has names it); label and size files may hold
    other splits' ids. Absent splits are skipped.
    """
    data_dir = Path(data_dir)
    members: dict[str, set[str]] = {}
    for split in splits:
        lists = [read_list(data_dir, split, m) for m in LISTS if (data_dir / f"{split}_{LISTS[m]}.tsv").is_file()]
        if lists:
            members[split] = set.intersection(*map(set, lists))
    names = list(members)
    for position, left in enumerate(names):
        for right in names[position + 1 :]:
            shared = sorted(members[left] & members[right])
            if shared:
                first = ", ".join(shared[:3]) + (" ..." if len(shared) > 3 else "")
                raise EmofairError(
                    f"splits {left} and {right} share {len(shared)} items ({first})",
                    file=data_dir,
                    remedy="Take them out of one of the lists: a score on them would not be a test score",
                )


class Row(NamedTuple):
    """One item to write; a token count of None means that the item has no such file."""

    id: str
    label: str | float
    n_audio: int | None
    n_text: int | None


def write_split(
    out_dir: str | Path, split: str, rows: Iterable[Row], target: str, *, size_header: bool | None = None
) -> None:
    """Write the manifests of one split in the form of the published folders, each file in one step.

    ``target`` "emotion" or "sentiment" chooses the label header (``FileName,Emotion`` or ``FileName,sentiment_score``).
    The size file gets a header for sentiment only, as in the published folders, unless ``size_header`` says otherwise;
    it is left out unless every row has both counts. A list is written for each modality that any row has. Raises
    EmofairError for repeated ids and for ids that the form cannot hold.
    """
    headers = {"emotion": "FileName,Emotion", "sentiment": "FileName,sentiment_score"}
    if target not in headers:
        raise ValueError(f"target must be emotion or sentiment, not {target!r}")
    rows = [Row(*row) for row in rows]
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for row in rows:
        if not row.id or row.id != row.id.strip() or re.search(r'[,"\r\n\t]', f"{row.id}{row.label}"):
            raise EmofairError(f"id {row.id!r} with label {row.label!r} cannot be written to a manifest", file=out_dir)
        if row.id in seen:
            raise EmofairError(f"id {row.id!r} occurs twice in split {split}", file=out_dir)
        seen.add(row.id)
    files = {f"label_file_{split}.csv": [headers[target], *(f"{row.id},{row.label}" for row in rows)]}
    if any(row.n_audio is not None for row in rows):
        files[f"{split}_a.tsv"] = [f"{row.id}.wav" for row in rows if row.n_audio is not None]
    if any(row.n_text is not None for row in rows):
        files[f"{split}_t.tsv"] = [f"{row.id}.txt" for row in rows if row.n_text is not None]
    if all(None not in (row.n_audio, row.n_text) for row in rows):
        header = ["FileName,text,audio"] if (target == "sentiment" if size_header is None else size_header) else []
        files[f"{split}_size.tsv"] = header + [f"{row.id},{row.n_text},{row.n_audio}" for row in rows]
    for name, lines in files.items():
        temporary = out_dir / f".{name}.tmp"
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
        temporary.replace(out_dir / name)
