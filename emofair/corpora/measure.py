"""Look at the audio of what a corpus module found, and leave out what cannot be used."""

from __future__ import annotations

from pathlib import Path

from emofair.corpora import Source
from emofair.data.audio import SAMPLE_RATE, AudioInfo, audio_info, read_audio
from emofair.data.corpus_check import SHORTEST
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError, some


def measure(source: Source, *, resample: bool = False, decode: bool = False, progress: bool = False) -> None:
    """Fill in ``n_samples`` from the headers; utterances whose audio cannot be used move to ``source.problems``.

    That is: missing, empty or truncated files, cuts outside the recording, other rates than 16 kHz unless ``resample``,
    and with ``decode`` what only decoding shows. Clips below one frame and files with several channels are noted.
    Problems name the row of a list, where the corpus is one. Raises `EmofairError` when nothing is left.
    """
    from tqdm import tqdm

    headers: dict[str, AudioInfo | EmofairError] = {}
    n = sum(map(len, source.splits.values()))
    # disable=None: a bar on terminals only.
    with tqdm(total=n, desc="audio", unit="clip", disable=None if progress else True) as bar:
        for split, items in source.splits.items():
            kept = []
            for utterance in items:
                bar.update()
                try:
                    utterance.n_samples = _n_samples(utterance, headers, resample, decode)
                    kept.append(utterance)
                except EmofairError as error:
                    source.problems.append(source.of_row(error, split, utterance.id))
            source.splits[split] = kept
    if n and not any(source.splits.values()):
        first = source.problems[0]
        other_rate = first.remedy if "--resample" in (first.remedy or "") else None
        raise EmofairError(
            f"none of the {n} clips has usable audio; the first: {first.what}",
            file=first.file,
            row=first.row,
            remedy=other_rate or "check --root, or prepare the texts alone with --text-only",
        )
    several = [path for path, info in headers.items() if isinstance(info, AudioInfo) and info.channels > 1]
    if several:
        names = some([Path(path).name for path in several])
        source.notes.append(f"{len(several)} files have several channels, which are averaged: {names}")
    short = [u.id for items in source.splits.values() for u in items if u.n_samples < SHORTEST]
    if short:
        source.notes.append(f"{len(short)} clips are shorter than one frame ({SHORTEST} samples): {some(short)}")


def without_audio(source: Source) -> None:
    """Keep the texts only; utterances that have none move to ``source.problems``."""
    for split, items in source.splits.items():
        for utterance in items:
            utterance.path, utterance.n_samples, utterance.start, utterance.end = "", 0, None, None
            if not utterance.text:
                error = source.of_row(EmofairError(f"{utterance.id} has no text"), split, utterance.id)
                source.problems.append(EmofairError(error.what, file=error.file or source.root, row=error.row))
        source.splits[split] = [u for u in items if u.text]


def _n_samples(utterance: Utterance, headers: dict[str, AudioInfo | EmofairError], resample: bool, decode: bool) -> int:
    # Clips cut from one long recording share its header.
    if utterance.path not in headers:
        try:
            headers[utterance.path] = audio_info(utterance.path)
        except EmofairError as error:
            headers[utterance.path] = error
    info = headers[utterance.path]
    if isinstance(info, EmofairError):
        raise info
    if info.sample_rate != SAMPLE_RATE and not resample:
        raise EmofairError(
            f"the audio is at {info.sample_rate} Hz, {SAMPLE_RATE} Hz is needed",
            file=utterance.path,
            remedy="convert it, allow resampling while reading with --resample, or convert it here with --write-audio",
        )
    try:
        n_samples = info.length_at(SAMPLE_RATE, utterance.start, utterance.end)
    except ValueError as error:
        raise EmofairError(f"{utterance.id}: {error}", file=utterance.path) from None
    if decode:
        read_audio(utterance.path, sample_rate=info.sample_rate, start=utterance.start, end=utterance.end)
    return n_samples
