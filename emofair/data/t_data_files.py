"""The files of a ``T_data`` manifest folder: lists, sizes and labels of one split, read and written.

Per split: ``<split>_a.tsv`` and ``<split>_t.tsv`` (one file name per line, no header), ``<split>_size.tsv`` (really
comma separated: id, text tokens, audio tokens; header optional) and ``label_file_<split>.csv`` (first line always a
header). Published folders mix CRLF and LF, and their label and size files hold ids of other splits too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from emofair.errors import EmofairError

#: Modality -> the letter of its list file.
LISTS = {"speech": "a", "text": "t"}
_EXTENSION = re.compile(r"\.(wav|txt|mp4|flac)$", re.IGNORECASE)
_LABEL_HEADERS = {"emotion": "FileName,Emotion", "sentiment": "FileName,sentiment_score"}


class Label(NamedTuple):
    """A label as written, and the 1-based row it stands in."""

    row: int
    text: str


class Row(NamedTuple):
    """One item to write; a token count of None means that the item has no such file."""

    id: str
    label: str | float
    n_audio: int | None
    n_text: int | None


def item_id(name: str) -> str:
    """Utterance id of a listed file: its name without a final .wav, .txt, .mp4 or .flac; other dots are the id's."""
    return _EXTENSION.sub("", name)


def list_file(data_dir: Path, split: str, modality: str) -> Path:
    """Path of the list of a modality ("speech" or "text")."""
    return data_dir / f"{split}_{LISTS[modality]}.tsv"


def _needed(path: Path) -> Path:
    """The path of a file that must be there, else an error that lists what is."""
    if path.is_file():
        return path
    folder = path.parent
    if not folder.is_dir():
        raise EmofairError("no such folder", file=folder, remedy="Give the folder of the manifests as --data")
    there = sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".tsv", ".csv"))
    listing = f"it holds {', '.join(there[:16])}{' ...' if len(there) > 16 else ''}" if there else "it has no manifests"
    raise EmofairError(f"there is no {path.name} in this folder; {listing}", file=folder)


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


def read_list(data_dir: Path, split: str, modality: str) -> dict[str, int]:
    """Ids of one list with their 1-based rows, in order; a repeated id keeps its first row."""
    ids: dict[str, int] = {}
    for name, row in list_rows(data_dir, split, modality):
        ids.setdefault(name, row)
    return ids


def list_rows(data_dir: Path, split: str, modality: str) -> list[tuple[str, int]]:
    """Every id of one list with its 1-based row, in order, repeated ones too."""
    path = _needed(list_file(data_dir, split, modality))
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.readlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EmofairError(f"cannot be read ({error})", file=path) from None
    return [(item_id(line.strip()), row) for row, line in enumerate(lines, 1) if line.strip()]


def read_labels(path: Path, wanted: Container[str]) -> tuple[dict[str, Label], str | None]:
    """Labels of the wanted ids by id, and the wanted id that the header line names (a sign that there is no header).

    Raises EmofairError naming the row when a row has not two columns, or when a wanted id has two different labels.
    """
    labels: dict[str, Label] = {}
    lost = None
    for number, (row, cells) in enumerate(_rows(_needed(path))):
        name = cells[0] if cells[0] in wanted else item_id(cells[0])
        if number == 0:  # a header, whatever it says
            lost = name if name in wanted else None
            continue
        if len(cells) != 2:
            raise EmofairError(f"expected two columns (id, label), found {len(cells)}", file=path, row=row)
        if name in wanted:
            known = labels.setdefault(name, Label(row, cells[1]))
            if known.text != cells[1]:
                conflict = f"{name} is labelled {cells[1]!r} here and {known.text!r} in row {known.row}"
                raise EmofairError(conflict, file=path, row=row)
    return labels, None if lost in labels else lost


def read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    """Text and audio token counts by id; empty when there is no such file."""
    sizes: dict[str, tuple[int, int]] = {}
    for number, (row, cells) in enumerate(_rows(path) if path.is_file() else ()):
        try:
            name, text, audio = cells
            sizes.setdefault(item_id(name), (int(text), int(audio)))
        except ValueError:
            if number == 0:  # a header, which only some published files have
                continue
            said = f"expected id, text tokens, audio tokens; found {','.join(cells)!r}"
            raise EmofairError(said, file=path, row=row) from None
    return sizes


def write_split(
    out_dir: str | Path, split: str, rows: Iterable[Row], target: str, *, size_header: bool | None = None
) -> None:
    """Write the manifests of one split in the form of the published folders, each file in one step.

    ``target`` "emotion" or "sentiment" chooses the label header (``FileName,Emotion`` or ``FileName,sentiment_score``).
    The size file gets a header for sentiment only, as in the published folders, unless ``size_header`` says otherwise;
    it is left out unless every row has both counts. A list is written for each modality that any row has. Raises
    EmofairError for repeated ids and for ids that the form cannot hold.
    """
    if target not in _LABEL_HEADERS:
        raise ValueError(f"target must be emotion or sentiment, not {target!r}")
    rows = [Row(*row) for row in rows]
    out_dir = Path(out_dir)
    seen: set[str] = set()
    for row in rows:
        unwritable = re.search(r'[,"\r\n\t]', f"{row.id}{row.label}") or _EXTENSION.search(row.id)
        if not row.id or row.id != row.id.strip() or unwritable:
            raise EmofairError(f"id {row.id!r} with label {row.label!r} cannot be written to a manifest", file=out_dir)
        if row.id in seen:
            raise EmofairError(f"id {row.id!r} occurs twice in split {split!r}", file=out_dir)
        seen.add(row.id)
    files = {f"label_file_{split}.csv": [_LABEL_HEADERS[target], *(f"{row.id},{row.label}" for row in rows)]}
    if any(row.n_audio is not None for row in rows):
        files[f"{split}_a.tsv"] = [f"{row.id}.wav" for row in rows if row.n_audio is not None]
    if any(row.n_text is not None for row in rows):
        files[f"{split}_t.tsv"] = [f"{row.id}.txt" for row in rows if row.n_text is not None]
    if all(None not in (row.n_audio, row.n_text) for row in rows):
        has_header = target == "sentiment" if size_header is None else size_header
        header = ["FileName,text,audio"] if has_header else []
        files[f"{split}_size.tsv"] = header + [f"{row.id},{row.n_text},{row.n_audio}" for row in rows]
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        temporary = out_dir / f".{name}.tmp"
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
        temporary.replace(out_dir / name)
