"""CMU-MOSI and CMU-MOSEI: opinion segments of YouTube videos with a sentiment score in [-3, 3] (Zadeh et al.).

Both raw downloads unpack to ``Raw/``; ``root`` is the folder that holds it. Looked for, the first that is there:

- one wav per segment, ``<video>_<n>.wav``: ``Raw/Audio/WAV_16000/Segmented`` (MOSI), ``audio``;
- else one per video, ``<video>.wav``, cut by start and end: ``Raw/Audio/WAV_16000/Full`` (MOSI),
  ``Raw/Audio/Full/WAV_16000`` (MOSEI), ``audio``;
- texts: ``Raw/Transcript/Segmented`` (MOSI: ``<video>.annotprocessed``, lines ``n_DELIM_text``),
  ``Raw/Transcript/Segmented/Combined`` (MOSEI: ``<video>.txt``, lines ``video___n___start___end___text``),
  ``transcripts`` (either form, or ``<video>_<n>.txt`` with the text alone).

The raw downloads hold no split and no scores in plain text; these come from tables (``labels``, or the root):
``label_file_{train,valid,test}.csv`` (FileName, sentiment_score; times from a ``summary.csv`` beside them), else one of
``labels.csv`` (id, sentiment, split, optionally start and end), ``label.csv`` (video_id, clip_id, label, mode, text),
``summary.csv`` (Filename, Start, End, Score, Type), ``CMU_MOSEI_Labels.csv`` (file, index, start, end, sentiment, split
0|1|2). Segments are joined by ``<video>_<n>``: make sure that the table counts segments as the transcripts do. The
video stands for the session; who speaks is not published. MOSI's published times give 2WGyTLYerpo_44 no length: cut
from whole videos, it needs ``--skip-bad``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from emofair.corpora import Source
from emofair.corpora.tables import csv_rows, read_text
from emofair.data.audio import PathLike
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

AUDIO = ("Raw/Audio/WAV_16000/Segmented", "Raw/Audio/WAV_16000/Full", "Raw/Audio/Full/WAV_16000", "audio")
TRANSCRIPTS = ("Raw/Transcript/Segmented/Combined", "Raw/Transcript/Segmented", "transcripts")
TABLES = ("labels.csv", "label.csv", "summary.csv", "CMU_MOSEI_Labels.csv")
COUNTS = {"train": 1284, "valid": 229, "test": 686}
"""Segments of MOSI in its usual split (2,199); lists of MOSEI differ too much to have such a table."""

_SPLITS = {"train": "train", "valid": "valid", "dev": "valid", "test": "test", "0": "train", "1": "valid", "2": "test"}
_NAMES = {
    "id": ("id", "filename"),
    "score": ("sentiment_score", "score", "sentiment", "label"),
    "split": ("split", "type", "mode"),
}
Text = tuple[str, float | None, float | None]


def read_mosi(root: PathLike, *, labels: PathLike | None = None, audio: bool = True) -> Source:
    """Read CMU-MOSI under ``root``; ``labels`` is a label table or the folder with them (default: ``root``)."""
    source = _read("mosi", Path(root), labels, audio)
    for split, n in COUNTS.items():
        if (found := len(source.splits.get(split, ()))) != n:
            source.mismatches.append(f"{split} has {found} segments, {n} are published")
    return source


def read_mosei(root: PathLike, *, labels: PathLike | None = None, audio: bool = True) -> Source:
    """Read CMU-MOSEI under ``root``; ``labels`` is a label table or the folder with them (default: ``root``)."""
    return _read("mosei", Path(root), labels, audio)


def _read(name: str, root: Path, labels: PathLike | None, audio: bool) -> Source:
    # The published lists of MOSEI were made from segments; that no video is in two of them is not promised.
    source = Source(name, root, shared_groups=("session",) if name == "mosei" else ())
    if not root.is_dir():
        raise EmofairError("no such folder", file=root, remedy="--root is the folder that holds Raw")
    texts = _transcripts(root, source.problems)
    find = _audio_finder(root) if audio else lambda segment, video: ("", False)
    seen: set[str] = set()
    for table, row, cells in _label_rows(source, root if labels is None else Path(labels)):
        try:
            utterance, split = _utterance(cells, texts, find)
            if utterance.id in seen:
                raise ValueError(f"the segment {utterance.id} occurs twice")
        except ValueError as error:
            source.problems.append(EmofairError(str(error), file=table, row=row))
            continue
        seen.add(utterance.id)
        source.splits.setdefault(split, []).append(utterance)
    usual = [split for split in ("train", "valid", "test") if split in source.splits]
    source.splits = {split: source.splits[split] for split in usual}
    if silent := sum(u.text is None for items in source.splits.values() for u in items):
        source.notes.append(f"{silent} segments have no transcript")
    return source


def _label_rows(source: Source, place: Path) -> Iterator[tuple[Path, int, dict[str, str]]]:
    """Rows of the label tables with lower-case column names; ``split`` is added where the file name says it."""
    if place.is_file():
        tables = [place]
    else:
        tables = sorted(place.glob("label_file_*.csv"))
        tables = tables or [place / name for name in TABLES if (place / name).is_file()][:1]
    if not tables:
        raise EmofairError(
            f"no label table (label_file_train.csv, ..., or {', '.join(TABLES)})",
            file=place,
            remedy="name the file or its folder with --label-files",
        )
    times = _times(place / "summary.csv") if place.is_dir() else {}
    for table in tables:
        match = re.fullmatch(r"label_file_(\w+)\.csv", table.name)
        for row, cells in csv_rows(table, (), source.problems):
            cells = {column.lower(): cell for column, cell in cells.items()}
            if match:
                cells["split"] = match[1]
                cells |= times.get(cells.get("filename", ""), {})
            yield table, row, cells


def _times(summary: Path) -> dict[str, dict[str, str]]:
    if not summary.is_file():
        return {}
    rows = csv_rows(summary, ("Filename", "Start", "End"), [])
    return {cells["Filename"]: {"start": cells["Start"], "end": cells["End"]} for _, cells in rows}


def _utterance(
    cells: dict[str, str], texts: dict[str, Text], find: Callable[[str, str], tuple[str, bool]]
) -> tuple[Utterance, str]:
    if "video_id" in cells and "clip_id" in cells:
        identifier = f"{cells['video_id']}_{cells['clip_id']}"
    elif "file" in cells and "index" in cells:
        identifier = f"{cells['file']}_{cells['index']}"
    else:
        identifier = _cell(cells, "id").removesuffix(".wav")
    video, separator, _ = identifier.rpartition("_")
    if not separator:
        raise ValueError(f"{identifier!r} is not a segment: expected <video>_<number>")
    score = _number(_cell(cells, "score"), "the sentiment score")
    if not -3 <= score <= 3:
        raise ValueError(f"the sentiment score {score} is not within -3 and 3")
    split = _cell(cells, "split").lower()
    if split not in _SPLITS:
        raise ValueError(f"unknown split {split!r}")
    text, start, end = texts.get(identifier, (None, None, None))
    if cells.get("start") and cells.get("end"):
        start, end = _number(cells["start"], "start"), _number(cells["end"], "end")
    path, whole_video = find(identifier, video)
    if whole_video and (start is None or end is None):
        raise ValueError(f"{identifier} has no start and end, and only {path} as audio")
    utterance = Utterance(identifier, path, text=cells.get("text") or text, sentiment=score, session=video)
    if whole_video:
        utterance.start, utterance.end = start, end
    return utterance, _SPLITS[split]


def _cell(cells: dict[str, str], what: str) -> str:
    for name in _NAMES[what]:
        if name in cells:
            return cells[name]
    raise ValueError(f"no column for the {what} ({', '.join(_NAMES[what])})")


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{what} {text!r} is not a number") from None


def _audio_finder(root: Path) -> Callable[[str, str], tuple[str, bool]]:
    """A function (segment, video) -> (wav, whether it is the whole video); the folders are listed once."""
    folders = [folder for folder in (root / name for name in AUDIO) if folder.is_dir()]
    wavs = {p.stem: p for folder in reversed(folders) for p in folder.glob("*.wav") if not p.name.startswith("._")}

    def find(segment: str, video: str) -> tuple[str, bool]:
        if segment in wavs:
            return str(wavs[segment]), False
        if video in wavs:
            return str(wavs[video]), True
        return str((folders[0] if folders else root / AUDIO[0]) / f"{segment}.wav"), False

    return find


def _transcripts(root: Path, problems: list[EmofairError]) -> dict[str, Text]:
    texts: dict[str, Text] = {}
    folders = [folder for folder in (root / name for name in TRANSCRIPTS) if folder.is_dir()]
    for folder in folders[:1]:
        for file in sorted(p for p in folder.iterdir() if p.suffix in (".txt", ".annotprocessed")):
            if not file.name.startswith("._"):
                texts |= _read_transcript(file, problems)
    return texts


def _read_transcript(file: Path, problems: list[EmofairError]) -> dict[str, Text]:
    video, found = file.stem, {}
    lines = [(row, line) for row, line in enumerate(read_text(file).split("\n"), start=1) if line.strip()]
    if file.suffix == ".txt" and not any(line.startswith(f"{video}___") for _, line in lines):
        return {video: (" ".join(line.strip() for _, line in lines), None, None)}
    for row, line in lines:
        try:
            if file.suffix == ".annotprocessed":
                number, text = line.split("_DELIM_", 1)
                found[f"{video}_{int(number)}"] = (text.strip(), None, None)
            else:
                # The video's id may hold underscores itself, so it is taken off by its length.
                number, start, end, text = line[len(video) + 3 :].split("___", 3)
                found[f"{video}_{int(number)}"] = (text.strip(), float(start), float(end))
        except ValueError:
            problems.append(EmofairError("not a line of a transcript", file=file, row=row))
    return found
