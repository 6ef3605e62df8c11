"""IEMOCAP: five dyadic sessions of ten actors (Busso et al., 2008), as its publisher delivers it.

Read from every ``Session{1..5}``: ``dialog/EmoEvaluation/*.txt`` (label, valence, activation, dominance; the outside
annotators' categorical votes on the lines ``C-E*``), ``dialog/transcriptions/*.txt`` and the names of
``sentences/wav/<dialog>/<utterance>.wav``. Five labels are kept: neu, sad, ang, hap, exc; with ``classes=4`` exc counts
as hap, the usual 5,531 utterances. Others are left out and counted.

Splits are by session, so speakers never cross: fold k tests on session k, selects on the next one (5 is followed
by 1), trains on the other three; ``shipped`` is the split of the published lists of "Jointly fine-tuning BERT-like
self supervised models" (arXiv 2008.06682): train 1 to 3, valid 4, test 5. ``valid="none"`` gives the validation session
to training, as in the published protocol of "Exploring wav2vec 2.0 fine-tuning for improved SER" (arXiv 2110.06309).
With ``fold=None`` the clips come undivided, for `emofair.corpora.folds`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from emofair.corpora import UNDIVIDED, Source
from emofair.data.audio import PathLike
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

LABELS = {"neu": "neu", "sad": "sad", "ang": "ang", "hap": "hap", "exc": "exc"}
MERGED = {**LABELS, "exc": "hap"}
OTHERS = {"fru", "sur", "fea", "dis", "oth", "xxx"}

COUNTS = {
    "1": {"ang": 229, "hap": 278, "neu": 384, "sad": 194},
    "2": {"ang": 137, "hap": 327, "neu": 362, "sad": 197},
    "3": {"ang": 240, "hap": 286, "neu": 320, "sad": 305},
    "4": {"ang": 327, "hap": 303, "neu": 258, "sad": 143},
    "5": {"ang": 170, "hap": 442, "neu": 384, "sad": 245},
}
"""Utterances per session with exc counted as hap: 5,531 in all."""

_SUMMARY = re.compile(
    r"\[([\d.]+) - ([\d.]+)\]\t(Ses0(\d)[FM]_\w+_([FM])\w+)\t(\w+)\t\[([\d.-]+), ([\d.-]+), ([\d.-]+)\]\s*"
)
_VOTE = re.compile(r"C-E\d+:\t([^\t]*)")
_TRANSCRIPT = re.compile(r"(Ses0\d[FM]_\S+)\s*\[[\d.]+\s*-\s*[\d.]+\]:\s*(.*)")
_VOTE_NAMES = {"neutral": "neu", "sadness": "sad", "anger": "ang", "happiness": "hap", "excited": "exc"}


def read(root: PathLike, *, classes: int = 5, fold: str | None = "shipped", valid: str = "next") -> Source:
    """Read all five sessions under ``root`` (or its ``IEMOCAP_full_release``) and divide them by session."""
    root = Path(root)
    if not (root / "Session1").is_dir() and (root / "IEMOCAP_full_release").is_dir():
        root = root / "IEMOCAP_full_release"
    labels = MERGED if classes == 4 else LABELS
    source = Source("iemocap", root, facts={"classes": classes})
    if fold is None:
        assignment = dict.fromkeys(COUNTS, UNDIVIDED)
    else:
        assignment = session_split(fold, valid)
        source.facts |= {"fold": fold, "valid": valid}
    source.splits = {split: [] for split in ("train", "valid", "test", UNDIVIDED) if split in assignment.values()}
    counts = Counter()
    for session, split in assignment.items():
        items = _read_session(source, root / f"Session{session}", labels)
        counts.update((u.session, MERGED[u.label or ""]) for u in items)
        source.splits[split] += items
    for session, expected in COUNTS.items():
        for label, n in expected.items():
            if counts[session, label] != n:
                text = f"session {session} has {counts[session, label]} {label}"
                source.mismatches.append(f"{text}{' + exc' if label == 'hap' else ''}, {n} are published")
    return source


def session_split(fold: str, valid: str = "next") -> dict[str, str]:
    """The split of every session, "1" to "5", for a fold "1" to "5" or "shipped"."""
    test = "5" if fold == "shipped" else fold
    if test not in COUNTS or valid not in ("next", "none"):
        raise EmofairError(
            f"no fold {fold!r} with valid {valid!r}", remedy="--fold 1 to 5 or shipped; --valid next|none"
        )
    validation = "4" if fold == "shipped" else str(int(test) % 5 + 1)
    assignment = dict.fromkeys(COUNTS, "train")
    if valid == "next":
        assignment[validation] = "valid"
    assignment[test] = "test"
    return assignment


def _read_session(source: Source, folder: Path, labels: dict[str, str]) -> list[Utterance]:
    evaluations = _files(folder / "dialog" / "EmoEvaluation")
    texts = {}
    for file in _files(folder / "dialog" / "transcriptions"):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if match := _TRANSCRIPT.match(line):
                texts[match[1]] = match[2].strip()
    items: dict[str, Utterance] = {}
    for file in evaluations:
        for row, fields, votes in _evaluations(source, file):
            utterance = _utterance(fields, votes, labels, folder, texts)
            if utterance.id in items:
                source.problems.append(EmofairError(f"{utterance.id} occurs twice", file=file, row=row))
            elif utterance.label is not None:
                items[utterance.id] = utterance
            elif fields[5] in OTHERS:
                source.dropped[f"label {fields[5]}"] += 1
            else:
                source.problems.append(EmofairError(f"unknown label {fields[5]!r}", file=file, row=row))
    return list(items.values())


def _files(folder: Path) -> list[Path]:
    # "._*" are leftovers of macOS archives.
    files = sorted(p for p in folder.glob("*.txt") if not p.name.startswith("._"))
    if not files:
        raise EmofairError(
            "no such folder, or no *.txt in it",
            file=folder,
            remedy="--root is the folder that holds Session1 to Session5",
        )
    return files


def _evaluations(source: Source, file: Path) -> Iterator[tuple[int, tuple[str, ...], list[set[str]]]]:
    """Utterances of one dialog: (row, fields of the summary line, the labels that each annotator chose)."""
    row, fields, votes = 0, None, []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if line.startswith("["):
            if fields:
                yield row, fields, votes
            match = _SUMMARY.fullmatch(line)
            row, fields, votes = number, match.groups() if match else None, []
            if not match:
                problem = "expected [start - end], utterance, label and [V, A, D], tab separated"
                source.problems.append(EmofairError(problem, file=file, row=number))
        elif match := _VOTE.match(line):
            names = (name.strip().lower().removesuffix(" state") for name in match[1].split(";"))
            votes.append({_VOTE_NAMES[name] for name in names if name in _VOTE_NAMES})
    if fields:
        yield row, fields, votes


def _utterance(
    fields: tuple[str, ...], votes: list[set[str]], labels: dict[str, str], folder: Path, texts: dict[str, str]
) -> Utterance:
    start, end, name, session, gender, label, valence, activation, dominance = fields
    dialog = name.rsplit("_", 1)[0]
    # A set per annotator: one who ticked both happiness and excited still has one vote for their union.
    chosen = Counter(merged for vote in votes for merged in {labels[choice] for choice in vote})
    return Utterance(
        id=name,
        path=str(folder / "sentences" / "wav" / dialog / f"{name}.wav"),
        text=texts.get(name),
        label=labels.get(label),
        speaker=f"Ses0{session}{gender}",
        session=session,
        dialog=dialog,
        votes=dict(sorted(chosen.items())) or None,
        extra={
            "valence": valence,
            "activation": activation,
            "dominance": dominance,
            "dialog_start": start,
            "dialog_end": end,
        },
    )
