"""MELD: utterances of the series Friends with seven emotions (Poria et al., ACL 2019).

The download holds ``train_sent_emo.csv``, ``dev_sent_emo.csv``, ``test_sent_emo.csv`` and one video per utterance in
``train_splits``, ``dev_splits_complete`` and ``output_repeated_splits_test``. Audio is looked for beside the videos,
``dia{D}_utt{U}.wav`` or ``.flac``; extract it with, for example::

    for f in train_splits/dia*.mp4; do ffmpeg -i "$f" -ac 1 -ar 16000 "${f%.mp4}.wav"; done

Known gaps of the download: train dia125_utt3 is a broken video and dev dia110_utt7 is missing; ``--skip-bad`` leaves
them out. Dialog numbers start again in every split, so ids are prefixed: ``train_dia0_utt0``. Main characters speak in
all three splits, and episodes are shared too: the published split is not speaker-disjoint.
"""

from __future__ import annotations

from pathlib import Path

from emofair.corpora import Source
from emofair.corpora.tables import csv_rows
from emofair.data.audio import PathLike
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
COUNTS = {"train": 9989, "valid": 1109, "test": 2610}
TABLES = {
    "train": ("train_sent_emo.csv", "train_splits"),
    "valid": ("dev_sent_emo.csv", "dev_splits_complete"),
    "test": ("test_sent_emo.csv", "output_repeated_splits_test"),
}
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")


def read(root: PathLike) -> Source:
    """Read the three tables under ``root``; the start and end times are those of the episode, not of the clip."""
    root = Path(root)
    source = Source("meld", root, shared_groups=("speaker", "session"))
    for split, (table, folder) in TABLES.items():
        if not (root / table).is_file():
            raise EmofairError(
                f"no {table} here", file=root, remedy="--root is the folder of train_sent_emo.csv, of the MELD download"
            )
        source.splits[split] = _read_table(source, split, root / table, root / folder)
        if (n := len(source.splits[split])) != COUNTS[split]:
            source.mismatches.append(f"{split} has {n} utterances, {COUNTS[split]} are published")
    return source


def _read_table(source: Source, split: str, table: Path, folder: Path) -> list[Utterance]:
    items: dict[str, Utterance] = {}
    for row, cells in csv_rows(table, _COLUMNS, source.problems):
        clip = f"dia{cells['Dialogue_ID']}_utt{cells['Utterance_ID']}"
        emotion = cells["Emotion"].lower()
        if not (cells["Dialogue_ID"].isdecimal() and cells["Utterance_ID"].isdecimal()):
            problem = f"{clip!r}: Dialogue_ID and Utterance_ID must be numbers"
        elif emotion not in EMOTIONS:
            problem = f"unknown label {cells['Emotion']!r} (known: {', '.join(EMOTIONS)})"
        elif f"{split}_{clip}" in items:
            problem = f"{clip} occurs twice"
        else:
            items[f"{split}_{clip}"] = _utterance(split, clip, emotion, cells, folder)
            continue
        source.problems.append(EmofairError(problem, file=table, row=row))
    return list(items.values())


def _utterance(split: str, clip: str, emotion: str, cells: dict[str, str], folder: Path) -> Utterance:
    flac = folder / f"{clip}.flac"
    extra = {
        "sentiment_class": cells["Sentiment"].lower(),
        "episode_start": cells.get("StartTime", ""),
        "episode_end": cells.get("EndTime", ""),
    }
    season, episode = cells.get("Season"), cells.get("Episode")
    return Utterance(
        id=f"{split}_{clip}",
        path=str(flac if flac.is_file() else folder / f"{clip}.wav"),
        text=cells["Utterance"],
        label=emotion,
        speaker=cells["Speaker"] or None,
        session=f"s{season}e{episode}" if season and episode else None,
        dialog=f"{split}_dia{cells['Dialogue_ID']}",
        extra={key: value for key, value in extra.items() if value},
    )
