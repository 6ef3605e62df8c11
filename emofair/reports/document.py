"""A report as a list of blocks, written as Markdown or as one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2, h3 { line-height: 1.2; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.8rem; text-align: left; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #222; }
td.number, th.number { text-align: right; }
pre { background: #f6f6f6; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
img { max-width: 100%; }
"""


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is that of the whole report."""

    level: int
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list with a bullet before each item."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """``numeric`` is the number of columns from the right that hold figures."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: int = 0


@dataclass(frozen=True)
class Code:
    """Lines to copy as they are."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Picture:
    """``path`` is relative to the report."""

    path: str
    alt: str
    width: int


Block = Heading | Text | Items | Table | Code | Picture


def markdown(blocks: Sequence[Block]) -> str:
    """The report in GitHub's Markdown."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_escape(block.text)}"
    if isinstance(block, Text):
        return _escape(block.text)
    if isinstance(block, Items):
        return "\n".join(f"- {_escape(item)}" for item in block.items)
    if isinstance(block, Code):
        return "\n".join(["```sh", *block.lines, "```"])
    if isinstance(block, Picture):
        return f'<img src="{html.escape(block.path)}" alt="{html.escape(block.alt)}" width="{block.width}">'
    left = len(block.header) - block.numeric
    rule = ["---"] * left + ["---:"] * block.numeric
    rows = [[_escape(cell) for cell in row] for row in [block.header, *block.rows]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])


def _escape(text: str) -> str:
    for character in "\\|*_`<[":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


def html_page(blocks: Sequence[Block], folder: str | os.PathLike[str]) -> str:
    """The report as one HTML file; pictures are read from ``folder`` and put into it."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), "Results")
    body = "\n".join(_html(block, Path(folder)) for block in blocks)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Items):
        return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Code):
        return f"<pre>{html.escape(chr(10).join(block.lines))}</pre>"
    if isinstance(block, Picture):
        data = base64.b64encode((folder / block.path).read_bytes()).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{html.escape(block.alt)}" style="width: {block.width}px">'
    first = len(block.header) - block.numeric

    def row(cells: Sequence[str], tag: str) -> str:
        kinds = ["" if i < first else ' class="number"' for i in range(len(cells))]
        parts = (f"<{tag}{kind}>{html.escape(c)}</{tag}>" for c, kind in zip(cells, kinds, strict=True))
        return f"<tr>{''.join(parts)}</tr>"

    rows = "\n".join(row(cells, "td") for cells in block.rows)
    return f'<div class="wide"><table>\n{row(block.header, "th")}\n{rows}\n</table></div>'
