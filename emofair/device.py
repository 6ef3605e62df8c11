"""The device that a command or the Python API was asked to use, checked before anything is loaded."""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import TYPE_CHECKING

from emofair.errors import EmofairError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def find_device(name: str | torch.device) -> torch.device:
    """``cpu``, ``cuda`` or ``cuda:<n>`` as torch's device; `EmofairError` for others and for an absent GPU."""
    name = str(name)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise EmofairError(f"--device {name} is not known", remedy="Use cpu, cuda or cuda:<n>")
    import torch

    if name == "cpu":
        return torch.device(name)
    if not torch.cuda.is_available():
        raise EmofairError(f"--device {name}, and torch sees no GPU here", remedy="Use --device cpu")
    device, present = torch.device(name), torch.cuda.device_count()
    if device.index is not None and device.index >= present:
        raise EmofairError(f"--device {name}, and there are {present} GPUs, counted from 0", remedy="Use --device cuda")
    return device


@cache
def _cpu_has_fast_bf16() -> bool:
    import torch

    # Named with an underscore by torch, so they may go.
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe is not None and probe() for probe in probes)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether products in bfloat16 have instructions of their own there; a CPU without emulates them, slowly."""
    return device.type != "cpu" or _cpu_has_fast_bf16()


def autocast_pays(device: torch.device, asked: bool) -> bool:
    """Whether to compute in bfloat16 autocast where it was ``asked`` for: not where that is slower than fp32."""
    if asked and not has_fast_bf16(device):
        _warn_of_slow_bf16()
        return False
    return asked


@cache
def _warn_of_slow_bf16() -> None:
    logger.warning("this CPU has no bfloat16 instructions: autocast would double the time, and fp32 is used instead")
