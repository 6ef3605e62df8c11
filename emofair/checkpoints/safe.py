"""Loading torch checkpoints without running code from them, under an allow-list of harmless classes."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from emofair.checkpoints import numpy_pickle
from emofair.checkpoints.data_pickle import load_data_pickle
from emofair.checkpoints.diagnosis import TRUST_VARIABLE, check_file, explain_failure
from emofair.errors import EmofairError

__all__ = ["SAFE_GLOBALS", "explain", "load", "load_data_pickle", "register", "trusted"]


class NamedOnly:
    """Stands for a class of another program that checkpoints name without storing anything of it."""

    __slots__ = ()


def SAFE_GLOBALS() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What checkpoints of fairseq and its relatives hold besides tensors and plain containers.

    Classes, or pairs of a callable and the name under which a pickle asks for it. Every one of them only stores what it
    is given; numpy's own functions can be abused and are replaced by checked ones (`numpy_pickle`).
    """
    import argparse
    import collections
    import typing

    from fairseq import meters
    from fairseq.data import Dictionary
    from fairseq.distributed.utils import _TensorPlaceholder
    from omegaconf import AnyNode, BooleanNode, DictConfig, FloatNode, IntegerNode, ListConfig, StringNode
    from omegaconf.base import ContainerMetadata, Metadata, Node

    configs = [DictConfig, ListConfig, ContainerMetadata, Metadata, Node]
    configs += [AnyNode, StringNode, IntegerNode, FloatNode, BooleanNode]
    containers = [collections.OrderedDict, collections.defaultdict, collections.Counter]
    plain = [dict, list, set, tuple, str, int, float, bool, typing.Any]
    kept_meters = [meters.AverageMeter, meters.TimeMeter, meters.StopwatchMeter]
    return [
        argparse.Namespace,
        Dictionary,
        _TensorPlaceholder,
        *configs,
        *containers,
        *plain,
        *kept_meters,
        *[(meter, f"fairseq.meters.{meter.__name__}") for meter in kept_meters],
        *[(stand_in, name) for name, stand_in in numpy_pickle.STAND_INS.items()],
        # The stand-ins once more under their own names: what is built may only be filled if its class is listed.
        numpy_pickle.PlainDtype,
        numpy_pickle.PlainArray,
        (NamedOnly, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    ]


def register() -> None:
    """Let every ``torch.load`` of this process, fairseq's own included, use the allow-list; doing it twice is harmless.

    With ``EMOFAIR_TRUST_CHECKPOINTS=1`` in the environment fairseq's own loading is left unrestricted.
    """
    import torch

    torch.serialization.add_safe_globals(SAFE_GLOBALS())
    if trusted():
        os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"


def trusted() -> bool:
    """Whether the user has declared all checkpoints trustworthy through the environment."""
    return os.environ.get(TRUST_VARIABLE) == "1"


def load(path: str | os.PathLike[str], *, trust: bool | None = None, weights: bool = True) -> dict[str, Any]:
    """A checkpoint as a dictionary, its tensors on the CPU; without ``weights`` they are left in the file until used.

    Nothing in the file is run unless ``trust`` is true, or is unset and ``EMOFAIR_TRUST_CHECKPOINTS=1``. Raises
    `EmofairError` when the file is missing, truncated, not a checkpoint, or asks for code, which is listed by name, and
    when weights are not finite.
    """
    import torch

    path = check_file(path)
    unsafe = trusted() if trust is None else trust
    mmap = not weights and zipfile.is_zipfile(path)  # files of torch before 1.6 can only be read as a whole
    try:
        if unsafe:
            value = torch.load(path, map_location="cpu", weights_only=False, mmap=mmap)
        else:
            with _allow_list(), warnings.catch_warnings():
                # Whether a file can be read is told by reading it.
                warnings.filterwarnings("ignore", "Detected pickle protocol")
                value = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        value = numpy_pickle.to_numpy(value)
    except Exception as error:
        raise explain(path, error) from None
    if not isinstance(value, dict):
        raise EmofairError(f"holds a {type(value).__name__}, not a checkpoint", file=path)
    if weights:
        for part in (value, value.get("model"), value.get("state_dict")):
            check_finite(part if isinstance(part, Mapping) else {}, path)
    return value


def check_finite(weights: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Raise `EmofairError` where a tensor among ``weights`` holds NaN or infinity: nothing can be made of such a model.

    It is named.
    """
    import torch

    for name, value in weights.items():
        if isinstance(value, torch.Tensor) and not value.isfinite().all():
            raise EmofairError(
                f"its weights {name} are NaN or infinite", file=path, remedy="Take a checkpoint from before they were"
            )


def explain(path: str | os.PathLike[str], error: BaseException) -> EmofairError:
    """The one-line error to raise in place of ``error``, which came up while ``path`` was read as a checkpoint."""
    import torch

    try:
        with _allow_list():
            not_allowed = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not a zip archive, or broken: then the error itself has to tell
        not_allowed = []
    return explain_failure(path, error, not_allowed)


def _allow_list() -> AbstractContextManager[Any]:
    import torch

    # torch's context manager withdraws all of its entries at the end, also those that were registered before.
    present = torch.serialization.get_safe_globals()
    return torch.serialization.safe_globals([entry for entry in SAFE_GLOBALS() if entry not in present])
