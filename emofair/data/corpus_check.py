"""What can be wrong with a prepared corpus: audio, labels, and one speaker, id or sound on both sides of a split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from emofair.data import manifests
from emofair.data.audio import SAMPLE_RATE, AudioInfo, PathLike, audio_hash, audio_info, hash_and_peak
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

Splits = dict[str, list[Utterance]]
Clip = tuple[str, float | None, float | None]
"""Path, start and end: what an utterance sounds like."""

GROUPS = ("speaker", "session", "dialog")
"""Columns whose values should not occur in two splits."""

SHORTEST = 400
"""Samples at 16 kHz that give one frame of wav2vec 2.0, HuBERT and WavLM."""

SILENT = 1e-3
"""Clips that never rise above it (full scale is 1) have no speech in them."""


@dataclass(frozen=True)
class Problem:
    """One finding: a line for the user, and whether it only deserves a warning."""

    text: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{'warning' if self.warning else 'error'}: {self.text}"


@dataclass(frozen=True)
class Heard:
    """What decoding a clip gave: its header, length at 16 kHz, the hash of its samples and the largest of them."""

    info: AudioInfo
    n_samples: int
    digest: str
    peak: float


def check_corpus(
    corpus_dir: PathLike,
    *,
    audio: bool = True,
    allow_overlap: bool = False,
    progress: bool = False,
    heard: dict[Clip, Heard | str] | None = None,
) -> list[Problem]:
    """Everything that is wrong with a prepared corpus, worst cases as errors, the rest as warnings.

    Checks the manifests and sidecars, labels against ``labels.txt``, ids, speakers, sessions and dialogs across splits,
    and with ``audio`` decodes every clip: readable, finite, not silent, of the listed length and rate, not in two
    splits. Groups that ``corpus.json`` lists as shared (the published split shares them) are warnings;
    ``allow_overlap`` turns every overlap into a warning. ``heard`` collects what was decoded, so that the next fold of
    the same corpus does not decode it again. Raises `EmofairError` only when there is no corpus at all.
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
    parts_of = corpus.get("parts_of", {})
    whole = without_parts(splits, parts_of)
    problems += overlaps(whole, shared=corpus.get("shared_groups", ()), allow=allow_overlap)
    problems += _check_parts(splits, parts_of, corpus_dir)
    if audio:
        heard = {} if heard is None else heard
        problems += _check_audio(whole, bool(corpus.get("resample")), corpus_dir, allow_overlap, progress, heard)
    return problems


def without_parts(splits: Splits, parts_of: Mapping[str, str]) -> Splits:
    """The splits that are no part of another one."""
    return {split: items for split, items in splits.items() if split not in parts_of}


def overlaps(
    splits: Splits, *, columns: Iterable[str] = ("id", *GROUPS), shared: Iterable[str] = (), allow: bool = False
) -> list[Problem]:
    """Ids, speakers, sessions and dialogs that occur in more than one split; those in ``shared`` are warnings."""
    found = []
    for column in columns:
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
    splits: Splits, *, progress: bool = False, skip_bad: bool = False, digests: dict[Clip, str] | None = None
) -> Iterator[tuple[str, str, str, str]]:
    """Clips of different splits with the same samples: (split, id, other split, other id).

    Only clips whose length occurs in two splits are decoded, so a whole corpus takes seconds. One that cannot be
    decoded raises `EmofairError`, or is left out with ``skip_bad``. ``digests`` collects hashes for the next fold.
    """
    lengths: dict[int, set[str]] = defaultdict(set)
    for split, items in splits.items():
        for utterance in items:
            lengths[utterance.n_samples].add(split)
    candidates = {
        split: [u for u in items if u.has_audio and len(lengths[u.n_samples]) > 1] for split, items in splits.items()
    }
    yield from _same_hash(_hashes(candidates, progress, skip_bad, {} if digests is None else digests))


def _hashes(
    candidates: Splits, progress: bool, skip_bad: bool, digests: dict[Clip, str]
) -> Iterator[tuple[str, Utterance, str]]:
    for split, utterance in _bar(candidates, "duplicates", progress):
        clip = _clip(utterance)
        if clip not in digests:
            try:
                digests[clip] = audio_hash(utterance.path, start=utterance.start, end=utterance.end)
            except EmofairError:
                if skip_bad:
                    continue
                raise
        yield split, utterance, digests[clip]


