"""Comparing the checkpoints that two trainings wrote, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emofair.checkpoints import safe

CLOCKS = ("TimeMeter", "StopwatchMeter")


def differences(one: str | Path, other: str | Path) -> list[str]:
    """Names of what differs between two checkpoints of the same training; an empty list when they are equal.

    Compared are the weights, the optimizer's and the scheduler's state, the position in the data, the scores and the
    meters of the epoch. Left out are the configuration, clocks, and the meters over all epochs, which fairseq does not
    carry on after a restart.
    """
    ours, theirs = (dict(_values("", _of_training(safe.load(path)))) for path in (one, other))
    missing = ours.keys() ^ theirs.keys()
    return sorted(missing | {name for name in ours.keys() - missing if not _same(ours[name], theirs[name])})


def _of_training(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    extra = dict(checkpoint["extra_state"])
    extra.pop("previous_training_time")
    meters = {
        (group, name): state
        for group, entries in extra.pop("metrics").items()
        for _, name, kind, state in entries
        if group != "default" and kind not in CLOCKS
    }
    return {
        "model": checkpoint["model"],
        "optimizer": checkpoint["last_optimizer_state"],
        "history": checkpoint["optimizer_history"][-1],
        "task": checkpoint["task_state"],
        "extra": extra,
        "meters": meters,
    }


def _values(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        value = value.items()
    elif isinstance(value, (list, tuple)):
        value = enumerate(value)
    else:
        yield name, value
        return
    for key, part in value:
        yield from _values(f"{name}/{key}", part)


def _same(one: Any, other: Any) -> bool:
    import torch

    if torch.is_tensor(one) and torch.is_tensor(other):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and (one == other or (one != one and other != other))
