"""One utterance at a time: what stops it, and what stops everything."""

import numpy as np
import pytest
import soundfile

from emofair.data.manifests import Utterance
from emofair.errors import EmofairError
from emofair.testing import tiny_ssl_dir
from emofair.units.bpe import TextTokenizer
from emofair.units.token_jobs import SPEECH, TEXT, check_unknown, probe, tokenize_part
from emofair.units.token_store import TokenStore
from emofair.units.vq_wav2vec import SpeechTokenizer


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    root = tiny_ssl_dir(tmp_path_factory.mktemp("ssl"))
    speech = SpeechTokenizer(root / "vq-wav2vec" / "vq-wav2vec_kmeans.pt", root / "vq-wav2vec-Kmeans-Roberta")
    return {SPEECH: speech, TEXT: TextTokenizer.from_dir(root / "roberta.large")}


@pytest.fixture
def clips(tmp_path):
    made = []
    for index in range(3):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, np.random.default_rng(index).uniform(-0.5, 0.5, 2000 + index), 16000)
        made.append(("train", Utterance(str(index), str(path), text=f"word {index}")))
    return made


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_clip_too_large_for_memory_is_one_problem(tokenizers, clips, tmp_path, monkeypatch, error):
    encode = SpeechTokenizer.encode

    def run_out_once(self, audios):
        if len(audios[0]) == 2001:
            raise error
        return encode(self, audios)

    monkeypatch.setattr(SpeechTokenizer, "encode", run_out_once)
    problems, counts = tokenize_part(clips, TokenStore(tmp_path / "raw"), tokenizers)
    assert [(p.id, p.what, p.kept) for p in problems] == [("1", "does not fit into memory (0 s)", False)]
    assert counts["speech made"] == 2


def test_other_errors_of_the_model_are_not_hidden(tokenizers, clips, tmp_path, monkeypatch):
    def fail(self, audios):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(SpeechTokenizer, "encode", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        tokenize_part(clips, TokenStore(tmp_path / "raw"), tokenizers)


def test_a_full_disk_stops_everything(tokenizers, clips, tmp_path):
    (tmp_path / "raw").write_text("in the way")
    with pytest.raises(EmofairError, match="the tokens cannot be written"):
        tokenize_part(clips, TokenStore(tmp_path / "raw"), tokenizers)


def test_undecodable_text_and_absent_audio_are_problems(tokenizers, clips, tmp_path):
    clips[0][1].text = "caf\udce9"
    clips[1][1].path = ""
    problems, _ = tokenize_part(clips, TokenStore(tmp_path / "raw"), tokenizers)
    assert [(p.id, p.what) for p in problems] == [
        ("0", "the text is not valid Unicode (surrogates not allowed)"),
        ("1", "has no audio"),
    ]


def test_probe_passes_bad_clips_by_and_finds_a_wrong_dictionary(tokenizers, clips, tmp_path):
    bad = ("train", Utterance("bad", str(tmp_path / "absent.wav"), text="\udce9"))
    (tmp_path / "dict.txt").write_text("none 1\n")
    speech = SpeechTokenizer.__new__(SpeechTokenizer)
    speech.__dict__ = {**tokenizers[SPEECH].__dict__, "frames": 0, "unknown": 0}
    probe([bad, *clips], SPEECH, speech)
    probe([bad, *clips], TEXT, tokenizers[TEXT])
    text = TextTokenizer(tokenizers[TEXT].split, tmp_path / "dict.txt")
    with pytest.raises(EmofairError, match=r"100\.0 % of \d+ text tokens .* this BPE"):
        probe([bad, *clips], TEXT, text)
    probe([bad, *clips], TEXT, text, limit=100.0)


def test_unknown_tokens_have_a_limit():
    check_unknown(SPEECH, 1, 100, 1.0)
    check_unknown(SPEECH, 0, 0, 1.0)
    with pytest.raises(EmofairError, match=r"2\.0 % of 100 audio_token tokens .*this vq-wav2vec"):
        check_unknown(SPEECH, 2, 100, 1.0)
