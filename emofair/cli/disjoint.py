"""The check of `prepare` and `tokenize` that no id, speaker, session, dialog or sound is on both sides of a split."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.data.corpus_check import Clip, Splits

MOST_SHOWN = 20
HELP = "accept ids, speakers and audio that are in two splits"


def refuse_overlap(
    splits: Splits,
    *,
    allow: bool,
    shared: Iterable[str] = (),
    warnings: bool = True,
    skip_bad: bool = False,
    digests: dict[Clip, str] | None = None,
) -> None:
    """Print what splits share, and raise `EmofairError` unless it is allowed.

    Lengths of audio must be known (``n_samples``). Groups in ``shared`` are only warned of, and not even that without
    ``warnings``. ``skip_bad`` passes over audio that cannot be decoded; ``digests`` collects hashes for the next call.
    """
    from emofair.data.corpus_check import overlaps, shared_audio

    found = [p for p in overlaps(splits, shared=shared, allow=allow) if warnings or not p.warning]
    for problem in found:
        _say(str(problem))
    if any(not problem.warning for problem in found):
        raise EmofairError("the splits are not disjoint", remedy="correct the list, or accept it with --allow-overlap")
    doubles = list(shared_audio(splits, progress=True, skip_bad=skip_bad, digests=digests))
    for split, identifier, other_split, other in doubles[:MOST_SHOWN]:
        _say(f"the same audio is in {split} ({identifier}) and {other_split} ({other})")
    if doubles and not allow:
        raise EmofairError(
            f"{len(doubles)} clips are in two splits",
            remedy="remove them from one, or accept them with --allow-overlap",
        )


def _say(line: str) -> None:
    print(f"emofair: {line}", file=sys.stderr)
