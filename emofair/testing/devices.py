"""Finding out whether code makes the host wait for the device, without needing one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

# What torch calls when a tensor's value is read by Python, or its result's shape depends on values.
READS = ("_local_scalar_dense", "nonzero", "bincount", "masked_select", "unique", "_unique2", "equal", "is_nonzero")


class _CountReads(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.overloadpacket.__name__ in READS
        return function(*args, **(kwargs or {}))


def reads_from_device(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Call ``function`` and return how often it reads values of tensors back to the host.

    On a GPU each of them waits for all work that was queued before.
    """
    with _CountReads() as reads:
        function(*args, **kwargs)
    return reads.count
