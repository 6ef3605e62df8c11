"""RAVDESS: two sentences spoken, and sung, by 24 North American actors (Livingstone and Russo, PLoS ONE 2018).

Read from the ``Actor_NN`` folders of the archives ``Audio_Speech_Actors_01-24`` and ``Audio_Song_Actors_01-24``, at any
depth under the root. A name such as ``03-01-06-01-02-01-12.wav`` says modality, channel (01 speech, 02 song), emotion,
intensity, statement, repetition and actor (odd: a man). The files are at 48 kHz.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from emofair.corpora import UNDIVIDED, Source
from emofair.corpora.named_clips import coded, compare_counts, read_clips, wav_files
from emofair.data.audio import PathLike
from emofair.data.manifests import Utterance

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
CHANNELS = {"01": "speech", "02": "song"}
N_ACTORS = 24

COUNTS = {label: 96 if label == "neutral" else 192 for label in EMOTIONS.values()}
"""Spoken clips: 1,440."""
SONG_COUNTS = {"neutral": 92, "calm": 184, "happy": 184, "sad": 184, "angry": 184, "fearful": 184}
"""Sung clips: 1,012; actor 18 does not sing."""

_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_FOLDER = re.compile(r"Actor_(\d\d)")


def read(root: PathLike, *, song: bool = False) -> Source:
    """Read the spoken clips, and with ``song`` the sung ones too, undivided: nobody published a split."""
    root = Path(root)
    source = Source("ravdess", root, facts={"song": song})
    files = wav_files(root, "--root is the folder of the unpacked archives, with Actor_01 and so on in it")
    items = []
    for utterance in read_clips(source, files, _utterance):
        if song or utterance.extra["channel"] == "speech":
            items.append(utterance)
        else:
            source.dropped["the channel song (--song adds it)"] += 1
    expected = Counter(COUNTS) + Counter(SONG_COUNTS if song else {})
    compare_counts(source, items, expected, N_ACTORS)
    source.splits = {UNDIVIDED: items}
    return source


def _utterance(file: Path) -> Utterance:
    match = _NAME.fullmatch(file.stem)
    if not match:
        raise ValueError("not a name of RAVDESS (seven numbers of two digits: 03-01-06-01-02-01-12.wav)")
    modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
    if modality != "03":
        raise ValueError(f"modality {modality!r}, audio only is 03")
    if not 1 <= int(actor) <= N_ACTORS:
        raise ValueError(f"unknown actor {actor!r} (known: 01 to {N_ACTORS})")
    folder = _FOLDER.fullmatch(file.parent.name)
    if folder and folder[1] != actor:
        raise ValueError(f"a clip of actor {actor} in the folder {file.parent.name}")
    return Utterance(
        id=file.stem,
        path=str(file),
        text=coded(statement, STATEMENTS, "statement"),
        label=coded(emotion, EMOTIONS, "emotion code"),
        speaker=actor,
        extra={
            "sex": "male" if int(actor) % 2 else "female",
            "channel": coded(channel, CHANNELS, "channel"),
            "intensity": coded(intensity, INTENSITIES, "intensity"),
            "statement": statement,
            "repetition": repetition,
        },
    )
