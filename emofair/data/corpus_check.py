"""What can be wrong with a prepared corpus: audio, labels, and one speaker, id or sound on both sides of a split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emofair.data import manifests
from emofair.data.audio import SAMPLE_RATE, PathLike, audio_hash, audio_info
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

Splits = dict[str, list[Utterance]]

GROUPS = ("speaker", "session", "dialog")
"""Columns whose values should not occur in two splits."""

SHORTEST = 400
"""Samples at 16 kHz that give one frame of wav2vec 2.0, HuBERT and WavLM."""


@dataclass(frozen=True)
class Problem:
    """One finding: a line for the user, and whether it only deserves a warning."""

    text: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{'warning' if self.warning else 'error'}: {self.text}"


def check_corpus(
    corpus_dir: PathLike, *, audio: bool = True, allow_overlap: bool = False, progress: bool = False
) -> list[Problem]:
    """Everything that is wrong with a prepared corpus, worst cases as errors, the rest as warnings.

    Checks the manifests and sidecars, labels against ``labels.txt``, ids, speakers, sessions and dialogs across splits,
    and with ``audio`` decodes every clip: readable, finite, of the listed length and rate, not in two splits. Groups
    that ``corpus.json`` lists as shared (the published split shares them) are warnings; ``allow_overlap`` turns
    every overlap into a warning. Raises `EmofairError` only when there is no corpus at all.
    """
    corpus_dir = Path(corpus_dir)
    names = manifests.splits_of(corpus_dir)
    if not names:
        raise EmofairError("no prepared corpus in this folder", file=corpus_dir, remedy="emofair prepare SOURCE")
    corpus = manifests.read_corpus(corpus_dir)
    problems: list[Problem] = []
    splits: Splits = {}
    for name in names:
        try:
            splits[name] = manifests.read_split(corpus_dir, name)
        except EmofairError as error:
            problems.append(Problem(str(error)))
    problems += _check_rows(splits, manifests.read_labels(corpus_dir), corpus, corpus_dir)
    problems += overlaps(splits, shared=corpus.get("shared_groups", ()), allow=allow_overlap)
    if audio:
        problems += _check_audio(splits, bool(corpus.get("resample")), corpus_dir, allow_overlap, progress)
    return problems


def overlaps(splits: Splits, *, shared: Iterable[str] = (), allow: bool = False) -> list[Problem]:
    """Ids, speakers, sessions and dialogs that occur in more than one split; those in ``shared`` are warnings."""
    found = []
    for column in ("id", *GROUPS):
        where: dict[str, set[str]] = defaultdict(set)
        for split, items in splits.items():
            for utterance in items:
                if value := getattr(utterance, column):
                    where[value].add(split)
        both = sorted(value for value, names in where.items() if len(names) > 1)
        if both:
            names = sorted({name for value in both for name in where[value]}, key=list(splits).index)
            text = f"{len(both)} {column}s occur in more than one of {', '.join(names)}: {_some(both)}"
            found.append(Problem(text, warning=allow or column in shared))
    return found


def shared_audio(
    splits: Splits, *, progress: bool = False, skip_bad: bool = False
) -> Iterator[tuple[str, str, str, str]]:
    """Clips of different splits with the same samples: (split, id, other split, other id).

    Only clips whose length occurs in two splits are decoded, so a whole corpus takes seconds. One that cannot be
    decoded raises `EmofairError`, or is left out with ``skip_bad``.
    """
    lengths: dict[int, set[str]] = defaultdict(set)
    for split, items in splits.items():
        for utterance in items:
            lengths[utterance.n_samples].add(split)
    candidates = {
        split: [u for u in items if u.has_audio and len(lengths[u.n_samples]) > 1] for split, items in splits.items()
    }
    yield from _same_hash(_hashes(candidates, progress, skip_bad))


def _hashes(candidates: Splits, progress: bool, skip_bad: bool) -> Iterator[tuple[str, Utterance, str]]:
    for split, utterance in _bar(candidates, "duplicates", progress):
        try:
            digest = audio_hash(utterance.path, start=utterance.start, end=utterance.end)
        except EmofairError:
            if not skip_bad:
                raise
        else:
            yield split, utterance, digest


def summary_table(splits: Splits) -> str:
    """Counts, split x label, with hours of audio, as an aligned text table; where there are scores only, their sign."""
    counts = {split: Counter(map(_kind, items)) for split, items in splits.items()}
    labels = sorted(set().union(*counts.values()))
    rows = [["split", *labels, "total", "hours"]]
    for split, items in splits.items():
        hours = sum(u.n_samples for u in items) / SAMPLE_RATE / 3600
        rows.append([split, *(str(counts[split][label]) for label in labels), str(len(items)), f"{hours:.2f}"])
    total = [str(sum(int(row[i]) for row in rows[1:])) for i in range(1, len(labels) + 2)]
    rows.append(["all", *total, f"{sum(u.n_samples for i in splits.values() for u in i) / SAMPLE_RATE / 3600:.2f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _kind(utterance: Utterance) -> str:
    if utterance.label is not None or utterance.sentiment is None:
        return "-" if utterance.label is None else utterance.label
    return "positive" if utterance.sentiment > 0 else "negative" if utterance.sentiment < 0 else "zero"


def _check_rows(splits: Splits, labels: list[str], corpus: dict, corpus_dir: Path) -> Iterator[Problem]:
    trained = {u.label for u in splits.get("train", [])}
    for split, items in splits.items():
        file = corpus_dir / f"{split}.meta.tsv"
        unlabelled = [u.id for u in items if u.label is None]
        if labels and unlabelled:
            yield Problem(f"{file}: {len(unlabelled)} utterances have no label: {_some(unlabelled)}", warning=True)
        unseen = sorted({u.label for u in items if u.label is not None} - trained)
        if "train" in splits and split != "train" and unseen:
            yield Problem(f"{file}: labels that the training split lacks: {_some(unseen)}", warning=True)
        for row, utterance in enumerate(items, start=2):
            for label in [utterance.label, *(utterance.votes or ())]:
                if label is not None and label not in labels:
                    yield Problem(f"{file}:{row}: the label {label!r} is not in labels.txt")
            if not utterance.has_audio and not utterance.text:
                yield Problem(f"{file}:{row}: {utterance.id!r} has neither audio nor text")
        for identifier, times in Counter(u.id for u in items).items():
            if times > 1:
                yield Problem(f"{file}: the id {identifier!r} occurs {times} times")
        facts = corpus.get("splits", {}).get(split)
        if facts and facts["ids_sha256"] != manifests.ids_hash(items):
            yield Problem(f"{file}: the ids are not those that were prepared (corpus.json)", warning=True)


def _check_audio(
    splits: Splits, resample: bool, corpus_dir: Path, allow_overlap: bool, progress: bool
) -> Iterator[Problem]:
    hashes = []
    rows = {id(u): row for items in splits.values() for row, u in enumerate(items, start=2)}
    audible = {split: [u for u in items if u.has_audio] for split, items in splits.items()}
    for split, utterance in _bar(audible, "audio", progress):
        place = f"{corpus_dir / split}.tsv:{rows[id(utterance)]}"
        try:
            info = audio_info(utterance.path)
            n_samples = info.length_at(SAMPLE_RATE, utterance.start, utterance.end)
            hashes.append((split, utterance, audio_hash(utterance.path, start=utterance.start, end=utterance.end)))
        except ValueError as error:
            yield Problem(f"{place}: {error}")
            continue
        if info.sample_rate != SAMPLE_RATE and not resample:
            yield Problem(f"{place}: {utterance.path}: {info.sample_rate} Hz; prepare with --resample, or convert it")
        if n_samples != utterance.n_samples:
            yield Problem(f"{place}: {utterance.path}: {n_samples} samples, the manifest says {utterance.n_samples}")
        if n_samples < SHORTEST:
            yield Problem(f"{place}: {n_samples} samples are less than one frame ({SHORTEST})", warning=True)
    for split, identifier, other_split, other in _same_hash(hashes):
        text = f"the same audio is in {split} ({identifier}) and {other_split} ({other})"
        yield Problem(text, warning=allow_overlap)


def _same_hash(hashes: Iterable[tuple[str, Utterance, str]]) -> Iterator[tuple[str, str, str, str]]:
    first: dict[str, tuple[str, str]] = {}
    for split, utterance, digest in hashes:
        other_split, other = first.setdefault(digest, (split, utterance.id))
        if other_split != split:
            yield other_split, other, split, utterance.id


def _bar(splits: Splits, title: str, progress: bool) -> Iterator[tuple[str, Utterance]]:
    from tqdm import tqdm

    pairs = [(split, utterance) for split, items in splits.items() for utterance in items]
    # disable=None: a bar on terminals only.
    yield from tqdm(pairs, desc=title, unit="clip", disable=None if progress else True)


def _some(values: list[str], most: int = 5) -> str:
    return ", ".join(values[:most]) + (f" and {len(values) - most} more" if len(values) > most else "")
