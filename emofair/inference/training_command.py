"""The fairseq-train command that a stored configuration stands for, and the settings that make runs comparable."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

SECTIONS = (
    "common",
    "task",
    "model",
    "criterion",
    "optimizer",
    "lr_scheduler",
    "optimization",
    "dataset",
    "checkpoint",
)
DISTRIBUTED = ("distributed_world_size", "ddp_backend", "find_unused_parameters")
CHOSEN = {
    "task": "task",
    "arch": "model",
    "criterion": "criterion",
    "optimizer": "optimizer",
    "lr-scheduler": "lr_scheduler",
}
# Written into the configuration by the training itself.
DERIVED = ("text_ssl_json", "speech_ssl_json", "encoder_ssl_json", "class_weight_values", "user_dir", "no_progress_bar")
# Where a run reads and writes and how it talks; none of it changes what is learned on the same data.
NOT_SETTINGS = {
    *("seed", "data", "data_raw", "save_dir", "save_predictions", "token_cache", "num_workers", "eval_metric"),
    *("log_format", "log_interval", "log_file", "tensorboard_logdir", "all_gather_list_size", "cpu"),
    *("restore_file", "reset_optimizer", "reset_dataloader", "reset_meters", "reset_lr_scheduler"),
    *("no_save", "no_epoch_checkpoints", "no_last_checkpoints", "no_save_optimizer_state"),
    *("keep_last_epochs", "keep_best_checkpoints", "keep_interval_updates", "save_interval", "save_interval_updates"),
}


def changed_options(cfg: Mapping[str, Any]) -> dict[str, Any] | None:
    """Options of a stored configuration that differ from the defaults of fairseq and emofair, by name.

    Returns None for a configuration of parts that are not registered here.
    """
    changed: dict[str, Any] = {}
    pairs = [(section, name) for section in SECTIONS for name in cfg.get(section) or {}]
    pairs += [("distributed_training", name) for name in DISTRIBUTED]
    try:
        dataclasses = {section: _dataclass(cfg, section) for section in {section for section, _ in pairs}}
    except KeyError:
        return None
    for section, name in pairs:
        if name.startswith("_") or name in DERIVED or name not in dataclasses[section]._get_all_attributes():
            continue
        value, usual = cfg[section].get(name), dataclasses[section]._get_default(name)
        if isinstance(usual, str) and usual.startswith("${"):
            # An option that takes its value from another one; without a help text it has no flag of its own.
            if dataclasses[section]._get_help(name) is None:
                continue
            linked_section, _, linked_name = usual[2:-1].partition(".")
            usual = (cfg.get(linked_section) or {}).get(linked_name)
        if _plain(value) != _plain(usual):
            changed[name] = value
    return changed


def training_command(cfg: Mapping[str, Any]) -> str | None:
    """A fairseq-train command line that gives this configuration again; None as for `changed_options`.

    None also for a model that fairseq-train did not train: a converted one has no optimizer. Paths, which tasks make
    absolute, are relative again where they lie under the working directory.
    """
    changed, choices = changed_options(cfg), _choices(cfg)
    if changed is None or None in choices.values():
        return None
    words = ["fairseq-train", "--user-dir", "emofair", *itertools.chain(*choices.items())]
    for name, value in sorted(changed.items()):
        words.append("--" + name.replace("_", "-"))
        if not isinstance(value, bool):
            words.append(",".join(map(str, value)) if isinstance(value, list) else _relative(str(value)))
    return shlex.join(words)


def settings(cfg: Mapping[str, Any]) -> dict[str, Any] | None:
    """What must be equal for runs to be averaged: `changed_options` without the seed, and without places.

    A fold in a path (``fold3``) is written ``fold*``.
    """
    changed = changed_options(cfg)
    if changed is None:
        return None
    kept = {name: _plain(value) for name, value in changed.items() if name not in NOT_SETTINGS}
    return {
        name: re.sub(r"(?i)\bfold[-_]?\d+", "fold*", value) if isinstance(value, str) else value
        for name, value in sorted(kept.items())
    }


def _choices(cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {f"--{flag}": (cfg.get(section) or {}).get("_name") for flag, section in CHOSEN.items()}


def _dataclass(cfg: Mapping[str, Any], section: str) -> Any:
    """An instance of the dataclass that declares the options of a section; KeyError if there is none."""
    from fairseq import criterions, models, optim, tasks
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.optim import lr_scheduler

    registries = {
        "task": tasks.TASK_DATACLASS_REGISTRY,
        "model": models.MODEL_DATACLASS_REGISTRY,
        "criterion": criterions.CRITERION_DATACLASS_REGISTRY,
        "optimizer": optim.OPTIMIZER_DATACLASS_REGISTRY,
        "lr_scheduler": lr_scheduler.LR_SCHEDULER_DATACLASS_REGISTRY,
    }
    if section in registries:
        name = (cfg.get(section) or {}).get("_name")
        found = registries[section][models.ARCH_MODEL_NAME_REGISTRY.get(name, name) if section == "model" else name]
    else:
        found = getattr(FairseqConfig(), section)
    # Forks of fairseq for Python 3.11 hold the sections as classes.
    return found() if isinstance(found, type) else found


def _relative(text: str) -> str:
    inside = os.path.isabs(text) and Path(text).is_relative_to(Path.cwd())
    return os.path.relpath(text) if inside else text


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    # Containers of fairseq hold "(0.9, 0.98)" as text or as a list, depending on where it came from.
    if isinstance(value, str) and re.fullmatch(r"[(\[][-+.,\d\seE]*[)\]]", value):
        return [float(each) for each in re.split(r"[,\s]+", value.strip("()[] ")) if each]
    return value
