"""Dumped frame features on disk, in shards: the arrays of the HuBERT recipe, with a record of what they are.

A folder holds, per shard ``{split}_{rank}_{nshard}``: ``.npy`` (float32 or float16 [frames, dim], memory-mapped when
read), ``.len`` (frames per clip, one integer per line) and ``.json``. The record is written last: a shard without one
is not there. Ranks in order are the manifest's order.

Records agree on their ``source`` (what the features are: encoder, layer ...) exactly when frames can be compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emofair.errors import EmofairError
from emofair.units import records

if TYPE_CHECKING:
    from emofair.data.audio import PathLike
    from emofair.data.manifests import Utterance

FIELDS = (
    *("source", "split", "rank", "nshard", "dim", "n_frames", "n_clips", "list_sha256", "frame_rate", "hop"),
    "receptive_field",
)
# Record fields that all shards of a dump share.
_SHARED = ("source", "dim", "dtype", "list_sha256", "audio_sha256", "autocast_bf16", "max_seconds")
_SHARD = re.compile(r"(?P<split>.+)_(?P<rank>\d+)_(?P<nshard>\d+)")


def shard_name(split: str, rank: int, nshard: int) -> str:
    """The common stem of a shard's files."""
    return f"{split}_{rank}_{nshard}"


def shard_range(n_clips: int, rank: int, nshard: int) -> tuple[int, int]:
    """First and one-past-last clip of a shard, as the HuBERT recipe cuts a manifest."""
    return round(n_clips / nshard * rank), round(n_clips / nshard * (rank + 1))


def n_frames(n_samples: int, receptive_field: int, hop: int) -> int:
    """Frames of a clip; one shorter than the receptive field is padded to one frame."""
    return max(n_samples - receptive_field, 0) // hop + 1


def list_hash(items: Sequence[Utterance]) -> str:
    """SHA-256 of ids and lengths in their order: frames belong to clips by position."""
    lines = "\n".join(f"{u.id}\t{u.n_samples}" for u in items)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def read_record(path: Path) -> dict[str, Any] | None:
    """What a shard's ``.json`` says; None when there is none."""
    return records.read_record(path, "a feature dump", FIELDS, "dump the features again")


