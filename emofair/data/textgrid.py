"""Praat's TextGrids: tiers of labelled intervals or points over a recording, read and written.

Praat reads a text file as a sequence of free-standing numbers, strings in double quotes (a quote inside is doubled) and
flags such as ``<exists>``; all else, like ``xmin =`` or ``intervals [3]:``, is there for people, and "!" starts a
comment. So the long and the short form are one grammar. Files are UTF-8 or UTF-16.
"""

from __future__ import annotations

import codecs
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from emofair.errors import EmofairError

_TOKEN = re.compile(r'"(?:[^"]|"")*"|<[^>\s]*>|![^\n]*|[^\s"]+')
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_BINARY = b"ooBinaryFile"
_REMEDY = "Save it in Praat as a text file (long or short)"


class Interval(NamedTuple):
    """A labelled stretch of time, in seconds."""

    start: float
    end: float
    text: str


class Point(NamedTuple):
    """A labelled moment, in seconds."""

    time: float
    text: str


@dataclass(frozen=True)
class IntervalTier:
    """Intervals in their order; unlabelled stretches are intervals with the text ""."""

    name: str
    intervals: Sequence[Interval]


@dataclass(frozen=True)
class PointTier:
    """Points in their order; Praat calls this a TextTier."""

    name: str
    points: Sequence[Point]


Tier = IntervalTier | PointTier


@dataclass(frozen=True)
class TextGrid:
    """Tiers over the time from ``start`` to ``end``, in seconds."""

    start: float
    end: float
    tiers: Sequence[Tier]

    def tier(self, name: str) -> Tier:
        """The first tier of this name."""
        for tier in self.tiers:
            if tier.name == name:
                return tier
        raise EmofairError(f"the TextGrid has no tier {name!r} (it has {', '.join(t.name for t in self.tiers)})")


def write_textgrid(path: str | os.PathLike[str], grid: TextGrid) -> None:
    """Write ``grid`` in the long form as UTF-8.

    Raises EmofairError unless the intervals of every tier follow each other without gaps over the whole time, as Praat
    wants them, and the points lie within it.
    """
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        f"xmin = {_number(grid.start)}",
        f"xmax = {_number(grid.end)}",
        "tiers? <exists>",
        f"size = {len(grid.tiers)}",
        "item []:",
    ]
    for index, tier in enumerate(grid.tiers, start=1):
        _check_tier(tier, grid)
        lines.append(f"    item [{index}]:")
        lines += [f"        {line}" for line in _tier_lines(tier, grid)]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def read_textgrid(path: str | os.PathLike[str]) -> TextGrid:
    """Read a TextGrid in the long or the short form.

    Raises EmofairError, with the line, for anything else: another format, a file that breaks off, times that run
    backwards.
    """
    path = Path(path)
    tokens = _Tokens(_decoded(path), path)
    if tokens.string() != "ooTextFile" or tokens.string() != "TextGrid":
        raise tokens.error("is not a TextGrid", _REMEDY)
    start, end = tokens.number(), tokens.number()
    if not start < end:
        raise tokens.error(f"the TextGrid lasts from {start} s to {end} s")
    if tokens.flag() != "<exists>":
        return TextGrid(start, end, [])
    grid = TextGrid(start, end, [_read_tier(tokens) for _ in range(tokens.count())])
    tokens.expect_end()
    return grid


def _number(value: float) -> str:
    # Every digit, integers without a point, and no exponents, as Praat writes them.
    return f"{Decimal(repr(float(value))):f}".removesuffix(".0")


