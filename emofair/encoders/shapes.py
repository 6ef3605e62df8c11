"""Modules without numbers: to be filled from a checkpoint, or to be compared with one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_RANDOM = (Tensor.normal_, Tensor.uniform_)


class _LeaveAsFound(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _RANDOM or getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextmanager
def unfilled() -> Iterator[None]:
    """Modules made inside have weights of memory as it was found, for `load_state_dict` to fill.

    A random initialisation that is overwritten at once costs seconds at the published sizes.
    """
    with _LeaveAsFound():
        yield


@contextmanager
def shapes_only() -> Iterator[None]:
    """Modules made inside have weights on the device ``meta``, without memory.

    Initialisation is left out there too: the first random number that torch draws on that device costs seconds, for it
    imports its compiler.
    """
    with torch.device("meta"), _LeaveAsFound():
        yield


class FillableModule(nn.Module):
    """Base of encoders that are made from a ``spec``, their shape, and then filled from a file."""

    @classmethod
    def unfilled(cls, spec: Any, **options: Any):
        """An fp32 encoder whose weights are memory as it was found, for `load_state_dict` to fill."""
        with unfilled():
            return cls(spec, **options)

    @classmethod
    def from_state(cls, spec: Any, state: Mapping[str, Tensor], **options: Any):
        """An fp32 encoder with a copy of the weights in ``state``."""
        encoder = cls.unfilled(spec, **options)
        encoder.load_state_dict(state)
        return encoder
