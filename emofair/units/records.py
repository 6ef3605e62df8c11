"""Records: JSON objects that say what a stage made and from what; what one says is checked here, when it is read.

A name means the same in the record of a feature dump, of a k-means and of frame labels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from emofair.data.leak_check import ID_LISTS
from emofair.errors import EmofairError


def read_record(path: Path, what: str, required: Iterable[str], remedy: str) -> dict[str, Any] | None:
    """The record of ``what`` at ``path``, by `check_record`; None when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EmofairError(f"the record of {what} cannot be read ({error})", file=path, remedy=remedy) from None
    return check_record(content, what, required, path, remedy)


def check_record(content: Any, what: str, required: Iterable[str], path: Path, remedy: str) -> dict[str, Any]:
    """``content`` itself; EmofairError unless it has all that is ``required``, each of its kind."""
    if fault := _fault(content, required):
        raise EmofairError(f"is not the record of {what} ({fault})", file=path, remedy=remedy)
    return content


def _fault(content: Any, required: Iterable[str] = ()) -> str | None:
    if not isinstance(content, dict):
        return "no JSON object"
    for name in required:
        if content.get(name) is None:
            return f"it has no {name}"
    for name, value in content.items():
        if name not in _KINDS or (value is None and name not in _PARTS):
            continue
        if not _KINDS[name](value):
            return f"{name}: {str(value)[:40]!r}"
        if isinstance(value, dict) and name != "source" and (fault := _fault(value)):
            return fault
    return None


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _is_count(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


def _is_rate(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


# Never null, as what is only not known may be.
_PARTS = ("features", "fit")
_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys((*_PARTS, "source", "trained_on"), _is(dict)),
    **dict.fromkeys(ID_LISTS, _is(list)),
    **dict.fromkeys(("split", "dtype", "manifest"), _is(str)),
    **dict.fromkeys(("list_sha256", "ids_sha256", "audio_sha256", "kmeans_sha256", "labels_sha256"), _is(str)),
    **dict.fromkeys(("nshard", "dim", "n_frames", "n_clips", "hop", "receptive_field", "k"), _is_count(1)),
    "rank": _is_count(0),
    "frame_rate": _is_rate,
}
