"""Read run folders: the ``metrics.json`` of `emofair evaluate` and the training log beside it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofair.errors import EmofairError
from emofair.reports.curves import Curves, read_log

METRICS, LOG = "metrics.json", "train.log"
REMEDY = "Make it again with `emofair evaluate ... --out DIR`"

# Entries that a table cannot do without; all others may be absent or null.
REQUIRED = ("metrics", "split", "protocol")
NAMES = ("modalities", "classes", "confusion_classes")
TYPES: dict[tuple[type, ...], tuple[str, ...]] = {
    (str,): (
        *("name", "system", "task", "model", "fusion", "target", "split", "protocol", "data", "data_sha256"),
        *("checkpoint", "checkpoint_sha256", "selected_on", "commit", "command", "train_command", "majority_guess"),
    ),
    (int, str): ("seed", "fold"),
    (int,): ("updates", "n"),
    (int, float): ("selected_value",),
    (bool,): ("frozen",),
    (list,): ("confusion", *NAMES),
    (dict,): ("metrics", "majority", "settings", "versions"),
}


@dataclass(frozen=True)
class Run:
    """One scored checkpoint: ``record`` is its metrics.json, ``curves`` its training log if there is one."""

    folder: Path
    record: dict[str, Any]
    curves: Curves | None

    def get(self, name: str) -> Any:
        """An entry of the record; None where it is absent."""
        return self.record.get(name)


def find_runs(folders: Iterable[str | os.PathLike[str]]) -> list[Run]:
    """Every run under ``folders``, sorted by path.

    The training log is ``train.log`` in the run's folder or, within the folder given, in the nearest one above. Raises
    `EmofairError` for a missing folder, one without any run, and a malformed file.
    """
    found: dict[Path, Run] = {}
    for root in map(Path, folders):
        if not root.is_dir():
            what = "this is a file, and a folder is needed" if root.exists() else "no such folder"
            raise EmofairError(what, file=root, remedy="Give folders that hold the results of `emofair evaluate --out`")
        files = sorted(root.rglob(METRICS))
        if not files:
            raise EmofairError(f"no {METRICS} in or under this folder", file=root, remedy=REMEDY)
        for file in files:
            if file.resolve() not in found:
                found[file.resolve()] = Run(file.parent, read_record(file), _curves(file.parent, root))
    return [found[path] for path in sorted(found)]


def read_record(path: Path) -> dict[str, Any]:
    """The content of a metrics.json, checked; paths below the working directory as seen from it.

    A report is read elsewhere, where the absolute path of a folder says nothing.
    """
    here = json.dumps(os.path.join(os.getcwd(), ""))[1:-1]
    try:
        record = json.loads(path.read_text(encoding="utf-8").replace(here, ""))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise EmofairError(f"cannot be read as JSON ({error})", file=path, remedy=REMEDY) from None
    if not isinstance(record, dict):
        raise EmofairError("not the result of an evaluation: no JSON object", file=path, remedy=REMEDY)
    for name in REQUIRED:
        if record.get(name) is None:
            raise EmofairError(f"not the result of an evaluation: no {name!r}", file=path, remedy=REMEDY)
    for kinds, names in TYPES.items():
        for name in names:
            if record.get(name) is not None and not isinstance(record[name], kinds):
                raise EmofairError(f"{name!r} is {record[name]!r}", file=path, remedy=REMEDY)
    for name in NAMES:
        if not all(isinstance(each, str) for each in record.get(name) or ()):
            raise EmofairError(f"{name!r} is {record[name]!r}, not names", file=path, remedy=REMEDY)
    for entry in ("metrics", "majority"):
        for name, value in (record.get(entry) or {}).items():
            if value is not None and not _is_number(value):
                raise EmofairError(f"{name!r} in {entry!r} is no number: {value!r}", file=path, remedy=REMEDY)
    _check_confusion(record, path)
    return record


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_confusion(record: dict[str, Any], path: Path) -> None:
    matrix, classes = record.get("confusion"), record.get("confusion_classes")
    if matrix is None:
        return
    k = len(classes or ())
    square = len(matrix) == k > 0 and all(isinstance(row, list) and len(row) == k for row in matrix)
    if not square or not all(_is_number(cell) for row in matrix for cell in row):
        raise EmofairError(f"'confusion' is no matrix of counts of the {k} classes", file=path, remedy=REMEDY)


def _curves(folder: Path, root: Path) -> Curves | None:
    while True:
        if (folder / LOG).is_file():
            return read_log(folder / LOG)
        # Above the folder of one run there may be a log of something else: go up only where no sibling is a run.
        if folder == root or len(list(folder.parent.rglob(METRICS))) > 1:
            return None
        folder = folder.parent
