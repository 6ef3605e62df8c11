"""The one error type a user sees: a single line that says what is wrong, where, and what to do."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType


class EmofairError(ValueError):
    """An error caused by input, options or installation, told in one line.

    ``what`` says what is wrong; ``file`` and ``row`` (1-based) say where; ``remedy`` says what to do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        file: str | os.PathLike[str] | None = None,
        row: int | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what, self.file, self.row, self.remedy = what, file, row, remedy
        if what.startswith("Caught ") and "DataLoader worker" in what:
            # torch re-raises a worker's error with its whole traceback as the message; it ends with our line.
            self.what = what.strip().splitlines()[-1].partition(": ")[2]
            super().__init__(self.what)
            return
        place = "" if file is None else f"{os.fspath(file)}{'' if row is None else f':{row}'}: "
        line = f"{place}{what.rstrip('.')}"
        if remedy:
            line += f". {remedy.rstrip('.')}."
        super().__init__(" ".join(line.split()))

    def __reduce__(self) -> tuple:
        # Exceptions with keyword arguments do not survive the trip out of a data-loading worker otherwise.
        return _rebuild, (type(self), self.what, self.file, self.row, self.remedy)


def some(names: Sequence[str], most: int = 3) -> str:
    """The first of ``names``, for a line that has no room for all."""
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")


class MissingExtra(EmofairError, ImportError):
    """An optional dependency is needed and absent."""


def _rebuild(cls: type[EmofairError], what: str, file: str | None, row: int | None, remedy: str | None) -> EmofairError:
    return cls(what, file=file, row=row, remedy=remedy)


def require(module: str, extra: str, purpose: str | None = None) -> ModuleType:
    """Import ``module``, or say in one line which extra of emofair brings it."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        reason = f"{purpose} needs the Python package {module.split('.')[0]!r}" if purpose else f"{module!r} is missing"
        raise MissingExtra(f"{reason} ({error})", remedy=f"pip install 'emofair[{extra}]'") from None


def show_in_one_line() -> None:
    """Make uncaught `EmofairError`s print one line instead of a traceback, in whatever program we are imported."""
    previous = sys.excepthook
    if getattr(previous, "_emofair", False):
        return

    def hook(kind, error, traceback):
        if not print_in_one_line(error):
            previous(kind, error, traceback)

    hook._emofair = True
    sys.excepthook = hook


def print_in_one_line(error: BaseException) -> bool:
    """Print an `EmofairError`, also one that ended a process of ours, on stderr; False for any other error.

    With ``EMOFAIR_TRACEBACK`` set in the environment nothing is printed, so that the traceback is seen.
    """
    line = None
    if isinstance(error, EmofairError):
        line = str(error)
    elif type(error).__name__ == "ProcessRaisedException":  # torch's: its message is the traceback of the process
        name, _, message = str(error).strip().splitlines()[-1].partition(": ")
        if name in (f"{__name__}.EmofairError", f"{__name__}.MissingExtra"):
            line = message
    if line is None or os.environ.get("EMOFAIR_TRACEBACK"):
        return False
    print(f"emofair: error: {line}", file=sys.stderr)
    return True
