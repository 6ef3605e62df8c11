"""Writing a shard of frame features: batches of similar length in, one array in the manifest's order out.

The number of frames follows from the number of samples, so the array is laid out on disk before anything is computed
and every batch is written where it belongs. What is finished is noted down now and then; a killed dump goes on from
there, and only a whole one gets its record (see `emofair.units.feature_store`).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emofair.data.audio import SAMPLE_RATE
from emofair.data.clip_audio import audio_fingerprint, read_clip
from emofair.data.manifests import Utterance, ids_hash
from emofair.errors import EmofairError
from emofair.units.extractors import Extractor
from emofair.units.feature_store import list_hash, read_record, shard_name, shard_range

# Seconds of work that a kill may cost.
_SAVE_EVERY = 20.0


@dataclass(frozen=True)
class DumpOptions:
    """How to dump: ``batch_seconds`` of padded audio at once, clips beyond ``max_seconds`` (None: any) in windows.

    ``resample`` reads other rates than the encoder's; ``float16`` halves the disk, and ``float16_remedy`` says what to
    do about a number that is too large for it.
    """

    batch_seconds: float = 40.0
    max_seconds: float | None = None
    float16: bool = False
    resample: bool = False
    float16_remedy: str = "leave out --float16"


class Piece(NamedTuple):
    """Samples [first, last) of a clip, whose frames go to the rows from ``row``."""

    clip: int
    first: int
    last: int
    row: int


class Dumped(NamedTuple):
    """What a shard holds, and whether this run made it (or found all of it there)."""

    n_clips: int
    n_frames: int
    made: bool


def dump_shard(
    extractor: Extractor,
    items: Sequence[Utterance],
    out: Path,
    split: str,
    *,
    rank: int = 0,
    nshard: int = 1,
    options: DumpOptions | None = None,
    report: Callable[[str], None] | None = None,
    **facts: Any,
) -> Dumped:
    """Dump shard ``rank`` of ``nshard`` of a split; ``facts`` (JSON values) are added to its record.

    ``items`` are all of the split. Features of audio that was changed since are dumped anew, which ``report`` is told;
    where audio is gone they stay. Raises EmofairError for clips that cannot be read or that are not as long as the
    manifest says, for features that are no finite numbers, and when other features lie under the same name.
    """
    options = options or DumpOptions()
    if extractor.sample_rate != SAMPLE_RATE:
        raise EmofairError(f"the encoder hears {extractor.sample_rate} Hz, manifests count samples at {SAMPLE_RATE} Hz")
    first, last = shard_range(len(items), rank, nshard)
    if first == last:
        raise EmofairError(f"--nshard {nshard} is more than the {len(items)} clips of split {split!r}")
    mine = list(items[first:last])
    for utterance in items:
        if not utterance.has_audio:
            raise EmofairError(
                f"{utterance.id} of split {split!r} has no audio", remedy="Prepare a corpus of clips with audio only"
            )
    lengths = [extractor.n_frames(u.n_samples) for u in mine]
    stem = shard_name(split, rank, nshard)
    record = {
        "source": extractor.source,
        "split": split,
        "rank": rank,
        "nshard": nshard,
        "n_clips": len(mine),
        "n_frames": sum(lengths),
        "dim": extractor.dim,
        "dtype": "float16" if options.float16 else "float32",
        "frame_rate": extractor.sample_rate / extractor.hop,
        "hop": extractor.hop,
        "receptive_field": extractor.receptive_field,
        "max_seconds": options.max_seconds,
        "list_sha256": list_hash(items),
        "ids_sha256": ids_hash(list(items)),
        "audio_sha256": _fingerprint(items),
        "spec": extractor.spec,
        "trained_on": extractor.trained_on,
        "autocast_bf16": extractor.autocast_bf16,
        **facts,
    }
    if _is_there(out / f"{stem}.json", record, report or (lambda line: None)):
        return Dumped(len(mine), sum(lengths), made=False)
    out.mkdir(parents=True, exist_ok=True)
    pieces = _cut(mine, lengths, extractor, options.max_seconds)
    batches = plan_batches(pieces, round(options.batch_seconds * extractor.sample_rate))
    with _Part(out, stem, record, len(batches), options) as part:
        _fill(part, extractor, mine, batches, options.resample)
        part.publish(lengths)
    return Dumped(len(mine), sum(lengths), made=True)


def plan_batches(pieces: Sequence[Piece], most_samples: int) -> list[list[Piece]]:
    """Pieces in batches of like length, longest first: a batch that needs too much memory is the first one.

    A batch padded to its longest piece has at most ``most_samples`` samples, unless it is a single piece.
    """
    batches: list[list[Piece]] = []
    longest = 0
    for piece in sorted(pieces, key=lambda p: (p.first - p.last, p.clip, p.first)):
        if batches and (len(batches[-1]) + 1) * longest <= most_samples:
            batches[-1].append(piece)
        else:
            batches.append([piece])
            longest = piece.last - piece.first
    return batches


def cut_clip(n_samples: int, extractor: Extractor, max_seconds: float | None) -> list[tuple[int, int, int]]:
    """Windows (first sample, one past the last, first frame) of one clip, as even as they can be.

    Each frame is in exactly one window: windows overlap by what a frame sees beyond its hop. Context ends at a window's
    edges. One window without ``max_seconds``, and for a clip that is not longer.
    """
    if max_seconds is None or n_samples <= max_seconds * extractor.sample_rate:
        return [(0, n_samples, 0)]
    frames = extractor.n_frames(n_samples)
    most = max(1, (round(max_seconds * extractor.sample_rate) - extractor.receptive_field) // extractor.hop + 1)
    size = -(-frames // -(-frames // most))
    windows = []
    for start in range(0, frames, size):
        end = min(start + size, frames)
        last = n_samples if end == frames else (end - 1) * extractor.hop + extractor.receptive_field
        windows.append((start * extractor.hop, last, start))
    return windows


def _cut(
    items: Sequence[Utterance], lengths: Sequence[int], extractor: Extractor, max_seconds: float | None
) -> list[Piece]:
    starts = np.cumsum([0, *lengths]).tolist()
    return [
        Piece(clip, first, last, starts[clip] + frame)
        for clip, utterance in enumerate(items)
        for first, last, frame in cut_clip(utterance.n_samples, extractor, max_seconds)
    ]


def _fingerprint(items: Sequence[Utterance]) -> str | None:
    """That of the audio of the whole list, which all shards share; None where some of it is gone."""
    try:
        return audio_fingerprint(items)
    except EmofairError:
        return None


def _is_there(path: Path, record: dict[str, Any], report: Callable[[str], None]) -> bool:
    """Whether the shard is complete; one of other audio no longer is. EmofairError when it is one of other features."""
    earlier = read_record(path)
    if earlier is None or not path.with_suffix(".npy").is_file():
        return False
    same = ("source", "list_sha256", "dtype", "max_seconds", "autocast_bf16", "n_frames")
    differing = [name for name in same if earlier.get(name) != record.get(name)]
    if not differing:
        if record["audio_sha256"] in (None, earlier.get("audio_sha256")):
            return True
        report(f"the audio is not known to be what {path.stem} was dumped from: dumped anew")
        path.unlink()
        return False
    what = ["another list of clips" if name == "list_sha256" else f"another {name}" for name in differing]
    raise EmofairError(
        f"holds features with {', '.join(what)}", file=path, remedy="Give a new --out, or delete the shard's files"
    )


def _fill(
    part: _Part, extractor: Extractor, items: Sequence[Utterance], batches: list[list[Piece]], resample: bool
) -> None:
    from tqdm import tqdm

    todo = batches[part.done :]
    rate = extractor.sample_rate
    seconds = sum(piece.last - piece.first for batch in todo for piece in batch) / rate
    # disable=None: a bar on terminals only.
    with tqdm(total=round(seconds), desc="features", unit="s of audio", disable=None) as bar:
        for batch, waveforms in _read_ahead(_Reader(extractor, items, resample), todo):
            for piece, features in zip(batch, _extract(extractor, waveforms), strict=True):
                expected = extractor.n_frames(piece.last - piece.first)
                if features.shape != (expected, extractor.dim):
                    raise ValueError(f"{features.shape} features instead of {(expected, extractor.dim)}")
                part.write(piece.row, features, items[piece.clip])
            part.finished_one()
            bar.update(round(sum(piece.last - piece.first for piece in batch) / rate))


def _extract(extractor: Extractor, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    try:
        return extractor.extract(waveforms)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        longest = max(map(len, waveforms)) / extractor.sample_rate
        raise EmofairError(
            f"{len(waveforms)} clips of up to {longest:.0f} s do not fit into memory at once",
            remedy="Lower --batch-seconds, or cut long clips with --max-seconds",
        ) from None


class _Reader:
    """Waveforms of a batch. The clip read last is kept: its windows come one after the other."""

    def __init__(self, extractor: Extractor, items: Sequence[Utterance], resample: bool) -> None:
        self.extractor, self.items, self.resample = extractor, items, resample
        self.kept: tuple[int, np.ndarray] = (-1, np.zeros(0))

    def __call__(self, batch: list[Piece]) -> list[np.ndarray]:
        return [self._clip(piece.clip)[piece.first : piece.last] for piece in batch]

    def _clip(self, clip: int) -> np.ndarray:
        if self.kept[0] != clip:
            wav = read_clip(self.items[clip], resample=self.resample)
            self.kept = (clip, self.extractor.prepare(wav))
        return self.kept[1]


def _read_ahead(read: _Reader, batches: list[list[Piece]]) -> Iterator[tuple[list[Piece], list[np.ndarray]]]:
    """The batches with their waveforms; the next one is read while the last is worked on."""
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(read, batches[0]) if batches else None
        for number, batch in enumerate(batches, start=1):
            waveforms = waiting.result()
            if number < len(batches):
                waiting = thread.submit(read, batches[number])
            yield batch, waveforms


class _Part:
    """A shard while it is being written; ``done`` batches are in it already."""

    def __init__(self, out: Path, stem: str, record: dict[str, Any], n_batches: int, options: DumpOptions) -> None:
        self.out, self.stem, self.record, self.n_batches = out, stem, record, n_batches
        self.float16_remedy = options.float16_remedy
        self.data, self.progress = out / f".{stem}.npy.part", out / f".{stem}.progress"
        # Other batches would be other float noise.
        request = json.dumps([record, n_batches, options.batch_seconds], sort_keys=True)
        self.request = hashlib.sha256(request.encode()).hexdigest()
        self.done = self.saved = 0
        self.saved_at = time.monotonic()

    def __enter__(self) -> _Part:
        shape = (self.record["n_frames"], self.record["dim"])
        self.done = self.saved = self._finished_earlier()
        if self.done:
            self.array = np.load(self.data, mmap_mode="r+")
        else:
            self.progress.unlink(missing_ok=True)
            self.array = np.lib.format.open_memmap(self.data, "w+", np.dtype(self.record["dtype"]), shape)
            _reserve(self.data)
            self.progress.write_text(f"{self.request}\n", encoding="ascii")
        return self

    def __exit__(self, *error: object) -> None:
        # Also when stopped by an error or by the user: what is done is done.
        if self.progress.exists():
            self._save()

    def write(self, row: int, features: np.ndarray, utterance: Utterance) -> None:
        with np.errstate(over="ignore"):
            values = features.astype(self.array.dtype, copy=False)
        if not np.isfinite(values).all():
            what = "are NaN or infinite"
            if np.isfinite(features).all():
                what = f"go up to {abs(features).max():.3g}, which float16 cannot hold; {self.float16_remedy}"
            raise EmofairError(f"features of {utterance.id} {what}", file=utterance.path)
        self.array[row : row + len(values)] = values

    def finished_one(self) -> None:
        self.done += 1
        if time.monotonic() - self.saved_at > _SAVE_EVERY:
            self._save()

    def publish(self, lengths: list[int]) -> None:
        """Let the shard appear; its record comes last."""
        self._save()
        del self.array
        _write(self.out / f"{self.stem}.len", "".join(f"{n}\n" for n in lengths))
        self.data.replace(self.out / f"{self.stem}.npy")
        _write(self.out / f"{self.stem}.json", json.dumps(self.record, indent=1) + "\n")
        self.progress.unlink()

    def _save(self) -> None:
        if self.done > self.saved:
            self.array.flush()
            with self.progress.open("a", encoding="ascii") as file:
                file.write(f"{self.done}\n")
        self.saved, self.saved_at = self.done, time.monotonic()

    def _finished_earlier(self) -> int:
        """Batches that an interrupted dump of the same features has in the array on disk."""
        try:
            request, *numbers = self.progress.read_text(encoding="ascii").splitlines(keepends=True)
            whole = [int(number) for number in numbers if number.endswith("\n")]
        except (OSError, ValueError):
            return 0
        if request.strip() != self.request or not whole or not self.data.is_file():
            return 0
        return min(whole[-1], self.n_batches)


def _reserve(path: Path) -> None:
    """Take the space on the disk now: a mapped file that meets a full disk later kills the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        needed = path.stat().st_size / 1e9
        path.unlink()
        raise EmofairError(
            f"{needed:.2f} GB of features cannot be written ({error.strerror})", file=path.parent
        ) from None


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)
