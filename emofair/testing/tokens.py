"""Throw-away corpora of token files with labels that a tiny model can learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emofair.errors import EmofairError
from emofair.testing.pretrained import SPEECH_WORDS, TEXT_WORDS

CLASSES = {
    "iemocap": ("neu", "sad", "ang", "hap", "exc"),
    "meld": ("neutral", "sadness", "anger", "joy", "surprise", "fear", "disgust"),
}
FLAGS = {
    "iemocap": ("--binary-target-iemocap", "--num-classes", "8"),
    "meld": ("--softmax-target-meld", "--num-classes", "7"),
    "mosi": ("--regression-target-mos", "--num-classes", "1"),
    "mosei": ("--regression-target-mos", "--num-classes", "1"),
    "regression": ("--regression-target", "--num-classes", "1"),
}
SESSIONS = {"train": (1, 2, 3), "valid": (4,), "test": (5,)}


@dataclass(frozen=True)
class TokenCorpus:
    """Where a corpus was written: ``data`` (manifests), ``raw`` (token files), and what is in it.

    ``flags`` are the options of fairseq-train that fit its labels; ``ids`` and ``labels`` map a split to
    lists.
    """

    data: Path
    raw: Path
    flags: tuple[str, ...]
    ids: dict[str, list[str]] = field(repr=False)
    labels: dict[str, list[str]] = field(repr=False)


def token_corpus(
    out_dir: str | Path,
    mode: str = "iemocap",
    n: int | dict[str, int] = 24,
    *,
    seed: int = 0,
    speech_vocab: int = SPEECH_WORDS,
    text_vocab: int = TEXT_WORDS,
    audio: bool = True,
    text: bool = True,
    audio_length: tuple[int, int] = (20, 80),
    text_length: tuple[int, int] = (4, 20),
    learnable: bool = True,
) -> TokenCorpus:
    """Write ``T_data`` manifests and ``raw`` token files of a corpus shaped like ``mode``.

    ``mode`` is ``iemocap``, ``meld``, ``mosi``, ``mosei`` or ``regression``; ``n`` is the number of
    training items (half as many, at least 4, in valid and test) or a count per split. Token ids run from
    4 to the vocabulary's end and stand between 0 and 2. With ``learnable`` the tokens of an item come
    mostly from the part of the vocabulary that belongs to its label, in speech and in text alike; else
    they say nothing about it. Lengths include 0 and 2. The details of the published manifests are kept:
    CRLF, size files with a header only for the sentiment corpora.
    """
    import numpy as np

    if mode not in FLAGS:
        raise EmofairError(f"unknown kind of token corpus {mode!r}", remedy=f"choose one of {', '.join(FLAGS)}")
    counts = n if isinstance(n, dict) else {"train": n, "valid": max(4, n // 2), "test": max(4, n // 2)}
    random = np.random.default_rng(seed)
    root = Path(out_dir)
    data, raw = root / "T_data", root / "raw"
    data.mkdir(parents=True, exist_ok=True)
    kinds = {"text": ("text", text_vocab, text_length), "a": ("audio_token", speech_vocab, audio_length)}
    wanted = [kind for kind, present in (("text", text), ("a", audio)) if present]
    ids: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    for split, count in counts.items():
        ids[split], labels[split], sizes = [], [], []
        for index in range(count):
            label, place = _label(mode, index, random)
            name = _name(mode, split, index, label)
            ids[split].append(name)
            labels[split].append(label)
            lengths = {"text": 0, "a": 0}
            for kind in wanted:
                folder, vocabulary, (shortest, longest) = kinds[kind]
                length = int(random.integers(shortest, longest + 1))
                tokens = _tokens(place if learnable else None, length, vocabulary, random)
                lengths[kind] = length
                _write_tokens(raw / split / folder / f"{name}.txt", tokens)
            sizes.append((name, lengths["text"], lengths["a"]))
        _write_manifest(data, split, mode, ids[split], labels[split], sizes, audio, text)
    return TokenCorpus(data, raw, FLAGS[mode], ids, labels)


def _label(mode, index, random):
    """A label and the part of the vocabulary, as (start, end) fractions, that speaks for it."""
    if mode in CLASSES:
        names = CLASSES[mode]
        label = names[index % len(names)]
        # Excitement counts as happiness in the four-class protocol, so both share their tokens.
        kinds = [name for name in names if name != "exc"]
        own = kinds.index("hap" if label == "exc" else label)
        return label, (own / len(kinds), (own + 1) / len(kinds))
    score = 0.0 if index % 8 == 0 else round(float(random.uniform(-3, 3)), 2)
    centre = (score + 3) / 6
    return str(score), (max(0.0, centre - 0.15), min(1.0, centre + 0.15))


def _name(mode: str, split: str, index: int, label: str) -> str:
    if mode == "iemocap":
        sessions = SESSIONS.get(split, (1,))
        return f"{index}_s_{sessions[index % len(sessions)]}_{label}"
    # Names of videos may begin with a hyphen and hold underscores.
    return f"-{split}V_{index // 4}_{index % 4}"


def _tokens(place, length, vocabulary, random):
    inner = random.integers(0, vocabulary, size=length - 2)
    if place is not None:
        start, end = (
            int(place[0] * vocabulary),
            max(int(place[0] * vocabulary) + 1, int(place[1] * vocabulary)),
        )
        own = random.integers(start, end, size=length - 2)
        mine = random.random(length - 2) < 0.75
        inner[mine] = own[mine]
    return [0, *(int(token) + 4 for token in inner), 2]


def _write_tokens(path: Path, tokens: Sequence[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{token}\t" for token in tokens), encoding="ascii")


def _write_manifest(data, split, mode, ids, labels, sizes, audio, text):
    def write(name, lines, newline):
        (data / name).write_bytes("".join(line + newline for line in lines).encode())

    if audio:
        write(f"{split}_a.tsv", [f"{name}.wav" for name in ids], "\n")
    if text:
        write(f"{split}_t.tsv", [f"{name}.txt" for name in ids], "\n")
    sentiment = mode not in CLASSES
    rows = [",".join(map(str, row)) for row in sizes]
    write(f"{split}_size.tsv", (["FileName,text,audio"] if sentiment else []) + rows, "\r\n")
    header = "FileName,sentiment_score" if sentiment else "FileName,Emotion"
    rows = [f"{name},{label}" for name, label in zip(ids, labels, strict=True)]
    write(f"label_file_{split}.csv", [header, *rows], "\n" if mode == "mosi" else "\r\n")
