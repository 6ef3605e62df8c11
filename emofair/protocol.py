"""Which splits a run may train on, select by and share items between.

``clean``: nothing of the test set is seen before the end. ``transductive``: earlier stages may have heard it, without
its labels. ``paper``: published habits are allowed, and told.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from emofair.errors import EmofairError, some

logger = logging.getLogger(__name__)

PROTOCOLS = ("clean", "transductive", "paper")
TEST = "test"
OR_PAPER = "or say --protocol paper to have the result marked so"


def is_laxer(protocol: str, other: str) -> bool:
    """Whether ``protocol`` allows what ``other`` does not."""
    return PROTOCOLS.index(protocol) > PROTOCOLS.index(other)


@dataclass(frozen=True)
class Subsets:
    """The splits that a run trains and validates on, under the names that it gives them."""

    train: str = "train"
    valid: tuple[str, ...] = ("valid",)

    @classmethod
    def of(cls, run: Any) -> Subsets:
        """Those of fairseq's whole configuration; its defaults without one."""
        dataset = run.get("dataset") if run is not None else None
        if dataset is None:
            return cls()
        valid = () if dataset.disable_validation else tuple(dataset.valid_subset.split(","))
        return cls(dataset.train_subset, valid)

    def check(self) -> None:
        """Raise `EmofairError` when training or selecting by these is for the paper protocol alone."""
        if is_test(self.train):
            raise EmofairError(
                f"--train-subset {self.train} would train on the test set", remedy=f"Train on 'train', {OR_PAPER}"
            )
        if any(is_test(split) for split in self.valid):
            raise EmofairError(
                f"--valid-subset {','.join(self.valid)} would show the test set before training has ended",
                remedy=f"Validate on 'valid', {OR_PAPER}",
            )
        if self.train in self.valid[:1]:
            raise EmofairError(
                f"--valid-subset {self.train} would select by the items that are trained on",
                remedy=f"Put another split first, {OR_PAPER}",
            )

    def apart(self, *held_out: str) -> list[tuple[str, str]]:
        """Pairs of splits that must not share items; ``held_out`` are further ones that are scored."""
        scored = [*self.valid, *held_out, TEST]
        pairs = [(self.train, split) for split in scored]
        pairs += [(split, last) for split in self.valid for last in (*held_out, TEST)]
        return [pair for pair in dict.fromkeys(pairs) if pair[0] != pair[1]]


def is_test(split: str) -> bool:
    """Whether a split is a test set by its name: ``test``, ``test2``, ``test_session5`` …"""
    return os.path.basename(split).startswith(TEST)


def check_overlap(
    protocol: str,
    pairs: Iterable[tuple[str, str]],
    members: Callable[[str], set[str] | None],
    where: str | os.PathLike[str],
    *,
    quiet: bool = False,
) -> None:
    """Refuse items that both splits of a pair have, except under ``paper``, where it is told how many there are.

    ``members`` gives the ids of a split, None for one that is absent; ``quiet`` leaves the telling to another process.
    """
    found: dict[str, set[str]] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for pair in pairs:
        for split in pair:
            if split not in found:
                found[split] = members(split) or set()
        both = found[pair[0]] & found[pair[1]]
        if both:
            shared[pair] = sorted(both)
    if not shared:
        return
    if protocol != "paper":
        (left, right), ids = next(iter(shared.items()))
        raise EmofairError(
            f"splits {left} and {right} share {len(ids)} items ({some(ids)})",
            file=where,
            remedy=f"Take them out of one of the lists: a score on them would not be a test score; {OR_PAPER}",
        )
    if not quiet:
        counts = ", ".join(f"{left} and {right}: {len(ids)}" for (left, right), ids in shared.items())
        logger.warning("%s: protocol paper: items that two splits share: %s", where, counts)
