"""What verbs do with ``--out``: checked before hours of work, not after them; pages written in one way."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emofair.errors import EmofairError, MissingExtra

if TYPE_CHECKING:
    from emofair.reports.document import Block


def check_folder(path: str | os.PathLike[str]) -> Path:
    """``path``, if it is a folder that can be written to, or can be made; nothing is made.

    Raises `EmofairError` naming what is in the way.
    """
    path = place = Path(path)
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        which = "it" if place == path else place
        what = "is not writable" if place.is_dir() else "is a file"
        raise EmofairError(f"not usable as a folder: {which} {what}", file=path, remedy="Give another --out")
    return path


def check_page(path: str | os.PathLike[str], what: str) -> Path:
    """``path``, if it can be that of a Markdown file; ``what`` it is to be says the `EmofairError` otherwise."""
    path = Path(path)
    if path.suffix != ".md" or path.is_dir():
        raise EmofairError(f"the {what} is a Markdown file", file=path, remedy="Give --out a name that ends in .md")
    return path


def can_draw() -> bool:
    """Whether pictures can be drawn; where not, a note says what is missing."""
    from emofair.reports import plots

    try:
        plots.require_matplotlib()
    except MissingExtra as error:
        print(f"emofair: note: no pictures: {error}", file=sys.stderr)
        return False
    return True


def write_page(path: Path, blocks: Sequence[Block], *, html: bool) -> list[Path]:
    """Write a page as Markdown, with ``html`` also as one file that holds its pictures; returns what was written."""
    from emofair.reports import document

    path.write_text(document.markdown(blocks), encoding="utf-8")
    if not html:
        return [path]
    whole = path.with_suffix(".html")
    whole.write_text(document.html_page(blocks, path.parent), encoding="utf-8")
    return [path, whole]
