"""Files of their own for clips that have none, for programs that read whole files at 16 kHz, as stock fairseq does.

FLAC of 16 bits: half the size of WAV, read by libsndfile like it. A clip cut from a mono recording of 16 bits at 16 kHz
comes back sample for sample; averaged and resampled ones are rounded to 16 bits.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from emofair.corpora import Source
from emofair.data.audio import SAMPLE_RATE, AudioInfo, PathLike, audio_info, read_audio
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

if TYPE_CHECKING:
    import numpy as np

_FULL_SCALE = 32768


def write_audio(source: Source, folder: PathLike, *, progress: bool = False) -> tuple[int, int]:
    """Write ``folder/{id}.flac``, 16 kHz and mono, for each clip that is no whole file of that kind; (made, kept).

    Those are clips cut from a longer recording, and files of another rate or of several channels. Their utterances are
    changed in place: the new path, no start and end, the exact ``n_samples``; the others stay as they are. A file that
    an earlier run wrote from the same recording, unchanged since, and the same times is kept. Audio is read as by
    `read_audio`. Raises `EmofairError` for audio that cannot be read or written, for two clips of one id, and where a
    recording of the corpus would be overwritten.
    """
    from tqdm import tqdm

    folder = Path(os.path.abspath(folder))
    headers: dict[str, AudioInfo] = {}
    items = [(split, u) for split, part in source.splits.items() for u in part if _needs_file(u, headers)]
    recordings = {os.path.realpath(path) for path in headers}
    written: dict[str, tuple[str, float | None, float | None]] = {}
    made = kept = 0
    # disable=None: a bar on terminals only.
    for split, utterance in tqdm(items, desc="writing audio", unit="clip", disable=None if progress else True):
        clip = (utterance.path, utterance.start, utterance.end)
        target = folder / f"{utterance.id}.flac"
        if written.setdefault(utterance.id, clip) != clip:
            raise EmofairError(f"two clips have the id {utterance.id!r}, so they cannot be written to one file")
        if os.path.realpath(target) in recordings:
            raise EmofairError("a recording of the corpus lies where a clip is to be written", file=target)
        stamp = _stamp(utterance)
        if _is_there(target, utterance.n_samples, stamp):
            kept += 1
        else:
            _write(_read(source, split, utterance), target, stamp)
            made += 1
        utterance.path, utterance.start, utterance.end = str(target), None, None
    return made, kept


def _needs_file(utterance: Utterance, headers: dict[str, AudioInfo]) -> bool:
    if not utterance.has_audio:
        return False
    # Clips cut from one long recording share its header.
    info = headers.get(utterance.path) or headers.setdefault(utterance.path, audio_info(utterance.path))
    cut = utterance.start is not None or utterance.end is not None
    return cut or (info.sample_rate, info.channels) != (SAMPLE_RATE, 1)


def _stamp(utterance: Utterance) -> str:
    """What a clip was made of: 16 hexadecimal digits, kept in its file as a comment."""
    found = os.stat(utterance.path)
    origin = (os.path.realpath(utterance.path), found.st_size, found.st_mtime_ns, utterance.start, utterance.end)
    return hashlib.sha256(repr(origin).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _is_there(target: Path, n_samples: int, stamp: str) -> bool:
    import soundfile

    try:
        with soundfile.SoundFile(os.fsencode(target)) as file:
            found = (file.samplerate, file.channels, file.frames, file.comment)
    except (soundfile.LibsndfileError, OSError):
        return False
    return found == (SAMPLE_RATE, 1, n_samples, stamp)


def _read(source: Source, split: str, utterance: Utterance) -> np.ndarray:
    try:
        wav = read_audio(utterance.path, resample=True, start=utterance.start, end=utterance.end)
    except EmofairError as error:
        raise source.of_row(error, split, utterance.id) from None
    utterance.n_samples = len(wav)
    return wav


def _write(wav: np.ndarray, target: Path, stamp: str) -> None:
    import numpy as np
    import soundfile

    # libsndfile would scale by 32767 what it reads by 32768.
    samples = np.clip(np.rint(wav * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with soundfile.SoundFile(os.fsencode(part), "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
            file.comment = stamp
            file.write(samples)
        part.replace(target)
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EmofairError(f"the audio cannot be written ({reason})", file=target) from None
