"""A small byte-level BPE in the file format of GPT-2, made from a handful of sentences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

SENTENCES = (
    "I am so happy to see you, this is wonderful!",
    "Why would you do that? I'm angry with you.",
    "It's raining again and I miss her, they've all gone.",
    "The train leaves at nine, we'll take the other road.",
    "Oh no, what was that noise? Don't go there alone.",
)


def byte_symbols() -> list[str]:
    """The 256 printable characters that stand for the byte values 0 to 255 in GPT-2's vocabulary files."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    stand_ins = iter(range(0x100, 0x200))
    return [chr(value) if value in printable else chr(next(stand_ins)) for value in range(256)]


def write_byte_bpe(folder: Path, vocabulary: int, sentences: Iterable[str] = SENTENCES) -> int:
    """Write ``encoder.json`` and ``vocab.bpe`` with at most ``vocabulary`` pieces; return how many.

    The pieces (at least 257) are the 256 bytes, merges learned greedily from ``sentences``, and
    ``<|endoftext|>``, as in GPT-2 (Radford et al. 2019, section 2.2). Only runs of letters with the space
    before them are merged.
    """
    symbols = byte_symbols()
    words = Counter()
    for sentence in sentences:
        for position, word in enumerate(sentence.split()):
            text = word if position == 0 else f" {word}"
            if text.strip().isalpha():
                words[tuple(symbols[byte] for byte in text.encode())] += 1
    merges = []
    while len(merges) < vocabulary - 257:
        pairs = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        merged = Counter()
        for word, count in words.items():
            merged[_merge(word, best)] += count
        words = merged
    pieces = sorted(symbols) + ["".join(pair) for pair in merges] + ["<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "encoder.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "vocab.bpe").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(pieces)


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    joined, position = [], 0
    while position < len(word):
        if word[position : position + 2] == pair:
            joined.append("".join(pair))
            position += 2
        else:
            joined.append(word[position])
            position += 1
    return tuple(joined)
