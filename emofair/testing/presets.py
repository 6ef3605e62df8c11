"""The configuration that a training gets from a hydra preset, and from flags, to compare the two."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch


def from_preset(folder: str | Path, preset: str, *overrides: str) -> Any:
    """The configuration that ``fairseq-hydra-train --config-dir FOLDER --config-name PRESET OVERRIDES`` trains with."""
    import emofair

    emofair.register()
    from fairseq.dataclass.initialize import add_defaults, hydra_init
    from fairseq_cli.hydra_train import _hydra_main
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    hydra_init(preset)
    GlobalHydra.instance().clear()
    seen: list[Any] = []
    with (
        initialize_config_dir(str(folder), version_base="1.1"),
        patch("fairseq.distributed.utils.call_main", lambda cfg, main, **kwargs: seen.append(cfg)),
    ):
        _hydra_main(compose(preset, overrides=list(overrides)))
    add_defaults(seen[-1])
    return seen[-1]


def from_flags(arguments: Sequence[str]) -> Any:
    """The configuration that ``fairseq-train ARGUMENTS`` trains with."""
    import emofair

    emofair.register()
    from fairseq import options
    from fairseq.dataclass.initialize import add_defaults
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    args = options.parse_args_and_arch(options.get_training_parser(), input_args=list(arguments))
    cfg = convert_namespace_to_omegaconf(args)
    add_defaults(cfg)
    return cfg


def options_of(group: str, name: str) -> set[str]:
    """The options of a task, model, criterion, optimizer or lr_scheduler that is registered under ``name``."""
    import emofair

    emofair.register()
    from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    if group == "model":
        config = MODEL_DATACLASS_REGISTRY[ARCH_MODEL_NAME_REGISTRY.get(name, name)]
    elif group == "task":
        config = TASK_DATACLASS_REGISTRY[name]
    else:
        config = REGISTRIES[group]["dataclass_registry"][name]
    return {field.name for field in dataclasses.fields(config)} | {"_name"}


def plain(cfg: Any) -> dict[str, Any]:
    """A configuration as containers, references resolved."""
    from omegaconf import OmegaConf

    groups = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    del groups["scoring"]  # of translations: flags have a default for it, hydra has none, and training does not look
    return groups
