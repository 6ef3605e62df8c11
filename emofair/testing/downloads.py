"""Tiny corpora in the exact layout of the published downloads, filled with noise, to try `emofair prepare` on."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from zlib import crc32

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


def fake_emodb(root: Path, speakers: tuple[str, ...] = ("03", "08", "09"), letters: str = "WLEAFTN") -> Path:
    """EMO-DB with two clips per speaker and emotion letter, and the table of the listeners."""
    seeds = count(1)
    rows = ["Nr.\tSatz\terkannt\tnatuerlich"]
    for speaker in speakers:
        for letter in letters:
            for sentence in ("a01", "b10"):
                seed = next(seeds)
                name = f"{speaker}{sentence}{letter}a.wav"
                write_noise(root / "wav" / name, 1600 + seed, seed)
                rows.append(f"{seed}\xa0\t{name}\t{seed % 100},50\xa0\xa0\t75,00\xa0")
    rows.append("999\xa0\t03a02Xz.wav\t10,00\t5,00")  # a take that was not published
    (root / "erkennung.txt").write_bytes(("\r\n".join(rows) + "\r\n").encode("latin-1"))
    return root


def fake_ravdess(root: Path, actors: tuple[int, ...] = (1, 2, 3, 4), *, song: bool = False, rate: int = 48000) -> Path:
    """RAVDESS with one statement and repetition per actor, emotion and intensity, as the archives unpack."""
    seeds = count(1)
    channels = {"01": ("Audio_Speech_Actors_01-24", 8)} | ({"02": ("Audio_Song_Actors_01-24", 6)} if song else {})
    for channel, (folder, n_emotions) in channels.items():
        for actor in actors:
            for emotion in range(1, n_emotions + 1):
                for intensity in (1,) if emotion == 1 else (1, 2):
                    name = f"03-{channel}-{emotion:02d}-{intensity:02d}-01-02-{actor:02d}.wav"
                    seed = next(seeds)
                    write_noise(root / folder / f"Actor_{actor:02d}" / name, 4800 + 3 * seed, seed, rate=rate)
    return root


def fake_cremad(root: Path, actors: tuple[int, ...] = (1001, 1002, 1003)) -> Path:
    """CREMA-D with one clip per actor and emotion, and its tables."""
    seeds = count(1)
    letters = "ADFHNS"
    tables = {
        "VideoDemographics.csv": ['"ActorID","Age","Sex","Race","Ethnicity"'],
        "processedResults/tabulatedVotes.csv": ['"","A","D","F","H","N","S","fileName","numResponses","agreement"'],
        "processedResults/summaryTable.csv": [
            '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"'
        ],
    }
    demographics, votes, summary = tables.values()
    for actor in actors:
        demographics.append(f'{actor},{actor - 960},"{"Male" if actor % 2 else "Female"}","Asian","Not Hispanic"')
        for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"):
            seed = next(seeds)
            name = f"{actor}_DFA_{emotion}_XX"
            write_noise(root / "AudioWAV" / f"{name}.wav", 1600 + seed, seed)
            for judged, n in ((1, 7), (2, 9), (3, 5)):
                cells = ",".join(str(n if letter == emotion[0] else int(letter == "N")) for letter in letters)
                votes.append(f'"{judged}{seed:05d}",{cells},"{name}",{n + 1},0.9')
            summary.append(f'"{seed}","{name}","{emotion[0]}:N","69.1:50","A","92.22","N","64.78"')
    for file, lines in tables.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def fake_label_json(folder: Path, parts: Mapping[str, Mapping[str, object]], name: str = "label_1.json") -> Path:
    """A label JSON at ``folder / name``, with noise for every file that it names in ``folder / "audio"``."""
    for file in (file for part in parts.values() for file in part):
        path = folder / "audio" / file
        if not path.exists():
            seed = crc32(file.encode())
            write_noise(path, 1600 + seed % 1000, seed)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(parts, indent=1, ensure_ascii=False), encoding="utf-8")
    return path
