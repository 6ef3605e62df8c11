"""Label tables as published: CSV and tab-separated files, row by row, with errors that name the row."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from emofair.data.audio import PathLike
from emofair.errors import EmofairError

# Windows-1252 punctuation that was once read as Latin-1: U+0092 for a right single quotation mark, and so on.
_C1 = {code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)}
# That of UTF-32 begins with that of UTF-16.
_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text(path: PathLike) -> str:
    """A text file as UTF-8, or as Windows-1252 when it isn't; C1 control characters become the quotes they were.

    Raises `EmofairError` for a file that cannot be read, or that begins with the mark of another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path) from None
    for mark, encoding in _OTHER_MARKS:
        if data.startswith(mark):
            raise EmofairError(f"not UTF-8 but {encoding}", file=path, remedy="save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    return text.translate(_C1)


def csv_rows(
    path: PathLike, required: Iterable[str], problems: list[EmofairError]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a comma-separated file with a header: (line number, cells by column, stripped).

    Raises `EmofairError` for a missing column; a row with more or fewer cells than the header goes to ``problems``.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        yield from _rows(((reader.line_num, cells) for cells in reader), path, required, problems)
    except csv.Error as error:
        raise EmofairError(f"not valid CSV ({error})", file=path, row=reader.line_num) from None


def tsv_rows(
    path: PathLike, required: Iterable[str], problems: list[EmofairError]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a tab-separated file with a header, as `csv_rows`.

    A quotation mark is a character like any other, so one that is never closed cannot swallow the rows after it; cells
    that a table program wrapped in quotes are unwrapped.
    """
    lines = io.StringIO(read_text(path), newline=None)
    yield from _rows(
        ((row, [_unquote(cell) for cell in line.rstrip("\n").split("\t")]) for row, line in enumerate(lines, start=1)),
        path,
        required,
        problems,
    )


def _rows(
    records: Iterator[tuple[int, list[str]]], path: PathLike, required: Iterable[str], problems: list[EmofairError]
) -> Iterator[tuple[int, dict[str, str]]]:
    _, header = next(records, (1, []))
    header = [column.strip() for column in header]
    for column in required:
        if column not in header:
            raise EmofairError(f"the column {column!r} is missing (columns: {', '.join(header)})", file=path, row=1)
    for row, cells in records:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            problems.append(EmofairError(f"{len(cells)} cells, the header has {len(header)}", file=path, row=row))
            continue
        yield row, {column: cell.strip() for column, cell in zip(header, cells, strict=True)}


def _unquote(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell
