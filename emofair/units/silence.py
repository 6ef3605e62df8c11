"""Which frames of a clip are silent: their level against that of the clip's loudest frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emofair.data.audio import SAMPLE_RATE
from emofair.data.clip_audio import read_clip
from emofair.errors import EmofairError
from emofair.units.mfcc import WINDOW

if TYPE_CHECKING:
    from emofair.data.audio import PathLike
    from emofair.data.manifests import Utterance


def silent_frames(wav: np.ndarray, n_frames: int, hop: int, below_db: float) -> np.ndarray:
    """Bool [n_frames]: frames, every ``hop`` samples of wav [n], more than ``below_db`` dB below the loudest one.

    A frame is as long as those of MFCCs, and as what HuBERT's convolutions see. All frames of a clip of zeros are
    silent.
    """
    energy = np.concatenate([[0.0], np.cumsum(np.square(wav, dtype=np.float64))])
    first = np.arange(n_frames) * hop
    level = energy[np.minimum(first + WINDOW, len(wav))] - energy[np.minimum(first, len(wav))]
    loudest = level.max(initial=0.0)
    return level < loudest * 10 ** (-below_db / 10) if loudest else np.ones(n_frames, dtype=bool)


def silence_of(
    items: Sequence[Utterance],
    units: Sequence[np.ndarray],
    record: dict[str, Any],
    path: PathLike,
    below_db: float,
    *,
    resample: bool,
) -> list[np.ndarray]:
    """`silent_frames` of each clip of ``items``, beside its frame labels; ``record`` is that of the labels ``path``.

    Raises EmofairError for a level that is none, labels that do not say how many frames a second has, and audio by
    `read_clip`.
    """
    from tqdm import tqdm

    if not 0 < below_db < np.inf:
        raise EmofairError(f"silence {below_db} dB below the loudest frame", remedy="Give --silence-db above 0, as 40")
    rate = record.get("features", {}).get("frame_rate")
    if not rate:
        raise EmofairError(
            "nothing says how many frames a second has", file=path, remedy="Make the labels with emofair units"
        )
    hop = round(SAMPLE_RATE / rate)
    pairs = zip(tqdm(items, desc="silence", unit="clip", delay=2, leave=False, disable=None), units, strict=True)
    return [silent_frames(read_clip(u, resample=resample), len(ids), hop, below_db) for u, ids in pairs]