def summary_table(splits: Splits, parts_of: Mapping[str, str] | None = None) -> str:
    """Counts, split x label, with hours of audio, as an aligned text table; where there are scores only, their sign.

    The last row sums up all splits but those that ``parts_of`` says are parts of others.
    """
    everything = [u for items in without_parts(splits, parts_of or {}).values() for u in items]
    labels = sorted(set(map(_kind, everything)))
    rows = [["split", *labels, "total", "hours"]]
    for split, items in [*splits.items(), ("all", everything)]:
        counts = Counter(map(_kind, items))
        hours = sum(u.n_samples for u in items) / SAMPLE_RATE / 3600
        rows.append([split, *(str(counts[label]) for label in labels), str(len(items)), f"{hours:.2f}"])
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
    if "folds" in corpus:
        yield from (Problem(f"{corpus_dir}: {line}", warning=True) for line in missing_classes(splits, labels))
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


def missing_classes(splits: Mapping[str, list[Utterance]], labels: Iterable[str]) -> list[str]:
    """One line for each split that lacks a class, as "test has no disgust"; unlabelled splits are passed over."""
    lines = []
    for split, items in splits.items():
        found = {u.label for u in items} - {None}
        if found and (missing := [label for label in labels if label not in found]):
            lines.append(f"{split} has no {', '.join(missing)}")
    return lines


def _check_parts(splits: Splits, parts_of: Mapping[str, str], corpus_dir: Path) -> Iterator[Problem]:
    for part, whole in parts_of.items():
        file = corpus_dir / f"{part}.meta.tsv"
        known = {u.id: u for u in splits.get(whole, [])}
        for row, utterance in enumerate(splits.get(part, []), start=2):
            if known.get(utterance.id) != utterance:
                yield Problem(f"{file}:{row}: {utterance.id!r} is not in {whole}, or is another one there")
    for whole in sorted(set(parts_of.values())):
        # Parts of one training set may share speakers.
        parts = {part: splits[part] for part in splits if parts_of.get(part) == whole}
        yield from overlaps(parts, columns=("id",))


def _clip(utterance: Utterance) -> Clip:
    return utterance.path, utterance.start, utterance.end


def _hear(utterance: Utterance) -> Heard | str:
    """Decode a clip; a line where that fails."""
    try:
        info = audio_info(utterance.path)
        n_samples = info.length_at(SAMPLE_RATE, utterance.start, utterance.end)
        digest, peak = hash_and_peak(utterance.path, start=utterance.start, end=utterance.end)
    except ValueError as error:
        return str(error)
    return Heard(info, n_samples, digest, peak)


def _check_audio(
    splits: Splits,
    resample: bool,
    corpus_dir: Path,
    allow_overlap: bool,
    progress: bool,
    heard: dict[Clip, Heard | str],
) -> Iterator[Problem]:
    hashes = []
    rows = {id(u): row for items in splits.values() for row, u in enumerate(items, start=2)}
    audible = {split: [u for u in items if u.has_audio] for split, items in splits.items()}
    for split, utterance in _bar(audible, "audio", progress):
        place = f"{corpus_dir / split}.tsv:{rows[id(utterance)]}"
        clip = _clip(utterance)
        if clip not in heard:
            heard[clip] = _hear(utterance)
        found = heard[clip]
        if isinstance(found, str):
            yield Problem(f"{place}: {found}")
            continue
        hashes.append((split, utterance, found.digest))
        rate, n_samples = found.info.sample_rate, found.n_samples
        if rate != SAMPLE_RATE and not resample:
            yield Problem(f"{place}: {utterance.path}: {rate} Hz; prepare with --resample, or convert it")
        if n_samples != utterance.n_samples:
            yield Problem(f"{place}: {utterance.path}: {n_samples} samples, the manifest says {utterance.n_samples}")
        if n_samples < SHORTEST:
            text = f"{place}: {utterance.path}: {n_samples} samples are less than one frame ({SHORTEST})"
            yield Problem(text, warning=True)
        if found.peak < SILENT:
            yield Problem(f"{place}: {utterance.path}: silent (no sample above {found.peak:.2g})", warning=True)
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
