"""Token files ``<data-raw>/<split>/<kind>/<id>.txt``: one text file of token ids per utterance, found and parsed."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence

import numpy as np

from emofair.errors import EmofairError
from emofair.special_tokens import PAD

logger = logging.getLogger(__name__)

KINDS = ("audio_token", "text")
_ALLOWED = b"0123456789 \t\r\n\v\f"
_LARGEST = np.iinfo(np.int32).max


def parse_tokens(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one token file: non-negative integers between any white space, all lines concatenated, as int64 [T].

    Raises EmofairError naming the file when it is missing, empty, or holds anything else.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise EmofairError(f"token file cannot be read ({error.strerror})", file=path) from None
    if content.translate(None, _ALLOWED):
        bad = next(word for word in content.split() if not word.isdigit())
        raise EmofairError(f"token file holds {bad[:20].decode(errors='replace')!r}, not a token id", file=path)
    if not content.strip():
        raise EmofairError("token file is empty", file=path)
    # only digits and white space are left: numpy's parser is exact on those, saturating on overflow
    tokens = np.fromstring(content.decode("ascii"), dtype=np.int64, sep=" ")
    if tokens.max() > _LARGEST:
        raise EmofairError(f"token file holds {tokens.max()}, which is too large for a token id", file=path)
    return tokens


def check_padding(tokens: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Raise EmofairError naming file and position where the model would take a sequence, or a part of it, for padding.

    Padding at the end is harmless.
    """
    padding = np.flatnonzero(tokens == PAD)
    if len(padding) == len(tokens):
        raise EmofairError(f"token file holds only {PAD}, the id of padding", file=path)
    if len(padding) and padding[0] < len(tokens) - len(padding):
        raise EmofairError(
            f"token file holds {PAD}, the id of padding, at position {padding[0] + 1} of {len(tokens)}",
            file=path,
            remedy="Write it again with 'emofair tokenize'",
        )


class TokenFiles:
    """The token files of a list of ids: where each lies, and a key that changes when any of them does.

    The key covers the ids, their folders, and each file's size and modification time: one ``stat`` per file. Files that
    are not under ``split`` are looked up under the other splits (corpora that were re-split keep their old folders).
    Raises EmofairError naming the first file that is nowhere.
    """

    def __init__(self, data_raw: str | os.PathLike[str], split: str, kind: str, ids: Sequence[str]) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")
        self.root = os.fspath(data_raw)
        self.split, self.kind, self.ids = split, kind, list(ids)
        self.folders = [split]
        self._folder_of = np.zeros(len(self.ids), dtype=np.int32)
        self._stamps = np.full((len(self.ids), 2), -1, dtype=np.int64)
        missing = self._stat(range(len(self.ids)))
        if missing:
            self._look_elsewhere(missing)
        listed = hashlib.sha256("\0".join([kind, *self.ids]).encode())
        self.list_key = listed.hexdigest()[:16]
        for part in ("\0".join(self.folders).encode(), self._folder_of.tobytes(), self._stamps.tobytes()):
            listed.update(part)
        self.key = listed.hexdigest()

    def path(self, index: int) -> str:
        """Path of an item's token file."""
        return os.path.join(self.root, self.folders[self._folder_of[index]], self.kind, f"{self.ids[index]}.txt")

    def _stat(self, indices: Sequence[int]) -> list[int]:
        """Note size and time of the given items' files; returns the items whose file is not there."""
        missing = []
        folders = [os.path.join(self.root, folder, self.kind) for folder in self.folders]
        for index in indices:
            try:
                found = os.stat(f"{folders[self._folder_of[index]]}/{self.ids[index]}.txt")
            except OSError:
                missing.append(index)
            else:
                self._stamps[index] = found.st_size, found.st_mtime_ns
        return missing

    def _look_elsewhere(self, missing: list[int]) -> None:
        others = (
            sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir()) if os.path.isdir(self.root) else []
        )
        for other in others:
            if (
                other == self.split
                or other.startswith(".")
                or not os.path.isdir(os.path.join(self.root, other, self.kind))
            ):
                continue
            self.folders.append(other)
            self._folder_of[missing] = len(self.folders) - 1
            still = self._stat(missing)
            if len(still) < len(missing):
                logger.warning(
                    "%d of the %d %s files of split %s are under %s/%s",
                    *(len(missing) - len(still), len(self.ids), self.kind, self.split, self.root, other),
                )
            missing = still
            if not missing:
                return
        self._folder_of[missing] = 0
        more = f" and {len(missing) - 1} more of {len(self.ids)}" if len(missing) > 1 else ""
        raise EmofairError(
            f"no such token file{more}, neither here nor under another split",
            file=self.path(missing[0]),
            remedy="Write them with 'emofair tokenize', or point --data-raw at the folder that holds them",
        )
