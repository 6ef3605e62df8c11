"""Text tokens equal those of fairseq's RoBERTa and of Hugging Face's GPT-2 tokenizer on the same files."""

import json

import numpy as np
import pytest
import sentencepiece
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel

from emofair.checkpoints import safe
from emofair.errors import EmofairError
from emofair.testing import tiny_ssl_dir
from emofair.units.bpe import TextTokenizer, train_sentencepiece

TEXTS = [
    "I am so happy to see you!",
    "Why would you do that?  I'm ANGRY.",
    "café, naïve, 日本語, 😀 and \u2028 odd\ttabs",
    "It's 1999 and they've won 3,000.50 dollars...",
    "<s> is not a mark </s> here, nor <mask> and <unk>",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_ssl_dir(tmp_path_factory.mktemp("ssl"), text_vocab=320) / "roberta.large"


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_those_of_fairseqs_roberta(folder, text):
    safe.register()
    hub = RobertaModel.from_pretrained(
        str(folder),
        "model.pt",
        str(folder),
        bpe="gpt2",
        gpt2_encoder_json=str(folder / "encoder.json"),
        gpt2_vocab_bpe=str(folder / "vocab.bpe"),
    )
    ids = TextTokenizer.from_dir(folder).encode(text)
    assert ids.dtype == np.int64
    assert ids.tolist() == hub.encode(text).tolist()


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_equal_those_of_hugging_faces_gpt2(folder, text):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    merges = [tuple(line.split(" ")) for line in (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]]
    tokenizer = Tokenizer(models.BPE(vocab=pieces, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    reference = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    dictionary = Dictionary.load(str(folder / "dict.txt"))
    expected = [dictionary.index(str(piece)) for piece in reference(text)["input_ids"]]
    assert TextTokenizer.from_dir(folder).encode(text).tolist() == [0, *expected, 2]


def test_case_counts_and_outer_white_space_does_not(folder):
    tokenizer = TextTokenizer.from_dir(folder)
    assert tokenizer.encode("Happy").tolist() != tokenizer.encode("happy").tolist()
    assert tokenizer.encode("  happy you \n").tolist() == tokenizer.encode("happy you").tolist()
    assert tokenizer.encode("happy  you").tolist() != tokenizer.encode("happy you").tolist()


def test_empty_text_is_counted(folder):
    tokenizer = TextTokenizer.from_dir(folder)
    assert tokenizer.encode("").tolist() == [0, 2]
    assert tokenizer.encode(" \n ").tolist() == [0, 2]
    assert (tokenizer.empty, tokenizer.pieces, tokenizer.unknown) == (2, 0, 0)


def test_unknown_pieces_are_counted(folder, tmp_path):
    for name in ("encoder.json", "vocab.bpe"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    z = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))["z"]
    lines = (folder / "dict.txt").read_text().splitlines(keepends=True)
    (tmp_path / "dict.txt").write_text("".join(line for line in lines if not line.startswith(f"{z} ")))
    tokenizer = TextTokenizer.from_dir(tmp_path)
    assert tokenizer.encode("xzz").tolist()[2:] == [3, 3, 2]
    assert (tokenizer.pieces, tokenizer.unknown) == (3, 2)


def test_last_merge_survives_a_missing_final_line_end_and_crlf(folder, tmp_path):
    for name in ("encoder.json", "dict.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    merges = (folder / "vocab.bpe").read_text(encoding="utf-8").rstrip("\n")
    (tmp_path / "vocab.bpe").write_text(merges, encoding="utf-8", newline="\r\n")
    word = "".join(merges.split("\n")[-1].split(" "))
    text = word.replace("\u0120", " ")
    plain = TextTokenizer.from_dir(folder)
    assert len(plain.split(text)) == 1
    assert TextTokenizer.from_dir(tmp_path).split(text) == plain.split(text)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("encoder.json", "{", "encoder.json: not a GPT-2 vocabulary"),
        ("encoder.json", '{"a": 0}', "encoder.json: not a GPT-2 vocabulary .*256 bytes"),
        ("vocab.bpe", "#version: 0.2\na b c\n", "vocab.bpe:2: 'a b c' is no merge"),
        ("vocab.bpe", "#version: 0.2\n! !\nq q\n", "vocab.bpe:2: '! !' is no merge"),
        ("vocab.bpe", b"\xff\xfe\x00", "vocab.bpe: not a list of GPT-2 merges"),
        ("dict.txt", "no count\n", "dict.txt: is not a fairseq dictionary"),
    ],
)
def test_damaged_files_are_named(folder, tmp_path, name, content, message):
    for file in ("encoder.json", "vocab.bpe", "dict.txt"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(EmofairError, match=message) as raised:
        TextTokenizer.from_dir(tmp_path)
    assert "\n" not in str(raised.value)


def test_missing_files_are_named_with_their_source(tmp_path):
    with pytest.raises(EmofairError, match=r"neither encoder.json .*gpt2_bpe/"):
        TextTokenizer.from_dir(tmp_path)
    with pytest.raises(EmofairError, match="no such folder"):
        TextTokenizer.from_dir(tmp_path / "absent")


def test_sentencepiece_folder_is_made_and_read(tmp_path):
    # sentencepiece takes a literal </s> out of what it learns from, so the slash is given once more.
    count = train_sentencepiece([*TEXTS * 3, "and / or"], tmp_path, vocab_size=120)
    lines = (tmp_path / "dict.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == count <= 120
    counts = [int(line.rsplit(" ", 1)[1]) for line in lines]
    assert counts == sorted(counts, reverse=True)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sentencepiece.bpe.model"))
    dictionary = Dictionary.load(str(tmp_path / "dict.txt"))
    tokenizer = TextTokenizer.from_dir(tmp_path)
    for text in TEXTS:
        expected = [dictionary.index(piece) for piece in processor.encode(text, out_type=str)]
        assert tokenizer.encode(text).tolist() == [0, *expected, 2]
    assert tokenizer.unknown == 0
    assert tokenizer.encode("Ж").tolist()[-2:] == [3, 2]
    assert tokenizer.unknown == 1


def test_sentencepiece_is_deterministic_and_samples_by_seed(tmp_path):
    texts = [f"{word} {other}" for word in ("red", "green", "blue") for other in ("cat", "dog", "bird", "fish")]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_sentencepiece(texts, tmp_path / name, vocab_size=30, seed=seed, max_sentences=5)
    first, same, other = ((tmp_path / name / "dict.txt").read_bytes() for name in "abc")
    assert first == same
    assert first != other
    models = [(tmp_path / name / "sentencepiece.bpe.model").read_bytes() for name in "ab"]
    assert models[0] == models[1]


@pytest.mark.parametrize("texts, size", [([], 50), (["  "], 50), (["abcdefghijklmnopqrstuvwxyz"], 3)])
def test_too_little_text_or_vocabulary_is_refused(tmp_path, texts, size):
    with pytest.raises(EmofairError):
        train_sentencepiece(texts, tmp_path / "out", vocab_size=size)
    assert not (tmp_path / "out").exists()


def test_damaged_sentencepiece_model_is_named(tmp_path):
    train_sentencepiece(TEXTS, tmp_path, vocab_size=100)
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"nonsense")
    with pytest.raises(EmofairError, match=r"sentencepiece.bpe.model: not a sentencepiece model"):
        TextTokenizer.from_dir(tmp_path)
