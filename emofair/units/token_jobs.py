"""Utterances to token files, one by one; what goes wrong with one of them is written down and the rest go on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emofair.data.audio import SAMPLE_RATE, audio_info, read_audio
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError
from emofair.units.bpe import TextTokenizer
from emofair.units.token_store import SPEECH, TEXT, TokenStore
from emofair.units.vq_wav2vec import SpeechTokenizer

if TYPE_CHECKING:
    import numpy as np

Item = tuple[str, Utterance]
"""A split's name and one of its utterances."""

PROBE = {SPEECH: 5, TEXT: 100}
PROBE_LIMIT = 10.0


@dataclass(frozen=True)
class Problem:
    """What is wrong with one utterance; ``kept`` says whether it has tokens all the same."""

    id: str
    split: str
    path: str
    what: str
    kept: bool = False


def tokenize_part(
    items: Sequence[Item],
    store: TokenStore,
    tokenizers: Mapping[str, Any],
    *,
    resample: bool = True,
    max_seconds: float = 600.0,
) -> tuple[list[Problem], Counter[str]]:
    """Write the token files of ``items``; return the problems, and how many were made, found and resampled.

    ``tokenizers`` maps ``audio_token`` to a `SpeechTokenizer` and ``text`` to a `TextTokenizer`, either may
    be absent. Complete files that fit are left as they are. ``resample`` accepts other rates than 16 kHz.
    Clips longer than ``max_seconds`` are problems, as a clip goes through the model in one piece.
    """
    from tqdm import tqdm

    problems: list[Problem] = []
    counts: Counter[str] = Counter()
    # disable=None: a bar on terminals only.
    for split, utterance in tqdm(items, desc="tokens", unit="clip", disable=None):
        job = _Job(split, utterance, store, problems, counts)
        try:
            if TEXT in tokenizers:
                job.text(tokenizers[TEXT])
            if SPEECH in tokenizers:
                job.speech(tokenizers[SPEECH], resample, max_seconds)
        except _Skip as skip:
            job.note(str(skip), kept=False)
    return problems, counts


def probe(items: Sequence[Item], kind: str, tokenizer: Any, limit: float = PROBE_LIMIT) -> None:
    """Encode a few utterances; raise EmofairError when over ``limit`` percent of their tokens are unknown.

    So a dictionary of another model is found before hours of work.
    """
    tried = 0
    for _, utterance in items:
        if tried == PROBE[kind]:
            break
        try:
            if kind == TEXT:
                tokenizer.encode(utterance.text or "")
            elif utterance.has_audio:
                seconds = min(30.0, audio_info(utterance.path).seconds)
                tokenizer.encode([read_audio(utterance.path, resample=True, end=seconds)])
        except EmofairError:
            continue
        tried += 1
    check_unknown(kind, tokenizer.unknown, tokenizer.pieces if kind == TEXT else tokenizer.frames, limit)


def check_unknown(kind: str, unknown: int, total: int, limit: float) -> None:
    """Raise EmofairError when more than ``limit`` percent of the tokens are unknown."""
    if total and 100.0 * unknown / total > limit:
        model = "vq-wav2vec" if kind == SPEECH else "BPE"
        raise EmofairError(
            f"{100.0 * unknown / total:.1f} % of {total} {kind} tokens are not in the dictionary (limit {limit:g} %)",
            remedy=f"The dict.txt does not seem to belong to this {model}; if it does, raise --max-unknown",
        )


class _Skip(Exception):
    """This utterance gets no tokens."""


@dataclass
class _Job:
    split: str
    utterance: Utterance
    store: TokenStore
    problems: list[Problem]
    counts: Counter[str]

    def note(self, what: str, kept: bool = True) -> None:
        self.problems.append(Problem(self.utterance.id, self.split, self.utterance.path, what, kept))

    def text(self, tokenizer: TextTokenizer) -> None:
        name, text = self.utterance.id, self.utterance.text or ""
        if not text.strip():
            self.note("empty transcript, kept as <s> </s>")
        # Encoding is as fast as looking at the file, and a corrected transcript is noticed this way.
        try:
            tokens = tokenizer.encode(text)
        except EmofairError as error:
            raise _Skip(error.what) from None
        found = self.store.read(self.split, TEXT, name)
        if found is not None and found.tolist() == tokens.tolist():
            self.counts["text found"] += 1
            return
        self.store.write(self.split, TEXT, name, tokens)
        self.counts["text made"] += 1

    def speech(self, tokenizer: SpeechTokenizer, resample: bool, max_seconds: float) -> None:
        utterance = self.utterance
        if not utterance.has_audio:
            raise _Skip("has no audio")
        found = self.store.read(self.split, SPEECH, utterance.id)
        if found is not None and not os.path.exists(utterance.path):
            self.counts["speech found"] += 1
            return
        try:
            info = audio_info(utterance.path)
            n_samples = info.length_at(SAMPLE_RATE, utterance.start, utterance.end)
            if n_samples > max_seconds * SAMPLE_RATE:
                raise _Skip(f"is {n_samples / SAMPLE_RATE:.0f} s long (--max-seconds {max_seconds:g})")
            fits = found is not None and len(found) == tokenizer.n_frames(n_samples) + 2
            if not fits or self._is_outdated():
                audio = read_audio(utterance.path, resample=resample, start=utterance.start, end=utterance.end)
                found, made = _encode(tokenizer, audio), True
            else:
                made = False
        except (EmofairError, ValueError) as error:
            raise _Skip(getattr(error, "what", str(error))) from None
        if made:
            self.store.write(self.split, SPEECH, utterance.id, found)
        self.counts["speech made" if made else "speech found"] += 1
        self.counts["resampled"] += info.sample_rate != SAMPLE_RATE
        if n_samples < tokenizer.receptive_field:
            self.note(f"{n_samples} samples, padded with zeros to {tokenizer.receptive_field}")

    def _is_outdated(self) -> bool:
        """Whether the audio is newer than its tokens."""
        written = os.stat(self.store.path(self.split, SPEECH, self.utterance.id)).st_mtime_ns
        return os.stat(self.utterance.path).st_mtime_ns > written


def _encode(tokenizer: SpeechTokenizer, audio: np.ndarray) -> np.ndarray:
    try:
        return tokenizer.encode([audio])[0]
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        raise _Skip(f"does not fit into memory ({len(audio) / SAMPLE_RATE:.0f} s)") from None
