"""Published corpora: one file per corpus, each turns its raw download into splits of utterances.

A module has ``read(root, **options) -> Source``; it reads labels, texts and file names and touches no audio.
"""

from __future__ import annotations

import os
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
    says, where folds are listed, what split an id has in each: {fold: {id: split}}. ``rows`` says of a corpus that was
    read from lists in which file and row an utterance is: {(split, id): (file, row)}.
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
    rows: dict[tuple[str, str], tuple[PathLike, int]] = field(default_factory=dict)

    def of_row(self, error: EmofairError, split: str, identifier: str) -> EmofairError:
        """An error about an utterance, with the list and row that it is in, where that is known."""
        if (split, identifier) not in self.rows:
            return error
        file, row = self.rows[split, identifier]
        what = error.what if error.file is None else f"{os.fspath(error.file)}: {error.what}"
        return EmofairError(what, file=file, row=row, remedy=error.remedy)
