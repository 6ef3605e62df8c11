"""The label JSON of "Exploring wav2vec 2.0 fine-tuning" (arXiv 2110.06309): any corpus as one file of labels per fold.

``{"Train": {"a.wav": "angry", ...}, "Val": {...}, "Test": {...}}`` in any order, names relative to the folder of the
audio; ``Val`` and ``Test`` may be empty or absent. A flat ``{"a.wav": "angry", ...}`` is all training. In place of a
label there may be the annotators' votes, ``{"angry": 2, "sad": 1}``: the label is then the one with most votes, the
first in alphabetical order among equals. `to_label_json` is the way back.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from emofair.corpora import UNDIVIDED, Source
from emofair.corpora.folds import in_order
from emofair.corpora.tables import read_text
from emofair.data.audio import PathLike
from emofair.data.corpus_files import read_lines
from emofair.data.manifests import Utterance, read_corpus, read_split, splits_of, usable_id
from emofair.errors import EmofairError

PARTS = {"Train": "train", "Val": "valid", "Test": "test"}

_NAME = "name_in_label_json"

Parts = dict[str, dict[str, Any]]
"""Train, Val and Test: {file: emotion, or votes by emotion}."""


def read(labels: PathLike, *, root: PathLike | None = None) -> Source:
    """Read one label file; ``root`` is the folder that its names are relative to, by default its own."""
    labels = _file(labels)
    source = Source("json", labels.parent if root is None else Path(root), facts={"label_file": labels.name})
    splits: dict[str, list[Utterance]] = {split: [] for split in PARTS.values()}
    text = read_text(labels)
    parts = _parts(text, labels)
    for split, utterance in _utterances(source, labels, text, parts, _identifiers([parts], source.root)):
        splits[split].append(utterance)
    source.splits = {split: items for split, items in splits.items() if items}
    return source


def read_folder(folder: PathLike, *, root: PathLike | None = None) -> Source:
    """Read a folder with one label file per fold: in sorted order (numbers by value) they are folds 1, 2 ...

    Files that several folds name must have one label in all of them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EmofairError("no such folder", file=folder, remedy="--labeldir is a folder of label JSON files")
    names = in_order({p.name for p in folder.glob("*.json") if not p.name.startswith(".")})
    if not names:
        raise EmofairError("no *.json here", file=folder, remedy="--labeldir is a folder of label JSON files")
    source = Source("json", folder if root is None else Path(root))
    texts = [read_text(folder / name) for name in names]
    parts = [_parts(text, folder / name) for text, name in zip(texts, names, strict=True)]
    identifiers = _identifiers(parts, source.root)
    known: dict[str, Utterance] = {}
    for number, (name, text, entries) in enumerate(zip(names, texts, parts, strict=True), start=1):
        split_of: dict[str, str] = {}
        for split, utterance in _utterances(source, folder / name, text, entries, identifiers):
            first = known.setdefault(utterance.id, utterance)
            if (first.label, first.votes) != (utterance.label, utterance.votes):
                problem = f"{utterance.path} is {utterance.label!r} here, {first.label!r} in a fold before"
                source.problems.append(EmofairError(problem, file=folder / name))
            split_of[utterance.id] = split
        source.given_folds[str(number)] = split_of
    source.facts = {"label_files": names}
    source.splits = {UNDIVIDED: list(known.values())}
    return source


def to_label_json(corpus_dir: PathLike) -> Parts:
    """The label JSON of a corpus folder: what `read` would make the same labels from.

    Votes stand in it where their winner is the label (always so in a folder that `read` made); elsewhere the label
    stands alone. Raises `EmofairError` for what it cannot say: other splits than train, valid and test, texts without
    audio, clips cut from a longer file, and clips without a label.
    """
    parts: Parts = {part: {} for part in PARTS}
    corpus = read_corpus(corpus_dir)
    for part, split in PARTS.items():
        if split in splits_of(corpus_dir):
            root = next(read_lines(Path(corpus_dir) / f"{split}.tsv"), "")
            parts[part] = dict(_entry(u, root, corpus_dir) for u in read_split(corpus_dir, split))
    others = set(splits_of(corpus_dir)) - set(PARTS.values()) - set(corpus.get("parts_of", {}))
    if others:
        raise EmofairError(f"the split {min(others)!r} has no place in a label JSON", file=corpus_dir)
    return parts


def _entry(utterance: Utterance, root: str, corpus_dir: PathLike) -> tuple[str, Any]:
    voted = utterance.votes and _label(utterance.votes)[0] == utterance.label
    value = utterance.votes if voted else utterance.label
    if not utterance.has_audio or utterance.start is not None or utterance.end is not None or value is None:
        problem = f"{utterance.id!r} is not a whole audio file with a label"
        raise EmofairError(problem, file=corpus_dir, remedy="a label JSON can only name such")
    return utterance.extra.get(_NAME, _relative(utterance.path, root)), value