class Features:
    """All frames of a split, of every shard, read as float32 when they are needed.

    ``lengths`` [clips] counts the frames of each clip in the manifest's order; ``dim`` is their width; ``record`` is
    what the first shard's ``.json`` says.
    """

    def __init__(self, folder: PathLike, split: str) -> None:
        self.folder, self.split = Path(folder), split
        self.nshard = self._find_shards()
        names = [shard_name(split, rank, self.nshard) for rank in range(self.nshard)]
        found = [read_record(self.folder / f"{name}.json") for name in names]
        self.record: dict[str, Any] = found[0]
        for name, record in zip(names, found, strict=True):
            if differing := [field for field in _SHARED if record.get(field) != self.record.get(field)]:
                raise EmofairError(
                    f"the shards {names[0]} and {name} differ in {', '.join(differing)}",
                    file=self.folder,
                    remedy="dump them again with the same options",
                )
        self._paths = [self.folder / f"{name}.npy" for name in names]
        parts = [_read_lengths(self.folder / f"{name}.len") for name in names]
        self.lengths = np.concatenate(parts)
        self.dim: int = self.record["dim"]
        for path, part, record in zip(self._paths, parts, found, strict=True):
            if (len(part), int(part.sum())) != (record["n_clips"], record["n_frames"]):
                raise EmofairError(
                    f"{len(part)} clips with {part.sum()} frames, the record says {record['n_clips']} "
                    f"with {record['n_frames']}",
                    file=path.with_suffix(".len"),
                    remedy="delete the shard's files and dump it again",
                )
        self._starts = np.cumsum([0, *(part.sum() for part in parts)])
        self._clip_starts = np.cumsum(self.lengths) - self.lengths

    @property
    def n_frames(self) -> int:
        """Frames of all clips."""
        return int(self._starts[-1])

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.record["frame_rate"]

    def facts(self) -> dict[str, Any]:
        """What later stages store about the features that they were made from."""
        names = ("source", "split", "list_sha256", "ids_sha256", "audio_sha256", "manifest", "frame_rate", "dtype")
        names += ("autocast_bf16",)
        return {**{name: self.record.get(name) for name in names}, "n_frames": self.n_frames}

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Frames float32 [n, dim] at ascending ``indices`` [n]."""
        cuts = np.searchsorted(indices, self._starts)
        parts = [
            self._arrays[shard][indices[first:last] - self._starts[shard]]
            for shard, (first, last) in enumerate(pairwise(cuts))
            if last > first
        ]
        return self._checked(np.concatenate(parts) if len(parts) > 1 else parts[0], indices)

    def clip(self, index: int) -> np.ndarray:
        """Frames [n, dim] of a clip as they are stored: a read-only view of the file."""
        first = int(self._clip_starts[index])
        shard = int(np.searchsorted(self._starts, first, side="right")) - 1
        first -= int(self._starts[shard])
        return self._arrays[shard][first : first + int(self.lengths[index])]

    def __getstate__(self) -> dict[str, Any]:
        # A mapped array would travel to another process with all that is in it.
        return {name: value for name, value in self.__dict__.items() if name != "_arrays"}

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """All frames in order, as float32 [at most ``size``, dim]."""
        for shard, array in enumerate(self._arrays):
            for start in range(0, len(array), size):
                block = array[start : start + size]
                first = int(self._starts[shard]) + start
                yield self._checked(block, range(first, first + len(block)))

    @cached_property
    def _arrays(self) -> list[np.ndarray]:
        counts = np.diff(self._starts).tolist()
        return [_open(path, (n, self.dim)) for path, n in zip(self._paths, counts, strict=True)]

    def _checked(self, block: np.ndarray, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        block = np.array(block, dtype=np.float32)
        # A sum is finite if all is, and cheaper than asking every number.
        if np.isfinite(block.sum(dtype=np.float64)):
            return block
        bad = int(indices[int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])])
        shard = int(np.searchsorted(self._starts, bad, side="right")) - 1
        ends = np.cumsum(self.lengths)
        clip = int(np.searchsorted(ends, bad, side="right"))
        raise EmofairError(
            f"frame {bad - self._starts[shard]} (of clip {clip + 1} of the manifest) is NaN or infinite",
            file=self._paths[shard],
            remedy="delete the shard's files and dump it again",
        )

    def _find_shards(self) -> int:
        """Into how many shards the split was dumped; EmofairError when not all are there."""
        if not self.folder.is_dir():
            raise EmofairError("no such folder of features", file=self.folder, remedy="Make it with emofair features")
        found: dict[int, set[int]] = {}
        splits = set()
        for path in self.folder.glob("*.json"):
            if match := _SHARD.fullmatch(path.stem):
                splits.add(match["split"])
                if match["split"] == self.split:
                    found.setdefault(int(match["nshard"]), set()).add(int(match["rank"]))
        if not found:
            raise EmofairError(
                f"no features of split {self.split!r} in this folder (splits: {', '.join(sorted(splits)) or 'none'})",
                file=self.folder,
                remedy="Make them with emofair features",
            )
        if len(found) > 1:
            counts = " and in ".join(str(n) for n in sorted(found))
            raise EmofairError(
                f"split {self.split!r} lies here both in {counts} shards", file=self.folder, remedy="delete one of them"
            )
        nshard, ranks = next(iter(found.items()))
        if missing := sorted(set(range(nshard)) - ranks):
            raise EmofairError(
                f"of the {nshard} shards of split {self.split!r} these are missing: {', '.join(map(str, missing))}",
                file=self.folder,
                remedy=f"run emofair features --nshard {nshard} --rank {missing[0]}",
            )
        return nshard


def _open(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise EmofairError("the array of this shard is missing", file=path, remedy="dump the shard again") from None
    except (OSError, ValueError, EOFError) as error:
        raise EmofairError(f"is not an array of features ({error})", file=path, remedy="dump the shard again") from None
    if array.shape != shape or array.dtype not in (np.float32, np.float16):
        raise EmofairError(
            f"holds {array.dtype} {list(array.shape)}, expected float32 or float16 {list(shape)}",
            file=path,
            remedy="delete the shard's files and dump it again",
        )
    return array


def _read_lengths(path: Path) -> np.ndarray:
    try:
        words = path.read_text(encoding="ascii").split("\n")
        lengths = np.array([int(word) for word in words if word.strip()], dtype=np.int64)
    except FileNotFoundError:
        raise EmofairError("the lengths of this shard are missing", file=path, remedy="dump the shard again") from None
    except ValueError:
        raise EmofairError("is not a list of lengths, one per line", file=path, remedy="dump the shard again") from None
    if not len(lengths) or lengths.min() < 1:
        raise EmofairError("lists a clip without frames", file=path, remedy="dump the shard again")
    return lengths
