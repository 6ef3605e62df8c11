"""The folder of token files, ``<root>/<split>/<kind>/<id>.txt``, written so that a killed run leaves no half file."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emofair.data.token_files import KINDS, parse_tokens
from emofair.errors import EmofairError
from emofair.inference.provenance import file_sha256
from emofair.special_tokens import BOS, EOS

SPEECH, TEXT = KINDS


class TokenStore:
    """Token files below ``root``. ``kind`` is ``audio_token`` or ``text``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, split: str, kind: str, name: str) -> Path:
        """Where the tokens of the utterance ``name`` lie."""
        return self.root / split / kind / f"{name}.txt"

    def read(self, split: str, kind: str, name: str) -> np.ndarray | None:
        """Ids int64 [n] of a complete file; None when it is absent, empty, cut off or otherwise damaged."""
        path = self.path(split, kind, name)
        try:
            tokens = parse_tokens(path)
        except EmofairError:
            return None
        if len(tokens) < 2 or tokens[0] != BOS or tokens[-1] != EOS:
            return None
        with path.open("rb") as file:
            file.seek(-1, 2)
            # Without white space behind it, the final 2 may be the beginning of 2048.
            return tokens if file.read(1).isspace() else None

    def write(self, split: str, kind: str, name: str, tokens: np.ndarray) -> None:
        """Write ids, tab-separated on one line; the file appears under its name only when it is complete."""
        path = self.path(split, kind, name)
        part = path.with_name(f".{name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text("\t".join(map(str, tokens.tolist())) + "\n", encoding="ascii")
            part.replace(path)
        except OSError as error:
            raise EmofairError(f"the tokens cannot be written ({error.strerror})", file=path) from None

    def has(self, kind: str) -> bool:
        """Whether any split has a folder of this kind."""
        return any(self.root.glob(f"*/{kind}"))

    def is_claimed(self, kind: str) -> bool:
        """Whether it is on record what the tokens of this kind are made with."""
        return self._record(kind).is_file()

    def claim(self, kind: str, made_with: Mapping[str, str]) -> None:
        """Put on record what the tokens of this kind are made with.

        Raises EmofairError when the ones that are there were made with something else: mixed vocabularies
        cannot be seen in the files.
        """
        record = self._record(kind)
        if record.is_file():
            earlier = json.loads(record.read_text(encoding="utf-8"))
            changed = [name for name in {**earlier, **made_with} if earlier.get(name) != made_with.get(name)]
            if changed:
                raise EmofairError(
                    f"the {kind} files here were made with another {' and another '.join(changed)}",
                    file=self.root,
                    remedy=f"Give a new --out, or delete {record.name} and the {kind} folders to make them again",
                )
            return
        self.root.mkdir(parents=True, exist_ok=True)
        # Several processes may claim at once, each with a file of its own.
        part = record.with_name(f".{record.name}.{uuid.uuid4().hex[:8]}")
        part.write_text(json.dumps(dict(made_with), indent=1) + "\n", encoding="utf-8")
        part.replace(record)

    def _record(self, kind: str) -> Path:
        return self.root / f"{kind}.made_with.json"


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a file, shortened to 16 hexadecimal digits."""
    return file_sha256(path)[:16]
