"""Corpora of short tones in which the pitch tells the class: learnable in seconds, without a speech synthesiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from emofair.data.audio import SAMPLE_RATE
from emofair.data.manifests import Utterance, write_corpus

CLASSES = ("angry", "neutral", "sad")


def tone_corpus(
    folder: Path,
    n: Mapping[str, int] | None = None,
    *,
    classes: Sequence[str] = CLASSES,
    seconds: tuple[float, float] = (0.3, 1.2),
    seed: int = 0,
    votes: bool = False,
) -> Path:
    """Write clips and manifests below ``folder`` and return it.

    Every split has speakers of its own. With ``votes`` each clip has five annotators, most of them for its class.
    """
    rng = np.random.default_rng(seed)
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, count in (n or {"train": 24, "valid": 9, "test": 9}).items():
        splits[split] = []
        for index in range(count):
            which = index % len(classes)
            name = f"{split}_{index:03d}_{classes[which]}"
            wav = _tone(300 * 2**which, rng.uniform(*seconds), rng)
            soundfile.write(folder / "wav" / f"{name}.wav", wav, SAMPLE_RATE, subtype="PCM_16")
            others = {classes[(which + 1) % len(classes)]: 2}
            splits[split].append(
                Utterance(
                    name,
                    f"wav/{name}.wav",
                    n_samples=len(wav),
                    label=classes[which],
                    speaker=f"{split}{index % 2}",
                    votes={classes[which]: 3, **others} if votes else None,
                )
            )
    write_corpus(folder, splits, root=folder, name="tones")
    return folder


def noise_manifests(folder: Path, count: int = 4, n_samples: int = 6000) -> Path:
    """Write clips of noise with the manifests of stock fairseq, train.tsv and valid.tsv, and return the folder."""
    rng = np.random.default_rng(0)
    for split in ("train", "valid"):
        lines = [str(folder)]
        for i in range(count):
            name = f"{i}_{split}.wav"
            soundfile.write(folder / name, 0.1 * rng.standard_normal(n_samples), SAMPLE_RATE)
            lines.append(f"{name}\t{n_samples}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def _tone(pitch: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wav = 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.95, 1.05) * time) + 0.02 * rng.standard_normal(len(time))
    return wav.astype(np.float32)