def _file(labels: PathLike) -> Path:
    labels = Path(labels)
    if not labels.is_file():
        what = "this is a folder" if labels.is_dir() else "no such file"
        remedy = "--labelpath is one label JSON, --labeldir a folder with one per fold"
        raise EmofairError(what, file=labels, remedy=remedy)
    return labels


def _relative(name: str, root: PathLike) -> str:
    path = os.path.normpath(os.path.join(root, name))
    inside = os.path.relpath(path, root)
    return path if inside.startswith(os.pardir + os.sep) else inside


def _identifiers(files: Iterable[Parts], root: PathLike) -> dict[str, str]:
    """The id of every path: its stem, as for other corpora, or the whole of it where stems repeat."""
    paths = {_relative(name, root) for parts in files for entries in parts.values() for name in entries}
    ids = {path: Path(path).stem for path in paths}
    if len(set(ids.values())) < len(ids):
        ids = {path: os.path.splitext(path)[0].strip(os.sep).replace(os.sep, "_") for path in paths}
    return ids


def _utterances(
    source: Source, file: Path, text: str, parts: Parts, identifiers: dict[str, str]
) -> Iterator[tuple[str, Utterance]]:
    """The usable entries as (split, utterance); all others go to ``source.problems``, by file, row and key."""
    owners: dict[str, tuple[str, str]] = {}
    for part, entries in parts.items():
        for name, value in entries.items():
            again = False
            try:
                utterance = _utterance(name, value, source.root, identifiers)
                if utterance.id in owners:
                    other_part, other = owners[utterance.id]
                    again = other == name
                    raise ValueError(f"in {other_part} too" if again else f"has the id of {other!r} in {other_part}")
            except ValueError as error:
                problem = f"{name!r} in {part}: {error}"
                source.problems.append(EmofairError(problem, file=file, row=_row(text, name, again)))
                continue
            owners[utterance.id] = part, name
            yield PARTS[part], utterance


def _parts(text: str, file: Path) -> Parts:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for key, value in pairs:
            if key in entries:
                raise EmofairError(f"the key {key!r} occurs twice", file=file, row=_row(text, key, again=True))
            entries[key] = value
        return entries

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise EmofairError(f"not valid JSON ({error.msg})", file=file, row=error.lineno) from None
    form = 'the form is {"Train": {FILE: EMOTION, ...}, "Val": {...}, "Test": {...}} or {FILE: EMOTION, ...}'
    if not isinstance(content, dict) or not content:
        raise EmofairError("no labels", file=file, remedy=form)
    if not any(part in content for part in PARTS):
        if nested := [key for key, value in content.items() if not _is_label(value)]:
            problem = f"unknown key {nested[0]!r}"
            raise EmofairError(problem, file=file, row=_row(text, nested[0]), remedy=form)
        return {"Train": content}
    for key, value in content.items():
        if key not in PARTS or not isinstance(value, dict):
            problem = f"{key!r} holds no map of files" if key in PARTS else f"unknown key {key!r}"
            raise EmofairError(problem, file=file, row=_row(text, key), remedy=form)
    if not content.get("Train"):
        raise EmofairError("Train is empty or absent", file=file, remedy="every fold needs clips to train on")
    return {part: content[part] for part in PARTS if part in content}


def _is_label(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, dict) and all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in value.values())
    )


def _utterance(name: str, value: Any, root: PathLike, identifiers: dict[str, str]) -> Utterance:
    relpath = _relative(name, root)
    path = os.path.join(root, relpath)
    if not usable_id(identifiers[relpath]):
        raise ValueError("cannot be an id")
    label, votes = _label(value)
    if not os.path.isfile(path):
        raise ValueError(f"no such file in {os.fspath(root)}")
    extra = {} if relpath == name else {_NAME: name}
    return Utterance(id=identifiers[relpath], path=path, label=label, votes=votes, extra=extra)


def _label(value: Any) -> tuple[str, dict[str, int | float] | None]:
    names = [value] if isinstance(value, str) else list(value) if isinstance(value, dict) else []
    if not names:
        raise ValueError(f"{value!r} is neither an emotion nor a map of votes")
    for name in names:
        if not name or name != " ".join(name.split()):
            raise ValueError(f"the label {name!r} is empty or has stray white space")
    if isinstance(value, str):
        return value, None
    numbers = list(value.values())
    if any(isinstance(n, bool) or not isinstance(n, (int, float)) or not 0 <= n < math.inf for n in numbers):
        raise ValueError(f"the votes {value!r} are not numbers of annotators")
    if not sum(numbers):
        raise ValueError("nobody voted")
    return min(value, key=lambda name: (-value[name], name)), value


def _row(text: str, key: str, again: bool = False) -> int | None:
    """The row of a key's first, or second, occurrence; None where its spelling in the file differs."""
    found = [text.count("\n", 0, match.start()) + 1 for match in re.finditer(_spelled(key), text)]
    return found[min(int(again), len(found) - 1)] if found else None


def _spelled(key: str) -> str:
    return "|".join(rf"{re.escape(json.dumps(key, ensure_ascii=ascii))}\s*:" for ascii in (True, False))
