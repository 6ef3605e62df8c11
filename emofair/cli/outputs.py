"""The check of ``--out`` before hours of work, not after them."""

from __future__ import annotations

import os
from pathlib import Path

from emofair.errors import EmofairError


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
