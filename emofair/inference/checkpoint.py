"""Open a fine-tuned checkpoint for prediction; nothing else is needed on disk."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofair.device import find_device
from emofair.errors import EmofairError

REMEDY = "Give a checkpoint_best.pt of a training run"
REQUIRED = ("common", "task", "model", "criterion", "optimization", "dataset", "checkpoint", "distributed_training")
# Converted models have none.
OPTIONAL = ("optimizer", "lr_scheduler")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A model in evaluation mode with what it was trained for; ``trained_cfg`` is the configuration as stored."""

    path: Path
    model: object
    task: object
    cfg: object
    facts: dict[str, object]
    trained_cfg: dict[str, dict]


def load_checkpoint(path: str | os.PathLike[str], *, device: str = "cpu", **task_overrides) -> LoadedCheckpoint:
    """Rebuild model and task from a checkpoint written by fairseq-train with this plugin.

    ``task_overrides`` replace stored task options (``data``, ``data_raw``, ``protocol`` …). Raises `EmofairError` for a
    missing, truncated, hostile or foreign file, and for a ``device`` that is not there.
    """
    import emofair

    emofair.register()
    from fairseq import checkpoint_utils

    from emofair.checkpoints import named_classes, robertaemo, safe
    from emofair.checkpoints.fairseq_form import as_dict, configuration_of

    path, device = Path(path), find_device(device)
    state = safe.load(path)
    robertaemo.refuse_original(state, path)
    state["cfg"] = as_dict(state.get("cfg"))
    if not isinstance(state["cfg"].get("task"), Mapping) or not isinstance(state.get("model"), Mapping):
        raise EmofairError("not a checkpoint of fairseq-train with emofair", file=path, remedy=REMEDY)
    named_classes.refuse_foreign(state, path)
    _check_sections(state["cfg"], path)
    trained_cfg = copy.deepcopy(state["cfg"])
    if foreign := [name for name in task_overrides if name not in state["cfg"]["task"]]:
        task = state["cfg"]["task"].get("_name")
        if "save_predictions" in foreign:
            raise EmofairError(f"models of the task {task!r} make no predictions to evaluate", file=path, remedy=REMEDY)
        raise EmofairError(f"models of the task {task!r} have no option {foreign[0]}", file=path, remedy="Leave it out")
    state["cfg"]["task"].update(task_overrides)
    # fairseq wants its own configuration object around the plain containers that are stored.
    from omegaconf import OmegaConf

    with configuration_of(path):
        facts = {**(state.get("task_state") or {}), **_training_facts(state)}
        state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})
        models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], state=state)
    return LoadedCheckpoint(path, models[0].to(device).eval(), task, cfg, facts, trained_cfg)


def _check_sections(cfg: Mapping[str, Any], path: Path) -> None:
    missing = [name for name in REQUIRED if not isinstance(cfg.get(name), Mapping)]
    wrong = [name for name in OPTIONAL if not isinstance(cfg.get(name) or {}, Mapping)]
    if missing or wrong:
        what = f"no section {missing[0]!r}" if missing else f"a section {wrong[0]!r} that holds no options"
        raise EmofairError(f"its configuration has {what}", file=path, remedy=REMEDY)


def _training_facts(state: Mapping[str, Any]) -> dict[str, object]:
    cfg = state["cfg"]
    history = state.get("optimizer_history") or [{}]
    extra = state.get("extra_state") or {}
    best = extra.get("best")
    return {
        "task": cfg["task"].get("_name"),
        "model": cfg["model"].get("_name"),
        "seed": cfg["common"].get("seed"),
        "updates": history[-1].get("num_updates"),
        "selected_on": f"{cfg['dataset'].get('valid_subset')}/{cfg['checkpoint'].get('best_checkpoint_metric')}",
        "selected_value": None if best is None else float(best),
    }
