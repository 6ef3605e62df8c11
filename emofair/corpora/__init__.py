"""Published corpora: one file per corpus, each turns its raw download into splits of utterances.

A module has ``read(root, **options) -> Source``; it reads labels, texts and file names and touches no audio.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from emofair.data.audio import PathLike
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

UNDIVIDED = "all"


@dataclass
class Source:
    """What a corpus module found.

    ``root`` is the folder that paths are written relative to; ``problems`` are rows that cannot be used, ``dropped``
    counts what is left out on purpose, ``mismatches`` are differences from the published counts, ``notes`` are for
    the user; ``shared_groups`` are the columns that the published split itself shares between splits; ``facts`` go
    into ``corpus.json``. A corpus that is published without a split comes as one split, `UNDIVIDED`; ``given_folds``
    says, where folds are listed, what split an id has in each: {fold: {id: split}}.
    """

    name: str
    root: PathLike
    splits: dict[str, list[Utterance]] = field(default_factory=dict)
    problems: list[EmofairError] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    mismatches: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shared_groups: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    given_folds: dict[str, dict[str, str]] = field(default_factory=dict)
