"""The device that a command or the Python API was asked to use, checked before anything is loaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emofair.errors import EmofairError

if TYPE_CHECKING:
    import torch


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
