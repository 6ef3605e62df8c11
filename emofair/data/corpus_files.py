"""The files of a corpus folder: lines and JSON objects, UTF-8, written as a whole or not at all.

File names need not be UTF-8: their other bytes go through as they are in lines, and as escapes in JSON objects. A
byte-order mark is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from emofair.errors import EmofairError

AGAIN = "prepare the corpus again"
"""The remedy for damaged ones."""


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file without their ends; raises `EmofairError` where it cannot be read."""
    # Not splitlines(): that also breaks at U+2028 and the like, inside a text.
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            yield from (line.rstrip("\n") for line in file)
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path) from None


def write_lines(path: Path, lines: Iterable[str], errors: str = "surrogateescape") -> None:
    """Write a file of lines in the place of an earlier one."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", errors=errors, newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
    part.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises `EmofairError` for anything else."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise EmofairError(f"not UTF-8 (byte {error.start})", file=path, remedy=AGAIN) from None
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path) from None
    return parse_json(text, path)


def parse_json(text: str, path: Path, row: int | None = None) -> dict[str, Any]:
    """The JSON object in ``text``, which stands in ``path`` (``row``); raises `EmofairError` for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise EmofairError(f"not valid JSON ({error})", file=path, row=row, remedy=AGAIN) from None
    if not isinstance(value, dict):
        raise EmofairError(f"a JSON object is expected, not {text.strip()[:20]!r}", file=path, row=row, remedy=AGAIN)
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write what `read_json` reads."""
    write_lines(path, [json.dumps(value, indent=1, ensure_ascii=False)], errors="backslashreplace")
