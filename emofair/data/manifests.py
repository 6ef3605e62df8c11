"""The utterance-corpus form that every system shares: fairseq's audio manifest with sidecars.

A folder holds, per split: ``{split}.tsv`` (root folder, then ``path<TAB>n_samples``: the form that fairseq's
``audio_pretraining`` and ``hubert_pretraining`` read), ``{split}.meta.tsv`` (id, text, label ... of the same lines),
``{split}.emo`` (one label per line, when all have one), ``{split}.emo.json`` (annotators' votes by path) and
``{split}.words.jsonl`` (word timings); and ``labels.txt`` and ``corpus.json`` for the whole.

A split may be a part of another one (``p1_train`` and ``p1_valid`` divide ``train`` again): ``parts_of`` in
``corpus.json`` says of which, and its utterances are then in both.

``n_samples`` counts at 16 kHz, also where a file has another rate. A text-only utterance has 0 samples and its id in
place of a path. An utterance cut from a longer recording shares that recording's path; its start and end are in the
meta table.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emofair.data.audio import SAMPLE_RATE, PathLike
from emofair.data.corpus_files import AGAIN, parse_json, read_json, read_lines, write_json, write_lines
from emofair.errors import EmofairError

META_COLUMNS = ("id", "text", "label", "sentiment", "speaker", "session", "dialog", "start", "end")
MOST_SAMPLES = 2**31 - 1
"""A clip of 37 hours at 16 kHz; a longer one is a damaged number."""

_SIDECARS = ("tsv", "emo", "emo.json", "meta.tsv", "words.jsonl")
_BREAKS = re.compile(r"[\t\n\v\f\r\x00\x1c-\x1e\x85\u2028\u2029]+")


@dataclass
class Utterance:
    """One clip: where its audio is and what is known about it (None = unknown).

    ``path`` is absolute or relative to the corpus root, "" for text only; ``n_samples`` counts at 16 kHz; ``start``
    and ``end`` are seconds inside ``path`` for a clip cut from a longer recording; ``sentiment`` a score;
    ``words`` a list of (word, start, end) in seconds from the start of the clip; ``votes`` annotators per label;
    ``extra`` further columns of the meta table.
    """

    id: str
    path: str
    n_samples: int = 0
    text: str | None = None
    label: str | None = None
    sentiment: float | None = None
    speaker: str | None = None
    session: str | None = None
    dialog: str | None = None
    start: float | None = None
    end: float | None = None
    words: list[tuple[str, float, float]] | None = None
    votes: dict[str, int | float] | None = None
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def has_audio(self) -> bool:
        """Whether there is a recording; text-only utterances have an empty path."""
        return bool(self.path)


def write_corpus(
    out_dir: PathLike,
    splits: dict[str, list[Utterance]],
    *,
    root: PathLike,
    name: str,
    allow_overlap: bool = False,
    parts_of: Mapping[str, str] | None = None,
    labels: Iterable[str] = (),
    **facts: Any,
) -> dict[str, Any]:
    """Write ``splits`` as a corpus folder and return what went into ``corpus.json``.

    ``parts_of`` names for a split the one that it is a part of; ``labels`` are classes beside those that occur as a
    label or have a vote; ``facts`` (a seed, a fold, a protocol ...; JSON values) are added to ``corpus.json``. Files of
    an earlier corpus in the same folder are replaced. Raises `EmofairError` for an empty split, an id that occurs twice
    or is unusable as a file name, for ids shared by two splits unless ``allow_overlap``, and for a part with
    an utterance that the whole lacks.
    """
    from emofair import __version__

    out_dir, root = Path(out_dir), os.path.abspath(root)
    parts_of = dict(parts_of or {})
    _check_ids({split: items for split, items in splits.items() if split not in parts_of}, allow_overlap)
    _check_parts(splits, parts_of)
    labels = class_names(splits, labels)
    corpus = {
        "name": name,
        "emofair": __version__,
        "command": shlex.join(sys.argv),
        "root": root,
        "sample_rate": SAMPLE_RATE,
        "labels": labels,
        "splits": {split: _facts(items) for split, items in splits.items()},
        **({"parts_of": parts_of} if parts_of else {}),
        **facts,
    }
    files: dict[str, Iterable[str]] = {"labels.txt": labels} if labels else {}
    for split, items in splits.items():
        files |= {f"{split}.{ending}": lines for ending, lines in _split_lines(items, root).items()}
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        # corpus.json goes first and comes back last, so an interrupted run never looks finished.
        remove_corpus(out_dir, splits)
        for file, lines in files.items():
            write_lines(out_dir / file, lines)
        write_json(out_dir / "corpus.json", corpus)
    except OSError as error:
        raise EmofairError(f"the corpus cannot be written ({error.strerror})", file=out_dir) from None
    return corpus


def read_split(corpus_dir: PathLike, split: str) -> list[Utterance]:
    """Read one split; paths come back absolute (joined to the manifest's root), "" for text-only utterances.

    A plain fairseq manifest without sidecars is read too: ids are then the file stems (the whole relative path where
    stems repeat). Raises `EmofairError` for a missing split, a malformed row or sidecars of another length.
    """
    corpus_dir = Path(corpus_dir)
    tsv = corpus_dir / f"{split}.tsv"
    if not tsv.is_file():
        found = ", ".join(splits_of(corpus_dir)) or "none"
        raise EmofairError(f"no split {split!r} in this folder (splits: {found})", file=corpus_dir)
    root, audio = _read_tsv(tsv)
    items = _read_meta(corpus_dir / f"{split}.meta.tsv", audio)
    for utterance, (relpath, n_samples) in zip(items, audio, strict=True):
        utterance.path = os.path.join(root, relpath) if n_samples else ""
        utterance.n_samples = n_samples
    _add_labels(corpus_dir / f"{split}.emo", items)
    _add_votes(corpus_dir / f"{split}.emo.json", items, [relpath for relpath, _ in audio])
    _add_words(corpus_dir / f"{split}.words.jsonl", items)
    return items


def splits_of(corpus_dir: PathLike) -> list[str]:
    """Names of the splits in a corpus folder, as ``corpus.json`` orders them.

    Without that file, of every manifest that lies there: train, valid, test first, others in alphabetical order.
    """
    if splits := read_corpus(corpus_dir).get("splits"):
        return list(splits)
    names = {p.name.removesuffix(".tsv") for p in Path(corpus_dir).glob("*.tsv") if not p.name.startswith(".")}
    names = {name for name in names if "." not in name}
    usual = [name for name in ("train", "valid", "test") if name in names]
    return usual + sorted(names - set(usual))


def read_corpus(corpus_dir: PathLike) -> dict[str, Any]:
    """The facts in ``corpus.json`` (empty for a folder that emofair did not write)."""
    path = Path(corpus_dir) / "corpus.json"
    return read_json(path) if path.is_file() else {}


def remove_corpus(corpus_dir: PathLike, others: Iterable[str] = ()) -> None:
    """Take away the manifests of the splits that ``corpus.json`` lists, and of ``others``, and itself."""
    corpus_dir = Path(corpus_dir)
    splits = {*read_corpus(corpus_dir).get("splits", {}), *others}
    (corpus_dir / "corpus.json").unlink(missing_ok=True)
    for file in ["labels.txt", *(f"{split}.{ending}" for split in splits for ending in _SIDECARS)]:
        (corpus_dir / file).unlink(missing_ok=True)


def class_names(splits: Mapping[str, list[Utterance]], others: Iterable[str] = ()) -> list[str]:
    """Every label that is given or voted for in ``splits``, and ``others``, in alphabetical order."""
    items = [u for utterances in splits.values() for u in utterances]
    given = {u.label for u in items if u.label is not None}
    voted = {name for u in items for name, n in (u.votes or {}).items() if n}
    return sorted({*given, *voted, *others})


def read_labels(corpus_dir: PathLike) -> list[str]:
    """Class names, in the order of their indices (alphabetical), from ``labels.txt``; empty when there are none."""
    path = Path(corpus_dir) / "labels.txt"
    return list(read_lines(path)) if path.is_file() else []


def usable_id(identifier: str) -> bool:
    """Whether an id can be a file name everywhere: later stages write ``<id>.txt``."""
    return identifier not in ("", ".", "..") and not re.search(r"[/\\\x00-\x1f\x85\u2028\u2029]", identifier)


def ids_hash(items: list[Utterance]) -> str:
    """SHA-256 of the sorted ids, one per line: tells whether two lists hold the same utterances."""
    ids = "\n".join(sorted(u.id for u in items))
    return hashlib.sha256(ids.encode("utf-8", "surrogateescape")).hexdigest()


def _facts(items: list[Utterance]) -> dict[str, Any]:
    counts = Counter(u.label for u in items if u.label is not None)
    return {
        "n": len(items),
        "n_seconds": round(sum(u.n_samples for u in items) / SAMPLE_RATE, 3),
        "labels": dict(sorted(counts.items())),
        "ids_sha256": ids_hash(items),
    }


def _check_ids(splits: dict[str, list[Utterance]], allow_overlap: bool) -> None:
    seen: dict[str, str] = {}
    for split, items in splits.items():
        if not items:
            raise EmofairError(f"the split {split!r} is empty", remedy="leave it out or give it utterances")
        if not re.fullmatch(r"[A-Za-z][\w-]*", split):
            raise EmofairError(f"{split!r} cannot name a split", remedy="use letters, digits, _ and -")
        own: set[str] = set()
        for utterance in items:
            identifier = utterance.id
            if not usable_id(identifier):
                raise EmofairError(
                    f"the id {identifier!r} cannot be used as a file name",
                    remedy="use ids without slashes, tabs and control characters",
                )
            if bool(utterance.path) != (utterance.n_samples > 0):
                raise EmofairError(
                    f"the utterance {identifier!r} has {utterance.n_samples} samples and the path {utterance.path!r}",
                    remedy="measure the audio first; text-only utterances have neither",
                )
            if identifier in own:
                raise EmofairError(f"the id {identifier!r} occurs twice in the split {split!r}")
            own.add(identifier)
            if seen.get(identifier, split) != split and not allow_overlap:
                raise EmofairError(
                    f"the id {identifier!r} is in the splits {seen[identifier]!r} and {split!r}",
                    remedy="give every utterance one split, or allow it with --allow-overlap",
                )
            seen[identifier] = split


def _check_parts(splits: dict[str, list[Utterance]], parts_of: dict[str, str]) -> None:
    for whole in sorted(set(parts_of.values())):
        parts = {part: splits[part] for part in splits if parts_of.get(part) == whole}
        _check_ids(parts, allow_overlap=False)
        known = {u.id for u in splits[whole]}
        for part, items in parts.items():
            if strangers := sorted({u.id for u in items} - known):
                raise EmofairError(f"{strangers[0]!r} is in {part}, but not in {whole}, which that is a part of")


def _split_lines(items: list[Utterance], root: str) -> dict[str, Iterable[str]]:
    paths = [_relative(u, root) for u in items]
    extra = list(dict.fromkeys(key for u in items for key in u.extra))
    files: dict[str, Iterable[str]] = {
        "tsv": [root, *(f"{path}\t{u.n_samples}" for path, u in zip(paths, items, strict=True))],
        "meta.tsv": ["\t".join(map(_cell, (*META_COLUMNS, *extra))), *(_meta_row(u, extra) for u in items)],
    }
    if all(u.label is not None for u in items):
        files["emo"] = [_cell(u.label) for u in items]
    if votes := {_vote_key(path, u): u.votes for path, u in zip(paths, items, strict=True) if u.votes}:
        files["emo.json"] = [json.dumps(votes, indent=0, ensure_ascii=False, sort_keys=True)]
    if any(u.words for u in items):
        files["words.jsonl"] = [
            json.dumps({"id": u.id, "words": [list(word) for word in u.words or []]}, ensure_ascii=False) for u in items
        ]
    return files


def _relative(utterance: Utterance, root: str) -> str:
    if not utterance.path:
        return utterance.id
    path = os.path.join(root, utterance.path)
    inside = os.path.relpath(path, root)
    relpath = path if inside.startswith(os.pardir + os.sep) else inside
    if _BREAKS.search(relpath):
        raise EmofairError("a tab or line break in a file name cannot be written to a manifest", file=repr(relpath))
    return relpath


def _vote_key(relpath: str, utterance: Utterance) -> str:
    # Clips cut from one recording share its path, so their ids have to tell them apart.
    return relpath if utterance.start is None and utterance.end is None else utterance.id


def _meta_row(utterance: Utterance, extra: list[str]) -> str:
    cells = [_cell(getattr(utterance, column)) for column in META_COLUMNS]
    return "\t".join(cells + [_cell(utterance.extra.get(column)) for column in extra])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else _BREAKS.sub(" ", str(value)).strip()


def _read_tsv(path: Path) -> tuple[str, list[tuple[str, int]]]:
    lines = list(read_lines(path))
    if not lines or "\t" in lines[0]:
        raise EmofairError("the first line must be the root folder of the audio", file=path, row=1)
    rows = []
    for row, line in enumerate(lines[1:], start=2):
        relpath, tab, n_samples = line.partition("\t")
        if not relpath or not tab or not n_samples.strip().isdecimal():
            raise EmofairError("expected a path, a tab and a number of samples", file=path, row=row)
        # The length first: Python refuses to convert thousands of digits.
        if len(n_samples.strip()) > 10 or int(n_samples) > MOST_SAMPLES:
            problem = f"{n_samples.strip()[:20]} cannot be a number of samples (at most {MOST_SAMPLES})"
            raise EmofairError(problem, file=path, row=row, remedy=AGAIN)
        rows.append((relpath, int(n_samples)))
    if not rows:
        raise EmofairError("the manifest lists no utterances", file=path)
    return lines[0], rows


def _read_meta(path: Path, audio: list[tuple[str, int]]) -> list[Utterance]:
    if not path.is_file():
        stems = [Path(relpath).stem for relpath, _ in audio]
        if len(set(stems)) < len(stems):
            stems = [os.path.splitext(relpath)[0].replace("/", "_") for relpath, _ in audio]
        return [Utterance(id=stem, path="") for stem in stems]
    lines = read_lines(path)
    columns = next(lines, "").split("\t")
    if missing := [column for column in META_COLUMNS if column not in columns]:
        raise EmofairError(f"the column {missing[0]!r} is missing", file=path, row=1, remedy=AGAIN)
    items = []
    for row, line in enumerate(lines, start=2):
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise EmofairError(f"{len(cells)} columns, the header has {len(columns)}", file=path, row=row)
        items.append(_from_cells(dict(zip(columns, cells, strict=True)), path, row))
    _same_length(items, audio, path)
    return items


def _from_cells(cells: dict[str, str], path: Path, row: int) -> Utterance:
    known: dict[str, Any] = {column: cells.pop(column) or None for column in META_COLUMNS}
    for column in ("sentiment", "start", "end"):
        try:
            known[column] = None if known[column] is None else float(known[column])
        except ValueError:
            raise EmofairError(f"{column} {known[column]!r} is not a number", file=path, row=row) from None
    known["id"] = known["id"] or ""
    return Utterance(path="", extra={key: value for key, value in cells.items() if value}, **known)


def _same_length(rows: list, audio: list, path: Path) -> None:
    if len(rows) != len(audio):
        raise EmofairError(
            f"{len(rows)} rows for {len(audio)} utterances in the manifest",
            file=path,
            remedy=AGAIN,
        )


def _add_labels(path: Path, items: list[Utterance]) -> None:
    if not path.is_file():
        return
    labels = list(read_lines(path))
    _same_length(labels, items, path)
    for row, (utterance, label) in enumerate(zip(items, labels, strict=True), start=1):
        if utterance.label not in (None, label):
            raise EmofairError(f"label {label!r}, but {utterance.label!r} in the meta table", file=path, row=row)
        utterance.label = label


def _add_votes(path: Path, items: list[Utterance], relpaths: list[str]) -> None:
    if path.is_file():
        votes = parse_json("\n".join(read_lines(path)), path)
        for utterance, relpath in zip(items, relpaths, strict=True):
            key = _vote_key(relpath, utterance)
            utterance.votes = votes.get(key)
            if utterance.votes is not None and not _are_votes(utterance.votes):
                raise EmofairError(f"{key!r} has no numbers of votes by label", file=path, remedy=AGAIN)


def _are_votes(value: Any) -> bool:
    return isinstance(value, dict) and all(type(n) in (int, float) and 0 <= n < math.inf for n in value.values())


def _add_words(path: Path, items: list[Utterance]) -> None:
    if not path.is_file():
        return
    rows = [parse_json(line, path, row) for row, line in enumerate(read_lines(path), start=1)]
    _same_length(rows, items, path)
    for row, (utterance, timing) in enumerate(zip(items, rows, strict=True), start=1):
        try:
            identifier, words = timing["id"], [(word, float(start), float(end)) for word, start, end in timing["words"]]
        except (KeyError, TypeError, ValueError):
            raise EmofairError("expected an id and words with start and end", file=path, row=row) from None
        if identifier != utterance.id:
            raise EmofairError(f"words of {identifier!r}, expected {utterance.id!r}", file=path, row=row)
        utterance.words = words or None
