"""Read audio files: one way in for every corpus, with errors that name the file and the cure.

libsndfile decodes (WAV of any width, FLAC, OGG, MP3, AIFF ...), soxr resamples. libsndfile shortens a WAV
whose data chunk is cut off without a word, so the RIFF header is compared with the file here. It gets file names as
bytes, since those of old discs are not always UTF-8.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emofair.errors import EmofairError

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16000
"""Hz; what every pretrained speech model of this package expects."""

END_TOLERANCE = 0.5
"""Seconds by which an annotated end may overshoot its recording before the recording counts as cut off."""

# Programs that write to a pipe leave a huge length (ffmpeg 0xFFFFFFFF, sox 0x7FFFF...).
_UNKNOWN_LENGTH = 0x7FFF0000

# What lies in place of a file when a repository was cloned without git-lfs.
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: samples per channel, their rate in Hz, channels."""

    n_samples: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.n_samples / self.sample_rate

    def span(self, start: float | None = None, end: float | None = None) -> tuple[int, int]:
        """First and one-past-last sample, at the file's own rate, of the cut [start, end) given in seconds.

        Raises `ValueError` for a cut that is empty or reaches more than `END_TOLERANCE` seconds past the end.
        """
        first = 0 if start is None else round(start * self.sample_rate)
        last = self.n_samples if end is None else round(end * self.sample_rate)
        if last > self.n_samples + END_TOLERANCE * self.sample_rate:
            raise ValueError(f"the cut ends at {end:.3f} s but the recording is {self.seconds:.3f} s long")
        last = min(last, self.n_samples)
        if not 0 <= first < last:
            raise ValueError(f"nothing lies between {start} s and {end} s of a recording of {self.seconds:.3f} s")
        return first, last

    def length_at(self, sample_rate: int = SAMPLE_RATE, start: float | None = None, end: float | None = None) -> int:
        """Samples that `read_audio` returns for this file, or a cut of it, at ``sample_rate``."""
        first, last = self.span(start, end)
        return _resampled_length(last - first, self.sample_rate, sample_rate)


def audio_info(path: PathLike) -> AudioInfo:
    """Length, rate and channels from the header of ``path``, without decoding.

    Raises `EmofairError` when the file is missing, no audio, empty, or (WAV) shorter than promised.
    """
    import soundfile

    path = Path(path)
    _check_is_file(path)
    try:
        info = soundfile.info(os.fsencode(path))
    except (soundfile.LibsndfileError, OSError) as error:
        raise _not_audio(path, error) from None
    promised, present = _riff_data_bytes(path)
    if promised > present:
        raise EmofairError(
            f"truncated: the header promises {promised} bytes of audio, {present} are there",
            file=path,
            remedy="copy or download the file again",
        )
    if info.frames == 0:
        raise EmofairError("the audio has no samples", file=path, remedy="remove the clip from the list")
    return AudioInfo(info.frames, info.samplerate, info.channels)


def read_audio(
    path: PathLike,
    *,
    sample_rate: int = SAMPLE_RATE,
    resample: bool = False,
    start: float | None = None,
    end: float | None = None,
) -> np.ndarray:
    """Decode ``path``, or its cut [start, end) in seconds, to mono float32.

    Returns shape [n], nominally within [-1, 1], at ``sample_rate`` Hz; channels are averaged. Raises
    `EmofairError` for a missing, empty, truncated or undecodable file, for NaN or infinite samples, for a cut
    outside the recording, and for another rate than ``sample_rate`` unless ``resample`` is set.
    """
    import numpy as np
    import soundfile

    info = audio_info(path)
    if info.sample_rate != sample_rate and not resample:
        raise EmofairError(
            f"the audio is at {info.sample_rate} Hz, {sample_rate} Hz is needed",
            file=path,
            remedy="ask for resampling (--resample, or resample=True in Python) or convert the file",
        )
    try:
        first, last = info.span(start, end)
    except ValueError as error:
        raise EmofairError(str(error), file=path, remedy="correct the start and end of this clip") from None
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            file.seek(first)
            audio = file.read(last - first, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise EmofairError(
            f"the audio breaks off or is damaged ({_reason(error)})",
            file=path,
            remedy="copy or download the file again",
        ) from None
    if len(audio) < last - first:
        raise EmofairError(
            f"truncated: {last - first} samples promised, {len(audio)} decoded",
            file=path,
            remedy="copy or download the file again",
        )
    mono = audio[:, 0] if audio.shape[1] == 1 else audio.mean(axis=1)
    if not np.isfinite(mono).all():
        bad = int((~np.isfinite(mono)).sum())
        raise EmofairError(f"{bad} samples are NaN or infinite", file=path, remedy="re-export the file")
    if info.sample_rate != sample_rate:
        mono = _resample(mono, info.sample_rate, sample_rate)
    return np.ascontiguousarray(mono, dtype=np.float32)


def audio_hash(path: PathLike, *, start: float | None = None, end: float | None = None) -> str:
    """SHA-256 of the decoded mono samples, so that a re-wrapped copy of the same audio is found too."""
    return hash_and_peak(path, start=start, end=end)[0]


def hash_and_peak(path: PathLike, *, start: float | None = None, end: float | None = None) -> tuple[str, float]:
    """`audio_hash` and the largest absolute sample (full scale is 1), from one decoding at the file's own rate."""
    rate = audio_info(path).sample_rate
    audio = read_audio(path, sample_rate=rate, start=start, end=end)
    return hashlib.sha256(audio.tobytes()).hexdigest(), float(abs(audio).max())


def _resampled_length(n_samples: int, source: int, target: int) -> int:
    return n_samples if source == target else max(1, (2 * n_samples * target + source) // (2 * source))


def _resample(audio: np.ndarray, source: int, target: int) -> np.ndarray:
    import numpy as np
    import soxr

    wanted = _resampled_length(len(audio), source, target)
    resampled = soxr.resample(audio, source, target)
    # soxr rounds ties its own way; manifests need the length before anything is decoded.
    return np.pad(resampled, (0, max(0, wanted - len(resampled))))[:wanted]


def _check_is_file(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise EmofairError("no such audio file", file=path, remedy="check the path and the root folder") from None
    except IsADirectoryError:
        raise EmofairError("this is a folder, an audio file is needed", file=path) from None
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path) from None
    if size == 0:
        raise EmofairError("the file is empty (0 bytes)", file=path, remedy="copy or download the file again")


def _riff_data_bytes(path: Path) -> tuple[int, int]:
    """Bytes of audio that a RIFF header promises and that are there; (0, 0) where it says nothing."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0, 0
        size = path.stat().st_size
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == b"data":
                return (0, 0) if length >= _UNKNOWN_LENGTH else (length, size - file.tell())
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0, 0


def _not_audio(path: Path, error: Exception) -> EmofairError:
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            return EmofairError("a pointer of git-lfs, not the audio itself", file=path, remedy="git lfs pull")
    return EmofairError(
        f"not an audio file that can be decoded ({_reason(error)})",
        file=path,
        remedy="convert it, for example: ffmpeg -i INPUT -ac 1 -ar 16000 OUTPUT.wav",
    )


def _reason(error: Exception) -> str:
    return getattr(error, "error_string", str(error)).removeprefix("Error : ").rstrip(". ")
