"""Open a fine-tuned checkpoint for prediction; nothing else is needed on disk."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path

from emofair.errors import EmofairError


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
    missing, truncated, hostile or foreign file.
    """
    import emofair
    from emofair.checkpoints import named_classes, robertaemo, safe

    emofair.register()
    from fairseq import checkpoint_utils

    path = Path(path)
    state = safe.load(path)
    robertaemo.refuse_original(state, path)
    if state.get("cfg") is None or "model" not in state:
        raise EmofairError(
            "not a checkpoint of fairseq-train with emofair",
            file=path,
            remedy="Give a checkpoint_best.pt of a training run",
        )
    named_classes.refuse_foreign(state, path)
    trained_cfg = copy.deepcopy(state["cfg"])
    state["cfg"]["task"].update(task_overrides)
    facts = dict(state.get("task_state") or {})
    facts.update(_training_facts(state))
    # fairseq wants its own configuration object around the plain containers that are stored.
    from omegaconf import OmegaConf

    state["cfg"] = OmegaConf.create(state["cfg"], flags={"allow_objects": True})
    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], state=state)
    model = models[0].to(device).eval()
    return LoadedCheckpoint(path, model, task, cfg, facts, trained_cfg)


def _training_facts(state: dict) -> dict[str, object]:
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
