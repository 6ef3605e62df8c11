"""Corpora that tell everything in the names of their files: find the clips, read the names, compare the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from emofair.corpora import Source
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError


def wav_files(folder: Path, remedy: str) -> list[Path]:
    """All ``*.wav`` at any depth under ``folder``, sorted; leftovers of macOS archives (``._*``) are passed over.

    Raises `EmofairError` with ``remedy`` when there are none.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".wav" and not p.name.startswith("."))
    if not files:
        raise EmofairError("no *.wav here", file=folder, remedy=remedy)
    return files


def read_clips(source: Source, files: Iterable[Path], read_name: Callable[[Path], Utterance]) -> list[Utterance]:
    """The utterances that the files' names describe; ``read_name`` raises `ValueError` for one that it can't read.

    Such names, and ids that come twice, go to ``source.problems``.
    """
    items: dict[str, Utterance] = {}
    for file in files:
        try:
            utterance = read_name(file)
        except ValueError as error:
            source.problems.append(EmofairError(str(error), file=file))
            continue
        if utterance.id in items:
            problem = f"{utterance.id} is here a second time, first in {Path(items[utterance.id].path).parent}"
            source.problems.append(EmofairError(problem, file=file, remedy="give the folder of one copy as --root"))
        else:
            items[utterance.id] = utterance
    return list(items.values())


def coded(code: str, names: Mapping[str, str], what: str) -> str:
    """The name that ``code`` stands for; `ValueError` for one that is not known."""
    if code not in names:
        known = ", ".join(f"{each} {name}" for each, name in names.items())
        raise ValueError(f"unknown {what} {code!r} (known: {known})")
    return names[code]


def compare_counts(source: Source, items: list[Utterance], counts: Mapping[str, int], n_speakers: int) -> None:
    """Note in ``source.mismatches`` where clips, clips per class and speakers differ from what was published."""
    if len(items) != sum(counts.values()):
        source.mismatches.append(f"{len(items)} clips, {sum(counts.values())} are published")
    found = Counter(u.label for u in items)
    for label, n in counts.items():
        if found[label] != n:
            source.mismatches.append(f"{found[label]} clips of {label}, {n} are published")
    speakers = len({u.speaker for u in items})
    if speakers != n_speakers:
        source.mismatches.append(f"{speakers} speakers, {n_speakers} are published")
