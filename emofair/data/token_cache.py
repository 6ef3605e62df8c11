"""Token files packed into one memory-mapped array per split and kind.

Opening and parsing thousands of small text files in every epoch is slow, so they are read once and packed. A pack is
rebuilt whenever a file or the list of items has changed, or when it is damaged, and deleted when a newer one of its
split and kind is written and nobody has used it for a month.

Layout of a pack: 512 bytes of header (magic line, JSON, spaces), int64 offsets [n + 1], then all ids in one flat array
of the smallest of uint16 and int32 that holds them.
"""

from __future__ import annotations

import contextlib
import getpass
import glob
import hashlib
import json
import logging
import mmap
import os
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from emofair.data.file_lock import locked
from emofair.data.token_files import TokenFiles, check_padding, parse_tokens
from emofair.errors import EmofairError

logger = logging.getLogger(__name__)

CACHE_FOLDER = ".emofair_cache"
KEPT_DAYS = 30
_MAGIC = b"emofair token pack 2\n"
_HEADER_BYTES = 512


class TokenCache:
    """The token sequences of a list of ids: ``cache[i]`` is a read-only array view of item i, ``lengths`` int64 [n].

    Use :meth:`open`. Processes share the memory pages; a pickled cache holds no tokens and maps its file again on use.
    """

    def __init__(self, path: Path, files: TokenFiles, header: dict[str, Any]) -> None:
        self.path, self.files, self.ids = path, files, files.ids
        self.largest_id: int = header["largest"]
        self._header = header
        self._map()
        self.lengths = np.diff(self._offsets)

    @classmethod
    def open(
        cls,
        data_raw: str | os.PathLike[str],
        split: str,
        kind: str,
        ids: Sequence[str],
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> TokenCache:
        """Open the pack of ``<data_raw>/<split>/<kind>/<id>.txt``, building it if needed.

        ``kind`` is "audio_token" or "text".
        Packs lie in ``cache_dir``, by default ``<data_raw>/.emofair_cache`` or, where that cannot be written, a folder
        of the user's under the system's temporary folder. Raises EmofairError naming a token file that is missing or
        malformed.
        """
        files = TokenFiles(data_raw, split, kind, ids)
        name = f"{split.replace(os.sep, '_')}.{kind}.{files.list_key}.pack"
        folders = (
            [Path(cache_dir)] if cache_dir is not None else [Path(data_raw) / CACHE_FOLDER, _own_temporary(data_raw)]
        )
        for folder in folders:
            header = _read_header(folder / name, files.key)
            if header:
                return cls(folder / name, files, header)
        packed = None
        for folder in folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with locked(folder / f"{name}.lock"):
                    header = _read_header(folder / name, files.key)  # another process may have been faster
                    if not header:
                        packed = packed or _pack(files)
                        header = _write(folder / name, files.key, *packed)
                        _remove_unused(folder, name)
                return cls(folder / name, files, header)
            except OSError as error:
                problem = error
        raise EmofairError(f"the token cache cannot be written: {problem}", file=folders[-1])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> np.ndarray:
        if self._offsets is None:
            self._map()
        return self._tokens[self._offsets[index] : self._offsets[index + 1]]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_offsets": None, "_tokens": None}

    def _map(self) -> None:
        head = self._header
        try:
            with open(self.path, "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise EmofairError(f"the token cache has gone ({error})", file=self.path) from None
        with contextlib.suppress(OSError):
            os.utime(self.path)  # says when it was last used; access times are often switched off
        if _parse_header(mapped[:_HEADER_BYTES]) != head:
            raise EmofairError("the token cache has been rebuilt from other files during the run", file=self.path)
        self._offsets = np.frombuffer(mapped, np.int64, head["n"] + 1, _HEADER_BYTES)
        self._tokens = np.frombuffer(mapped, head["dtype"], head["total"], _HEADER_BYTES + self._offsets.nbytes)

    def check_vocabulary(self, size: int | None) -> None:
        """Raise EmofairError naming the first file with an id that a vocabulary of ``size`` entries does not have."""
        if size is None or self.largest_id < size:
            return
        index = next(i for i in range(len(self)) if self[i].max() >= size)
        raise EmofairError(
            f"token id {self[index].max()} is beyond the encoder's vocabulary of {size} entries",
            file=self.files.path(index),
            remedy="Tokens and pretrained encoder must come from the same dictionary",
        )

    def check_ends(self, first: int | None, last: int | None) -> int:
        """Count, with a warning, the sequences that do not start with ``first`` or end with ``last`` (None: any)."""
        if self._offsets is None:
            self._map()
        wrong = np.zeros(len(self), dtype=bool)
        if first is not None:
            wrong |= self._tokens[self._offsets[:-1]] != first
        if last is not None:
            wrong |= self._tokens[self._offsets[1:] - 1] != last
        count = int(wrong.sum())
        if count:
            logger.warning(
                "%d of %d token files do not start with %s and end with %s; the first is %s",
                *(count, len(self), "anything" if first is None else first, "anything" if last is None else last),
                self.files.path(int(wrong.argmax())),
            )
        return count


def _own_temporary(data_raw: str | os.PathLike[str]) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    folder = Path(tempfile.gettempdir()) / f"emofair-{user}"
    if folder.exists() and hasattr(os, "getuid") and folder.stat().st_uid != user:
        folder = Path(tempfile.mkdtemp(prefix="emofair-"))  # somebody else took the name: trust nothing in there
    return folder / hashlib.sha256(os.path.realpath(data_raw).encode()).hexdigest()[:16]


def _pack(files: TokenFiles) -> tuple[np.ndarray, np.ndarray]:
    """Parse and check all files: offsets int64 [n + 1] and the flat ids."""
    begin = time.monotonic()
    sequences = []
    for index in tqdm(range(len(files.ids)), f"packing {files.split} {files.kind}", delay=2, unit="file", leave=False):
        tokens = parse_tokens(files.path(index))
        check_padding(tokens, files.path(index))
        sequences.append(tokens.astype(np.int32))
    offsets = np.zeros(len(sequences) + 1, dtype=np.int64)
    np.cumsum([len(sequence) for sequence in sequences], out=offsets[1:])
    flat = np.concatenate(sequences) if sequences else np.zeros(0, dtype=np.int32)
    if flat.max(initial=0) <= np.iinfo(np.uint16).max:
        flat = flat.astype(np.uint16)
    logger.info(
        "packed %d %s files of split %s in %.1f s", len(sequences), files.kind, files.split, time.monotonic() - begin
    )
    return offsets, flat


def _checksum(*arrays: np.ndarray) -> int:
    value = 0
    for array in arrays:
        value = zlib.crc32(array, value)
    return value


def _write(path: Path, key: str, offsets: np.ndarray, flat: np.ndarray) -> dict[str, Any]:
    """Write a pack under a temporary name and rename it into place; returns its header."""
    header = {
        "key": key,
        "n": len(offsets) - 1,
        "total": len(flat),
        "dtype": flat.dtype.name,
        "largest": int(flat.max(initial=0)),
        "crc": _checksum(offsets, flat),
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write((_MAGIC + json.dumps(header).encode()).ljust(_HEADER_BYTES))
            file.write(offsets)
            file.write(flat)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return header


def _remove_unused(folder: Path, name: str) -> None:
    """Delete packs of the split and kind of the pack ``name`` that no process has opened for `KEPT_DAYS`.

    Lists change, folds above all, and every list has a pack of its own. Under its lock a pack is not being rebuilt, and
    whoever has it mapped keeps it.
    """
    oldest = time.time() - KEPT_DAYS * 86400
    family = glob.escape(name.rsplit(".", 2)[0])
    for path in folder.glob(f"{family}.*.pack"):
        with contextlib.suppress(OSError):
            if path.name != name and path.stat().st_mtime < oldest:
                lock = path.with_name(f"{path.name}.lock")
                with locked(lock):
                    if path.stat().st_mtime < oldest:
                        path.unlink()
                        lock.unlink()
    for left in folder.glob(f"{family}.*.tmp"):  # of a killed process
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < oldest:
                left.unlink()


def _parse_header(raw: bytes) -> dict[str, Any] | None:
    if len(raw) != _HEADER_BYTES or not raw.startswith(_MAGIC):
        return None
    try:
        header = json.loads(raw[len(_MAGIC) :])
        return header if np.dtype(header["dtype"]).name in ("uint16", "int32") else None
    except (ValueError, TypeError, KeyError):
        return None


def _read_header(path: Path, key: str) -> dict[str, Any] | None:
    """Header of a pack if it is there, intact, and of these very files; else None."""
    try:
        with open(path, "rb") as file:
            header = _parse_header(file.read(_HEADER_BYTES))
            if not header or header.get("key") != key:
                return None
            body = file.read()
    except OSError:
        return None
    offset_bytes = 8 * (header["n"] + 1)
    size = offset_bytes + header["total"] * np.dtype(header["dtype"]).itemsize
    if len(body) != size or zlib.crc32(body) != header["crc"]:
        logger.warning("%s is damaged and will be rebuilt", path)
        return None
    return header
