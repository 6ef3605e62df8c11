"""Text to the ids that a RoBERTa reads: byte-pair pieces looked up in its dictionary."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from emofair.errors import EmofairError
from emofair.special_tokens import BOS, EOS, UNKNOWN

ENCODER_JSON, VOCAB_BPE = "encoder.json", "vocab.bpe"
SENTENCEPIECE = "sentencepiece.bpe.model"
AGAIN = "Download or copy it again"
# <unk>, <s> and </s>, which a sentencepiece model counts and a dictionary does not list.
SPECIAL_PIECES = 3


class TextTokenizer:
    """Turns transcripts into the token ids of one pretrained RoBERTa.

    Build it with `from_dir`. Text is taken as it is, without lower-casing; only white space around it is
    removed, because a leading blank changes the first piece of GPT-2's BPE. ``pieces`` and ``unknown`` count
    what has been encoded so far and how much of it the dictionary does not know, ``empty`` the transcripts
    without a word.
    """

    def __init__(self, split: Callable[[str], list[str]], dict_path: str | Path) -> None:
        from emofair.checkpoints.roberta import load_dictionary

        self.split = split
        self.dictionary = load_dictionary(dict_path)
        self.pieces = 0
        self.unknown = 0
        self.empty = 0

    @classmethod
    def from_dir(cls, folder: str | Path) -> TextTokenizer:
        """The tokenizer of the model in ``folder``: its ``dict.txt`` and the BPE files beside it.

        These are ``encoder.json`` and ``vocab.bpe`` (GPT-2's BPE, as RoBERTa uses it, arXiv 1907.11692) or
        else ``sentencepiece.bpe.model``. Only local files are read. Raises EmofairError when they are
        missing or damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise EmofairError("no such folder", file=folder, remedy="Give the folder of a pretrained RoBERTa")
        if (folder / ENCODER_JSON).is_file() and (folder / VOCAB_BPE).is_file():
            return cls(_gpt2(folder / ENCODER_JSON, folder / VOCAB_BPE), folder / "dict.txt")
        if (folder / SENTENCEPIECE).is_file():
            return cls(_sentencepiece(folder / SENTENCEPIECE), folder / "dict.txt")
        raise EmofairError(
            f"there is neither {ENCODER_JSON} with {VOCAB_BPE} nor {SENTENCEPIECE} in this folder",
            file=folder,
            remedy=f"For the published RoBERTa get {ENCODER_JSON} and {VOCAB_BPE} from "
            "https://dl.fbaipublicfiles.com/fairseq/gpt2_bpe/ and put them there",
        )

    def encode(self, text: str) -> np.ndarray:
        """Ids int64 ``[0, one per piece, 2]``; pieces that the dictionary lacks become 3, no text ``[0, 2]``.

        Raises EmofairError for text with undecodable bytes.
        """
        text = text.strip()
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise EmofairError(f"the text is not valid Unicode ({error.reason})") from None
        if not text:
            self.empty += 1
            return np.array([BOS, EOS], dtype=np.int64)
        ids = [self.dictionary.index(piece) for piece in self.split(text)]
        self.pieces += len(ids)
        self.unknown += ids.count(UNKNOWN)
        return np.array([BOS, *ids, EOS], dtype=np.int64)


def train_sentencepiece(
    texts: Iterable[str], out_dir: str | Path, vocab_size: int, seed: int = 0, max_sentences: int = 1_000_000
) -> int:
    """Learn a byte-pair vocabulary; write ``sentencepiece.bpe.model`` and ``dict.txt``; return its size.

    ``vocab_size`` is the number of dictionary entries wanted; little text gives fewer. The dictionary lists
    the pieces by how often they occur in ``texts``. Of more than ``max_sentences`` texts a sample is used,
    drawn with ``seed``. The same texts give the same files. Raises EmofairError when there is too little
    text or too small a vocabulary for its characters.
    """
    import sentencepiece
    from fairseq.data import Dictionary

    out_dir = Path(out_dir)
    sentences = [text.strip() for text in texts if text.strip()]
    if not sentences:
        raise EmofairError("there is no text to learn a vocabulary from", file=out_dir)
    if len(sentences) > max_sentences:
        sentences = random.Random(seed).sample(sentences, max_sentences)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size + SPECIAL_PIECES,
            hard_vocab_limit=False,
            character_coverage=1.0,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise EmofairError(
            f"a vocabulary of {vocab_size} cannot be learned from {len(sentences)} texts ({_reason(error)})",
            file=out_dir,
            remedy="Ask for another vocabulary size (at least the number of different characters)",
        ) from None
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    counts = Counter(piece for sentence in sentences for piece in processor.encode(sentence, out_type=str))
    pieces = [processor.id_to_piece(i) for i in range(SPECIAL_PIECES, processor.get_piece_size())]
    dictionary = Dictionary()
    for piece in sorted(pieces, key=lambda piece: -counts[piece]):
        dictionary.add_symbol(piece, n=counts[piece])
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / SENTENCEPIECE).write_bytes(model.getvalue())
    dictionary.save(str(out_dir / "dict.txt"))
    return len(pieces)


def _gpt2(encoder_json: Path, vocab_bpe: Path) -> Callable[[str], list[str]]:
    """GPT-2's BPE; a piece is the decimal number that stands for it in RoBERTa's dictionary."""
    from fairseq.data.encoders.gpt2_bpe_utils import Encoder, bytes_to_unicode

    try:
        pieces = json.loads(encoder_json.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EmofairError(f"not a GPT-2 vocabulary ({error})", file=encoder_json, remedy=AGAIN) from None
    if not isinstance(pieces, dict) or not set(bytes_to_unicode().values()) <= pieces.keys():
        raise EmofairError("not a GPT-2 vocabulary (it lacks some of the 256 bytes)", file=encoder_json, remedy=AGAIN)
    try:
        # Not str.splitlines: pieces may be characters that it takes for line ends.
        lines = vocab_bpe.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise EmofairError(f"not a list of GPT-2 merges ({error})", file=vocab_bpe, remedy=AGAIN) from None
    merges = []
    for row, line in enumerate(lines, start=1):
        line = line.rstrip("\r")
        if not line or (row == 1 and line.startswith("#version")):
            continue
        pair = tuple(line.split(" "))
        if len(pair) != 2 or "".join(pair) not in pieces:
            what = f"{line[:40]!r} is no merge that makes a piece of {ENCODER_JSON}"
            raise EmofairError(what, file=vocab_bpe, row=row, remedy=AGAIN)
        merges.append(pair)
    encoder = Encoder(encoder=pieces, bpe_merges=merges)
    return lambda text: [str(piece) for piece in encoder.encode(text)]


def _sentencepiece(path: Path) -> Callable[[str], list[str]]:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.load(str(path))
    except (RuntimeError, OSError) as error:
        raise EmofairError(f"not a sentencepiece model ({_reason(error)})", file=path, remedy=AGAIN) from None
    return lambda text: processor.encode(text, out_type=str)


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
