"""The configuration that a training gets from a hydra preset, and from flags, to compare the two."""

from __future__ import annotations

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


def plain(cfg: Any) -> dict[str, Any]:
    """A configuration as containers, references resolved."""
    from omegaconf import OmegaConf

    groups = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    del groups["scoring"]  # of translations: flags have a default for it, hydra has none, and training does not look
    return groups
