"""The end of tokenising: when every part is done, the ``T_data`` manifests and the table of problems."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from emofair.data.labels import MODES
from emofair.data.t_data_files import Row, item_id, write_split
from emofair.errors import EmofairError
from emofair.special_tokens import UNKNOWN
from emofair.units.token_jobs import Item, Problem
from emofair.units.token_store import SPEECH, TEXT, TokenStore

TARGETS = {
    "iemocap": "softmax_target_iemocap",
    "meld": "softmax_target_meld",
    "mos": "regression_target_mos",
    "regression": "regression_target",
}
# File systems allow 255 bytes, and a file gets a few more while it is written.
LONGEST_NAME = 240
LONGEST = {SPEECH: 2048, TEXT: 512}


def usable(items: Sequence[Item]) -> tuple[list[Item], list[Problem]]:
    """The items whose ids and labels the manifests can hold, ids without a final ``.wav`` and the like; and the rest.

    Raises EmofairError for an id in two splits.
    """
    good: list[Item] = []
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for split, utterance in items:
        utterance.id = item_id(utterance.id)
        name = utterance.id
        what = None
        if not _can_be_a_name(name):
            what = f"the id {name[:60]!r} cannot name a file and a row of a comma-separated table"
        elif utterance.label is not None and re.search(r'[,"\r\n\t]', utterance.label):
            what = f"the label {utterance.label!r} cannot be written to a comma-separated table"
        elif seen.get(name) == split:
            what = "the id occurs a second time"
        elif name in seen:
            raise EmofairError(
                f"the id {name!r} is in the splits {seen[name]!r} and {split!r}",
                remedy="Take it out of one of them: a score on it would not be a test score",
            )
        if what is None:
            seen[name] = split
            good.append((split, utterance))
        else:
            problems.append(Problem(name, split, utterance.path, what))
    return good, problems


def _can_be_a_name(name: str) -> bool:
    if not name or name in (".", "..") or item_id(name) != name or re.search(r'[,"/\\\x00-\x1f\x7f]', name):
        return False
    try:
        return len(name.encode()) <= LONGEST_NAME
    except UnicodeEncodeError:
        return False


@dataclasses.dataclass
class Parts:
    """What each of ``nshard`` processes found, kept in ``out/.parts`` until all are done.

    ``key`` says what was asked for; records of an earlier, different request do not count.
    """

    out: Path
    nshard: int
    key: str

    @classmethod
    def of(cls, out: Path, nshard: int, items: Sequence[Item], **request: object) -> Parts:
        """The parts of one request: the same items and options give the same key in every process."""
        digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode())
        for split, u in items:
            told = [split, u.id, u.path, u.text, u.label, u.sentiment, u.start, u.end]
            digest.update(json.dumps(told).encode())
        return cls(out, nshard, digest.hexdigest()[:16])

    def save(self, rank: int, problems: Sequence[Problem], counts: Mapping[str, int]) -> None:
        """Record that a part is done."""
        path = self._path(rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        record = {"key": self.key, "counts": counts, "problems": [dataclasses.asdict(p) for p in problems]}
        part.write_text(json.dumps(record), encoding="utf-8")
        part.replace(path)

    def missing(self) -> list[int]:
        """Ranks that are not done."""
        return [rank for rank in range(self.nshard) if self._load(rank) is None]

    def collect(self) -> tuple[list[Problem], Counter[str]]:
        """Problems and counts of all parts."""
        problems: list[Problem] = []
        counts: Counter[str] = Counter()
        for rank in range(self.nshard):
            record = self._load(rank) or {"counts": {}, "problems": []}
            counts.update(record["counts"])
            problems += [Problem(**problem) for problem in record["problems"]]
        return problems, counts

    def _path(self, rank: int) -> Path:
        return self.out / ".parts" / f"{rank}-of-{self.nshard}.json"

    def _load(self, rank: int) -> dict | None:
        try:
            record = json.loads(self._path(rank).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if record.get("key") == self.key else None


@dataclasses.dataclass
class Result:
    """What is to be listed: rows per split, all problems, counts (made, found, resampled, unknown, long)."""

    rows: dict[str, list[Row]]
    problems: list[Problem]
    counts: Counter[str]
    sentiment: bool


def gather(
    store: TokenStore,
    items: Sequence[Item],
    kinds: Sequence[str],
    target: str | None,
    problems: Sequence[Problem],
    counts: Mapping[str, int],
) -> Result:
    """Look at all token files of ``items`` and make the rows of the manifests.

    An item is listed when it has tokens of all ``kinds``, so that the lists of speech and text stay aligned, and
    none of the ``problems`` made it be skipped.
    """
    skipped = {(p.split, p.id) for p in problems if not p.kept}
    sentiment = _is_sentiment(items, target)
    result = Result({split: [] for split, _ in items}, list(problems), Counter(counts), sentiment)
    for split, utterance in items:
        if (split, utterance.id) in skipped:
            continue
        tokens = {kind: store.read(split, kind, utterance.id) for kind in kinds}
        for kind, ids in tokens.items():
            if ids is None:
                absent = Problem(utterance.id, split, utterance.path, f"has no {kind} tokens")
                result.problems.append(absent)
                break
        else:
            label, complaint = _label(utterance, target, sentiment)
            if complaint:
                result.problems.append(Problem(utterance.id, split, utterance.path, complaint, kept=True))
            lengths = {kind: len(ids) for kind, ids in tokens.items()}
            result.rows[split].append(Row(utterance.id, label, lengths.get(SPEECH), lengths.get(TEXT)))
            for kind, ids in tokens.items():
                result.counts[f"{kind} tokens"] += len(ids) - 2
                result.counts[f"{kind} unknown"] += int((ids == UNKNOWN).sum())
                result.counts[f"{kind} long"] += len(ids) > LONGEST[kind]
    return result


def write_manifests(out: Path, result: Result) -> None:
    """Write ``out/T_data`` and ``out/problems.tsv``; raise EmofairError when there is nothing to list.

    Lists of a split in which nothing is left are removed. Processes may do this at the same time: each file is
    replaced in one step, and they write the same.
    """
    with tempfile.TemporaryDirectory(dir=out, prefix=".writing") as scratch:
        write_problems(Path(scratch) / "problems.tsv", result.problems)
        os.replace(Path(scratch) / "problems.tsv", out / "problems.tsv")
        filled = {split: rows for split, rows in result.rows.items() if rows}
        if not filled:
            first = result.problems[0]
            raise EmofairError(
                f"no utterance could be tokenised (the first: {first.id}: {first.what})", file=out / "problems.tsv"
            )
        for split, rows in filled.items():
            write_split(scratch, split, rows, "sentiment" if result.sentiment else "emotion")
        (out / "T_data").mkdir(exist_ok=True)
        for split in result.rows.keys() - filled.keys():
            for name in (f"{split}_a.tsv", f"{split}_t.tsv", f"{split}_size.tsv", f"label_file_{split}.csv"):
                (out / "T_data" / name).unlink(missing_ok=True)
        for file in os.listdir(scratch):
            os.replace(Path(scratch) / file, out / "T_data" / file)


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """A table with the columns id, split, path, problem; problems of utterances without tokens start with "skipped"."""
    lines = ["id\tsplit\tpath\tproblem"]
    for p in problems:
        what = f"{'kept' if p.kept else 'skipped'}: {p.what}"
        lines.append("\t".join(" ".join(cell.split()) for cell in (p.id, p.split, p.path, what)))
    text = "".join(f"{line}\n" for line in lines)
    path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def _is_sentiment(items: Sequence[Item], target: str | None) -> bool:
    if target is not None:
        return MODES[TARGETS[target]].is_regression
    return all(u.label is None for _, u in items) and any(u.sentiment is not None for _, u in items)


def _label(utterance, target: str | None, sentiment: bool) -> tuple[str | float, str | None]:
    """What goes into the label file (empty: unlabelled) and what is wrong with it."""
    if not sentiment:
        label = utterance.label
        if label is None:
            return "", "has no label"
        if target is not None and MODES[TARGETS[target]].class_index(label) is None:
            return label, f"the label {label!r} does not belong to --target {target}"
        return label, None
    if utterance.sentiment is not None:
        return utterance.sentiment, None
    try:
        return float(utterance.label or ""), None
    except ValueError:
        told = "no sentiment score" if utterance.label is None else f"{utterance.label!r} for a sentiment score"
        return "", f"has {told}"
