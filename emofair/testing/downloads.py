"""Tiny corpora in the exact layout of the published downloads, filled with noise, to try `emofair prepare` on."""

from __future__ import annotations

import csv
from itertools import count
from pathlib import Path

IEMOCAP_COUNTS = {str(session): {"neu": 2, "sad": 1, "ang": 1, "hap": 1, "exc": 1, "fru": 1} for session in range(1, 6)}
_VOTE_NAMES = {"neu": "Neutral", "sad": "Sadness", "ang": "Anger", "hap": "Happiness", "exc": "Excited"}
_MELD_TABLES = {
    "train": ("train_sent_emo.csv", "train_splits"),
    "valid": ("dev_sent_emo.csv", "dev_splits_complete"),
    "test": ("test_sent_emo.csv", "output_repeated_splits_test"),
}


def write_noise(path: Path, n_samples: int, seed: int, *, rate: int = 16000) -> Path:
    """A mono 16 bit wav of ``n_samples`` of noise, another one for every seed."""
    import numpy as np
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, n_samples)
    soundfile.write(str(path), noise, rate, subtype="PCM_16")
    return path


def fake_iemocap(root: Path, counts: dict[str, dict[str, int]] = IEMOCAP_COUNTS, *, audio: bool = True) -> Path:
    """IEMOCAP with ``counts`` utterances per session and label, two dialogs per session."""
    seeds = count(1)
    for session, labels in counts.items():
        folder = root / f"Session{session}"
        for room in ("dialog/EmoEvaluation", "dialog/transcriptions", "sentences/wav"):
            (folder / room).mkdir(parents=True, exist_ok=True)
        wanted = [label for label, n in labels.items() for _ in range(n)]
        for dialog, part in ((f"Ses0{session}F_impro01", wanted[::2]), (f"Ses0{session}M_script01_1", wanted[1::2])):
            evaluation = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
            transcript = []
            for number, label in enumerate(part):
                name = f"{dialog}_{'FM'[number % 2]}{number:03d}"
                start, end = number * 2 + 0.25, number * 2 + 1.75
                evaluation += [
                    f"[{start:.4f} - {end:.4f}]\t{name}\t{label}\t[2.5000, 3.0000, 3.5000]",
                    f"C-E2:\t{_VOTE_NAMES.get(label, 'Frustration')};\t()",
                    f"C-E3:\t{_VOTE_NAMES.get(label, 'Frustration')}; Other;\t(mixed)",
                    "C-E4:\tNeutral state;\t()",
                    "C-F1:\tSadness;\t()",
                    "A-E3:\tval 3; act 2; dom  2;\t()",
                    "",
                ]
                transcript.append(f"{name} [{start:08.4f}-{end:08.4f}]: Utterance {number}, caf\xe9.")
                if audio:
                    seed = next(seeds)
                    write_noise(folder / "sentences" / "wav" / dialog / f"{name}.wav", 1600 + seed, seed)
            transcript.append("M: a line without times")
            (folder / "dialog/EmoEvaluation" / f"{dialog}.txt").write_text("\n".join(evaluation), encoding="utf-8")
            (folder / "dialog/EmoEvaluation" / f"._{dialog}.txt").write_bytes(b"\x00\x05\x16\x07Mac OS X")
            (folder / "dialog/transcriptions" / f"{dialog}.txt").write_text("\n".join(transcript), encoding="utf-8")
    return root


def fake_meld(root: Path, *, audio: bool = True) -> Path:
    """MELD with two dialogs of three utterances per split; dialog numbers start again in every split."""
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    emotions = ("neutral", "joy", "anger")
    seeds = count(1)
    for table, folder in _MELD_TABLES.values():
        root.mkdir(parents=True, exist_ok=True)
        with (root / table).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(header.split(","))
            for dialog in range(2):
                for number, emotion in enumerate(emotions):
                    seed = next(seeds)
                    clip = f"dia{dialog}_utt{number}"
                    cells = (
                        seed,
                        f"It\u2019s {seed}, \u201cok\u201d?",
                        "Joey",
                        emotion,
                        "neutral",
                        dialog,
                        number,
                        8,
                        dialog,
                    )
                    rows.writerow((*cells, "00:16:16,059", "00:16:21,731"))
                    if audio:
                        write_noise(root / folder / f"{clip}.{'flac' if number else 'wav'}", 1600 + seed, seed)
    return root


def fake_mosi(root: Path) -> Path:
    """CMU-MOSI with one wav per segment, ``annotprocessed`` transcripts and published-style label lists."""
    seeds = count(1)
    for split, video in (("train", "03bSnISJMiM"), ("valid", "WKA5OygbEKI"), ("test", "c7UH_rxdZv4")):
        lines = []
        labels = ["FileName,sentiment_score"]
        for number in (1, 2):
            seed = next(seeds)
            write_noise(root / "Raw/Audio/WAV_16000/Segmented" / f"{video}_{number}.wav", 1600 + seed, seed)
            lines.append(f"{number}_DELIM_WORDS OF {number}_{split} ")
            labels.append(f"{video}_{number},{-2.79999995231628 + seed / 2}")
        transcripts = root / "Raw/Transcript/Segmented"
        transcripts.mkdir(parents=True, exist_ok=True)
        (transcripts / f"{video}.annotprocessed").write_text("\n".join(lines), encoding="utf-8")
        (root / f"label_file_{split}.csv").write_text("\n".join(labels), encoding="utf-8")
    return root


def fake_mosei(root: Path) -> Path:
    """CMU-MOSEI with one wav per video, ``___`` transcripts with times, and a ``labels.csv``."""
    labels = ["id,sentiment,split"]
    seeds = count(1)
    for split, video in (("train", "-3g5y_ACwYnA_"), ("valid", "abc"), ("test", "--qXJuDtHPw")):
        write_noise(root / "Raw/Audio/Full/WAV_16000" / f"{video}.wav", 16000, next(seeds))
        lines = [f"{video}___{n}___{0.1 + 0.3 * n}___{0.4 + 0.3 * n}___I see {n}, that___it is" for n in range(2)]
        transcripts = root / "Raw/Transcript/Segmented/Combined"
        transcripts.mkdir(parents=True, exist_ok=True)
        (transcripts / f"{video}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        labels += [f"{video}_{n},{n - 0.5},{split}" for n in range(2)]
    (root / "labels.csv").write_text("\n".join(labels) + "\n", encoding="utf-8")
    return root
