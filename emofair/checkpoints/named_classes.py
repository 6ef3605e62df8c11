"""The classes that a configuration or a checkpoint names: only emofair's own are built.

Some of fairseq's own evaluate strings of their configuration as Python: the layers of wav2vec, the decoder options of
CTC. A checkpoint brings its configuration along, so building what it names would run code from it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from emofair.errors import EmofairError

PARTS = ("task", "model", "criterion")


def own_class(part: str, name: Any) -> type:
    """The class registered under ``name`` for a ``part`` (task, model, criterion).

    Raises `EmofairError` when there is none, or when it is not one of emofair's.
    """
    registry = _registry(part)
    found = registry.get(name) if isinstance(name, str) else None
    if not _is_own(found):
        ours = sorted(each for each, kind in registry.items() if _is_own(kind))
        raise EmofairError(f"the {part} {name!r} is not one of emofair's", remedy=f"Choose one of {', '.join(ours)}")
    return found


def refuse_foreign(checkpoint: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Raise `EmofairError` for a checkpoint that would make fairseq build a class that is not one of emofair's.

    ``checkpoint`` is as loaded, its ``cfg`` a mapping of plain containers or fairseq's configuration object.
    """
    # fairseq takes what stands under these names first.
    if checkpoint.get("args") is not None or "task" in checkpoint["cfg"]["task"]:
        raise EmofairError("its options are stored in the form of another program", file=path)
    for part in PARTS:
        stored = checkpoint["cfg"].get(part)
        name = stored.get("_name") if isinstance(stored, Mapping) else stored
        if not _is_own(_registry(part).get(name) if isinstance(name, str) else None):
            raise EmofairError(f"a checkpoint of the {part} {name!r}, which is not one of emofair's", file=path)


def _registry(part: str) -> Mapping[str, type]:
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import ARCH_MODEL_REGISTRY
    from fairseq.tasks import TASK_REGISTRY

    return {"task": TASK_REGISTRY, "model": ARCH_MODEL_REGISTRY, "criterion": CRITERION_REGISTRY}[part]


def _is_own(found: type | None) -> bool:
    return found is not None and found.__module__.startswith("emofair.")
