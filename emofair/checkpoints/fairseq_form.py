"""The two forms of a fairseq checkpoint: ``args`` (up to 0.10) and ``cfg`` (since), read alike."""

from __future__ import annotations

import textwrap
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any

from torch import Tensor

from emofair.errors import EmofairError


def model_state(checkpoint: Mapping[str, Any], path: str | PathLike[str]) -> dict[str, Tensor]:
    """The weights by name, without anything that is not a tensor; `EmofairError` when there are none."""
    state = checkpoint.get("model")
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        raise EmofairError(
            f"holds no weights under 'model' as a fairseq checkpoint does; it has {', '.join(map(str, checkpoint))}",
            file=path,
        )
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def model_arguments(checkpoint: Mapping[str, Any], path: str | PathLike[str]) -> dict[str, Any]:
    """The options with which the model was built, by name; `EmofairError` when the checkpoint has none."""
    return _options(checkpoint, "model", path)


def task_arguments(checkpoint: Mapping[str, Any], path: str | PathLike[str]) -> dict[str, Any]:
    """The options of the task that trained the model, by name."""
    return _options(checkpoint, "task", path)


def _options(checkpoint: Mapping[str, Any], part: str, path: str | PathLike[str]) -> dict[str, Any]:
    options = as_dict(checkpoint.get("args"))
    if not options:
        options = as_dict(as_dict(checkpoint.get("cfg")).get(part))
    if not options:
        raise EmofairError("has neither 'args' nor 'cfg', so the shape of its model is unknown", file=path)
    return options


def as_dict(options: Any) -> dict[str, Any]:
    """A Namespace, dict or OmegaConf node as a dict of its top level; interpolations stay text."""
    from omegaconf import DictConfig, OmegaConf

    if isinstance(options, Namespace):
        return dict(vars(options))
    if isinstance(options, DictConfig):
        return dict(OmegaConf.to_container(options, resolve=False))
    return dict(options) if isinstance(options, Mapping) else {}


@contextmanager
def configuration_of(path: str | PathLike[str]) -> Iterator[None]:
    """Say in one line that a checkpoint's configuration cannot be used, whatever fails in using it.

    fairseq and OmegaConf have an exception of their own for each way in which one may be incomplete or of wrong types.
    """
    try:
        yield
    except EmofairError as error:
        raise EmofairError(error.what, file=error.file or path, row=error.row, remedy=error.remedy) from error
    except Exception as error:
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 240, placeholder=" ...")
        raise EmofairError(f"its configuration and weights make no model here ({reason})", file=path) from error
