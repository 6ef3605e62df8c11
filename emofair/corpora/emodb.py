"""EMO-DB: ten German actors, ten sentences, seven emotions (Burkhardt et al., Interspeech 2005), as it is published.

Read from ``wav/*.wav``, whose names say everything: ``03a01Fa.wav`` is speaker 03, sentence a01, F for Freude
(happiness), version a. ``erkennung.txt`` beside it, when present, tells what share of the listeners recognised the
emotion and found it natural, in percent.
"""

from __future__ import annotations

import re
from pathlib import Path

from emofair.corpora import UNDIVIDED, Source
from emofair.corpora.named_clips import coded, compare_counts, read_clips, wav_files
from emofair.corpora.tables import tsv_rows
from emofair.data.audio import PathLike
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
"""The letter is the first one of the German word: Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral."""

COUNTS = {"anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "sadness": 62, "neutral": 79}
SPEAKERS = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Blatt Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}

_NAME = re.compile(r"(\d\d)([ab]\d\d)([A-Z])([a-z])")
_LISTENERS = "erkennung.txt"


def read(root: PathLike) -> Source:
    """Read all clips under ``root`` (or its ``wav``), undivided: nobody published a split."""
    root = Path(root)
    source = Source("emodb", root)
    folder = root / "wav" if (root / "wav").is_dir() else root
    items = read_clips(source, wav_files(folder, "--root is the folder that holds wav/"), _utterance)
    compare_counts(source, items, COUNTS, len(SPEAKERS))
    tables = [place / _LISTENERS for place in (root, root.parent) if (place / _LISTENERS).is_file()]
    if tables:
        _add_listeners(source, items, tables[0])
    source.splits = {UNDIVIDED: items}
    return source


def _utterance(file: Path) -> Utterance:
    match = _NAME.fullmatch(file.stem)
    if not match:
        raise ValueError("not a name of EMO-DB (speaker, sentence, emotion, version: 03a01Fa.wav)")
    speaker, sentence, emotion, version = match.groups()
    return Utterance(
        id=file.stem,
        path=str(file),
        text=coded(sentence, SENTENCES, "sentence"),
        label=coded(emotion, EMOTIONS, "emotion letter"),
        speaker=speaker,
        extra={"sex": coded(speaker, SPEAKERS, "speaker"), "sentence": sentence, "version": version},
    )


def _add_listeners(source: Source, items: list[Utterance], table: Path) -> None:
    by_id = {u.id: u for u in items}
    missing = set(by_id)
    for row, cells in tsv_rows(table, ("Satz", "erkannt", "natuerlich"), source.problems):
        name = Path(cells["Satz"]).stem
        if name not in by_id:
            continue  # the table has the takes that were not published too
        for column, ours in (("erkannt", "recognition"), ("natuerlich", "naturalness")):
            try:
                by_id[name].extra[ours] = str(float(cells[column].replace(",", ".")))
            except ValueError:
                problem = f"{column} {cells[column]!r} is not a number"
                source.problems.append(EmofairError(problem, file=table, row=row))
        missing.discard(name)
    if missing:
        source.notes.append(f"{len(missing)} clips are not in {table.name}: {', '.join(sorted(missing)[:3])}")
