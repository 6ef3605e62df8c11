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
    if not is_own(part, name):
        ours = sorted(each for each, found in registry.items() if _is_own(found))
        raise EmofairError(f"the {part} {name!r} is not one of emofair's", remedy=f"Choose one of {', '.join(ours)}")
    return registry[name]


def refuse_foreign(checkpoint: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Raise `EmofairError` for a checkpoint that would make fairseq build a class that is not one of emofair's.

    ``checkpoint`` is as loaded, its ``cfg`` a mapping of plain containers or fairseq's configuration object.
    """
    cfg = checkpoint.get("cfg") or {}
    names = {part: _name(cfg.get(part)) for part in PARTS}
    for part, name in names.items():
        if not is_own(part, name):
            raise EmofairError(f"a checkpoint of the {part} {name!r}, which is not one of emofair's", file=path)
    # fairseq takes what stands under these names first.
    if checkpoint.get("args") is not None or "task" in cfg["task"]:
        raise EmofairError("its options are stored in the form of another program", file=path)


def trust_only_ours(checkpoint: Mapping[str, Any], path: str | os.PathLike[str], typed: Mapping[str, Any]) -> None:
    """Keep a checkpoint for our tasks, or any under a command for them, from building or writing what it wants.

    ``typed`` are the options of the command, which alone say where predictions go.
    """
    cfg = checkpoint.get("cfg") or {}
    if not is_own("task", typed.get("task")) and not is_own("task", _name(cfg.get("task"))):
        return
    refuse_foreign(checkpoint, path)
    for part in ("task", "criterion"):
        if "save_predictions" in cfg[part] and "save_predictions" not in typed:
            cfg[part]["save_predictions"] = None


def is_own(part: str, name: Any) -> bool:
    """Whether ``name`` is registered, and by emofair."""
    return isinstance(name, str) and _is_own(_registry(part).get(name))


def _name(section: Any) -> Any:
    return section.get("_name") if isinstance(section, Mapping) else section


def _registry(part: str) -> Mapping[str, type]:
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import ARCH_MODEL_REGISTRY
    from fairseq.tasks import TASK_REGISTRY

    return {"task": TASK_REGISTRY, "model": ARCH_MODEL_REGISTRY, "criterion": CRITERION_REGISTRY}[part]


def _is_own(found: type | None) -> bool:
    return found is not None and found.__module__.startswith("emofair.")
