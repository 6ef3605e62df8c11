"""The small byte-level BPE is a valid GPT-2 vocabulary."""

import json

from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode, get_encoder

from emofair.testing.byte_bpe import byte_symbols, write_byte_bpe


def test_byte_symbols_are_those_of_gpt2():
    assert dict(enumerate(byte_symbols())) == bytes_to_unicode()


def test_merges_are_learned_and_every_piece_has_an_id(tmp_path):
    count = write_byte_bpe(tmp_path, 270, ["the cat and the hat", "the end"])
    pieces = json.loads((tmp_path / "encoder.json").read_text(encoding="utf-8"))
    assert len(pieces) == count == 270
    assert sorted(pieces.values()) == list(range(270))
    assert "the" in pieces and "\u0120the" in pieces
    encoder = get_encoder(str(tmp_path / "encoder.json"), str(tmp_path / "vocab.bpe"))
    assert encoder.encode("the the") == [pieces["the"], pieces["\u0120the"]]
    assert encoder.decode(encoder.encode("the café 日本")) == "the café 日本"


def test_stops_when_nothing_is_left_to_merge(tmp_path):
    assert write_byte_bpe(tmp_path, 1000, ["ab"]) == 258
