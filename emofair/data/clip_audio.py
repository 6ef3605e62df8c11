"""The audio of a list's clips: read and held against the list, or known again without being read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emofair.data.audio import read_audio
from emofair.errors import EmofairError

if TYPE_CHECKING:
    import numpy as np

    from emofair.data.manifests import Utterance


def read_clip(utterance: Utterance, *, resample: bool) -> np.ndarray:
    """Waveform float32 [n_samples] at 16 kHz.

    Raises EmofairError for audio that cannot be read, that has another rate, unless ``resample``, or that is not as
    long as the list says.
    """
    wav = read_audio(utterance.path, resample=resample, start=utterance.start, end=utterance.end)
    check_length(utterance, len(wav))
    return wav


def check_length(utterance: Utterance, n_samples: int) -> None:
    """Raise EmofairError for a clip that is not as long as the list says."""
    if n_samples != utterance.n_samples:
        raise EmofairError(
            f"{utterance.id} has {n_samples} samples, the manifest says {utterance.n_samples}",
            file=utterance.path,
            remedy="Prepare the corpus again",
        )


def audio_fingerprint(items: Sequence[Utterance]) -> str:
    """SHA-256 of where clips are cut and of size and time of their files, which tell rewritten audio.

    Not of paths: a corpus that was moved, with its times, stays the same. Raises EmofairError for a file that is not
    there.
    """
    digest = hashlib.sha256()
    for item in items:
        try:
            found = os.stat(item.path)
        except OSError as error:
            raise EmofairError(f"the audio cannot be read ({error.strerror})", file=item.path) from None
        digest.update(json.dumps((item.start, item.end, found.st_size, found.st_mtime_ns)).encode())
    return digest.hexdigest()