def _string(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _tier_lines(tier: Tier, grid: TextGrid) -> Iterator[str]:
    times = (f"xmin = {_number(grid.start)}", f"xmax = {_number(grid.end)}")
    if isinstance(tier, PointTier):
        yield from ('class = "TextTier"', f"name = {_string(tier.name)}", *times, f"points: size = {len(tier.points)}")
        for index, point in enumerate(tier.points, start=1):
            yield from (
                f"points [{index}]:",
                f"    number = {_number(point.time)}",
                f"    mark = {_string(point.text)}",
            )
        return
    yield from ('class = "IntervalTier"', f"name = {_string(tier.name)}", *times)
    yield f"intervals: size = {len(tier.intervals)}"
    for index, interval in enumerate(tier.intervals, start=1):
        yield f"intervals [{index}]:"
        yield f"    xmin = {_number(interval.start)}"
        yield f"    xmax = {_number(interval.end)}"
        yield f"    text = {_string(interval.text)}"


def _check_tier(tier: Tier, grid: TextGrid) -> None:
    if isinstance(tier, PointTier):
        times = [grid.start, *(point.time for point in tier.points), grid.end]
        if any(b < a for a, b in pairwise(times)):
            raise EmofairError(f"the points of tier {tier.name!r} are not in order within the TextGrid")
        return
    starts = [*(interval.start for interval in tier.intervals), grid.end]
    ends = [grid.start, *(interval.end for interval in tier.intervals)]
    if starts != ends or any(not i.start < i.end for i in tier.intervals):
        raise EmofairError(f"the intervals of tier {tier.name!r} leave gaps, overlap or do not cover the TextGrid")


def _read_tier(tokens: _Tokens) -> Tier:
    kind, name = tokens.string(), tokens.string()
    if kind not in ("IntervalTier", "TextTier"):
        raise tokens.error(f"a tier of the class {kind!r} is not known")
    start, end = tokens.number(), tokens.number()
    if not start <= end:
        raise tokens.error(f"tier {name!r} lasts from {start} s to {end} s")
    last = -math.inf
    found: list = []
    for _ in range(tokens.count()):
        first = tokens.number()
        end = tokens.number() if kind == "IntervalTier" else first
        if first < last or end < first:
            raise tokens.error(f"the times of tier {name!r} run backwards")
        last = first
        text = tokens.string()
        found.append(Interval(first, end, text) if kind == "IntervalTier" else Point(first, text))
    return IntervalTier(name, found) if kind == "IntervalTier" else PointTier(name, found)


class _Tokens:
    """The free-standing strings, numbers and flags of a text, one after the other."""

    def __init__(self, text: str, path: Path) -> None:
        self.text, self.path, self.position = text, path, 0
        self.matches = _TOKEN.finditer(text)

    def _next(self) -> str | None:
        for match in self.matches:
            token = match[0]
            self.position = match.start()
            if token[0] in '"<' or _NUMBER.fullmatch(token):
                return token
        return None

    def _expected(self, what: str) -> str:
        token = self._next()
        if token is None:
            raise self.error(f"breaks off where {what} should follow", "Copy or export the file again")
        return token

    def string(self) -> str:
        """The next string, without its quotes."""
        token = self._expected("a text in quotes")
        if token[0] != '"' or len(token) < 2:
            raise self.error(f"{token[:20]!r} stands where a text in quotes should")
        return token[1:-1].replace('""', '"')

    def flag(self) -> str:
        """The next flag, such as ``<exists>``."""
        token = self._expected("<exists> or <absent>")
        if token not in ("<exists>", "<absent>"):
            raise self.error(f"{token[:20]!r} stands where <exists> or <absent> should")
        return token

    def number(self) -> float:
        """The next number."""
        token = self._expected("a number")
        if token[0] in '"<' or not math.isfinite(float(token)):
            raise self.error(f"{token[:20]!r} stands where a number should")
        return float(token)

    def count(self) -> int:
        """The next number, which says how many things follow."""
        value = self.number()
        if value < 0 or value != int(value):
            raise self.error(f"{value} stands where a count should")
        return int(value)

    def expect_end(self) -> None:
        """Nothing more may follow."""
        if self._next() is not None:
            raise self.error("more follows than the file announces", "Copy or export the file again")

    def error(self, what: str, remedy: str | None = None) -> EmofairError:
        """An error at the line of the last token."""
        return EmofairError(what, file=self.path, row=self.text.count("\n", 0, self.position) + 1, remedy=remedy)


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise EmofairError("no such TextGrid", file=path) from None
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path) from None
    if data.startswith(_BINARY):
        raise EmofairError("is a binary TextGrid", file=path, remedy=_REMEDY)
    encoding, skip = _encoding(data)
    try:
        text = data[skip:].decode(encoding)
    except UnicodeDecodeError as error:
        raise EmofairError(
            f"is neither UTF-8 nor UTF-16 (byte {error.start + skip})", file=path, remedy="Save it as UTF-8"
        ) from None
    # Old Macs end lines with a carriage return.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(data: bytes) -> tuple[str, int]:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return encoding, len(bom)
    # A TextGrid starts with ASCII characters, of which UTF-16 leaves one byte 0.
    if data[1:2] == b"\0":
        return "utf-16-le", 0
    return ("utf-16-be" if data[:1] == b"\0" else "utf-8"), 0
