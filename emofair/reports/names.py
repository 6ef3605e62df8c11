"""Names of files that a report writes."""

from __future__ import annotations

import re


def slug(text: str) -> str:
    """``text`` with a hyphen for everything but letters, digits and underscores; "group" where nothing is left."""
    return re.sub(r"\W+", "-", text).strip("-") or "group"


def unique(name: str, taken: set[str]) -> str:
    """``name``, numbered from 2 if it is among ``taken``, to which the result is added."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}-{count}"
    taken.add(candidate)
    return candidate
