"""CREMA-D: twelve sentences spoken by 91 actors and judged by a crowd (Cao et al., IEEE Trans. Affect. Comput. 2014).

Read from ``AudioWAV/*.wav``: ``1001_DFA_ANG_XX.wav`` is actor 1001, sentence DFA, anger, level unspecified. The label
is the emotion that the actor meant. Beside it, when present: ``VideoDemographics.csv`` (age and sex), the votes of
those who only listened from ``processedResults/tabulatedVotes.csv`` (row names 1xxxxx; 2xxxxx saw the face, 3xxxxx
both), and from ``processedResults/summaryTable.csv`` the winners of the vote and their levels.

Known flaws: 1076_MTI_SAD_XX is silent, as ``--check`` tells; early copies name one clip ``1040_ITH_SAD_X``; a copy
made without git-lfs holds pointers in place of audio.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from emofair.corpora import UNDIVIDED, Source
from emofair.corpora.named_clips import coded, compare_counts, read_clips, wav_files
from emofair.corpora.tables import csv_rows
from emofair.data.audio import PathLike
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
COUNTS = {"anger": 1271, "disgust": 1271, "fear": 1271, "happy": 1271, "neutral": 1087, "sad": 1271}
N_ACTORS = 91
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}

_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{1,2})")
# Letters of the vote tables are the first ones of the emotions.
_VOTES = {label[0].upper(): label for label in EMOTIONS.values()}
_LISTENED = 1
_SUMMARY = {
    "VoiceVote": "voice_vote",
    "VoiceLevel": "voice_level",
    "FaceVote": "face_vote",
    "FaceLevel": "face_level",
    "MultiModalVote": "multimodal_vote",
    "MultiModalLevel": "multimodal_level",
}


def read(root: PathLike) -> Source:
    """Read all clips under ``root`` (the repository, or its ``AudioWAV``), undivided: nobody published a split."""
    root = Path(root)
    if root.name == "AudioWAV":
        root = root.parent
    source = Source("cremad", root)
    folder = root / "AudioWAV" if (root / "AudioWAV").is_dir() else root
    items = read_clips(source, wav_files(folder, "--root is the folder that holds AudioWAV/"), _utterance)
    compare_counts(source, items, COUNTS, N_ACTORS)
    by_id = {u.id: u for u in items}
    _add_demographics(source, items, root / "VideoDemographics.csv")
    _add_votes(source, by_id, root / "processedResults" / "tabulatedVotes.csv")
    _add_summary(source, by_id, root / "processedResults" / "summaryTable.csv")
    source.splits = {UNDIVIDED: items}
    return source


def _utterance(file: Path) -> Utterance:
    match = _NAME.fullmatch(file.stem)
    if not match:
        raise ValueError("not a name of CREMA-D (actor, sentence, emotion, level: 1001_DFA_ANG_XX.wav)")
    actor, sentence, emotion, level = match.groups()
    level = "XX" if level == "X" else level
    return Utterance(
        id=f"{actor}_{sentence}_{emotion}_{level}",
        path=str(file),
        text=coded(sentence, SENTENCES, "sentence"),
        label=coded(emotion, EMOTIONS, "emotion code"),
        speaker=actor,
        extra={"sentence": sentence, "level": coded(level, LEVELS, "level")},
    )


def _rows(source: Source, table: Path, *columns: str) -> Iterator[tuple[int, dict[str, str]]]:
    if table.is_file():
        yield from csv_rows(table, columns, source.problems)
    else:
        source.notes.append(f"there is no {table.relative_to(source.root)}, so its columns are left out")


def _add_demographics(source: Source, items: list[Utterance], table: Path) -> None:
    actors = {cells["ActorID"]: cells for _, cells in _rows(source, table, "ActorID", "Age", "Sex")}
    for utterance in items:
        if cells := actors.get(utterance.speaker or ""):
            utterance.extra |= {"sex": cells["Sex"].lower(), "age": cells["Age"]}


def _add_votes(source: Source, by_id: dict[str, Utterance], table: Path) -> None:
    # The first column, the rows' names, has no title.
    for row, cells in _rows(source, table, "", *_VOTES, "fileName"):
        if not cells[""].isdecimal():
            problem = f"the row is named {cells['']!r}, a number that tells what was judged is expected"
            source.problems.append(EmofairError(problem, file=table, row=row))
        elif int(cells[""]) // 100000 == _LISTENED and cells["fileName"] in by_id:
            try:
                votes = {label: int(cells[letter]) for letter, label in _VOTES.items()}
            except ValueError:
                source.problems.append(EmofairError("the votes are not whole numbers", file=table, row=row))
                continue
            by_id[cells["fileName"]].votes = {label: n for label, n in votes.items() if n} or None


def _add_summary(source: Source, by_id: dict[str, Utterance], table: Path) -> None:
    for _, cells in _rows(source, table, "FileName", *_SUMMARY):
        if utterance := by_id.get(cells["FileName"]):
            utterance.extra |= {ours: cells[theirs] for theirs, ours in _SUMMARY.items()}
