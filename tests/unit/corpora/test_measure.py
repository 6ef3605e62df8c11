import numpy as np
import pytest
import soundfile

from emofair.corpora import Source
from emofair.corpora.measure import measure, without_audio
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError
from emofair.testing.downloads import write_noise


def source(root, *items):
    return Source("toy", root, {"train": list(items)})


def test_lengths_at_16_khz(tmp_path):
    write_noise(tmp_path / "a.wav", 8000, 1)
    write_noise(tmp_path / "b.wav", 44100, 2, rate=44100)
    found = source(
        tmp_path,
        Utterance("a", str(tmp_path / "a.wav")),
        Utterance("cut", str(tmp_path / "a.wav"), start=0.1, end=0.3),
        Utterance("b", str(tmp_path / "b.wav")),
    )
    measure(found, resample=True)
    assert [u.n_samples for u in found.splits["train"]] == [8000, 3200, 16000]


def test_what_cannot_be_used_is_left_out_and_named(tmp_path):
    good = write_noise(tmp_path / "good.wav", 8000, 1)
    other_rate = write_noise(tmp_path / "b.wav", 44100, 2, rate=44100)
    found = source(
        tmp_path,
        Utterance("good", str(good)),
        Utterance("rate", str(other_rate)),
        Utterance("absent", str(tmp_path / "absent.wav")),
        Utterance("cut", str(good), start=0.4, end=9.0),
    )
    measure(found)
    assert [u.id for u in found.splits["train"]] == ["good"]
    lines = [str(p) for p in found.problems]
    assert "44100 Hz" in lines[0] and "--resample" in lines[0]
    assert "absent.wav: no such audio file" in lines[1]
    assert "cut: the cut ends at 9.000 s but the recording is 0.500 s long" in lines[2]


def test_no_audio_at_all_hints_at_text_only(tmp_path):
    with pytest.raises(EmofairError, match=r"none of the 1 clips has usable audio.*--text-only"):
        measure(source(tmp_path, Utterance("a", str(tmp_path / "a.wav"))))


def test_texts_only(tmp_path):
    found = source(tmp_path, Utterance("a", "a.wav", 5, text="hi", start=0.0, end=1.0), Utterance("b", "b.wav"))
    without_audio(found)
    assert found.splits["train"] == [Utterance("a", "", text="hi")]
    assert "b has no text" in str(found.problems[0])


def test_stereo_is_noted(tmp_path):
    mono = write_noise(tmp_path / "mono.wav", 8000, 1)
    soundfile.write(tmp_path / "stereo.wav", np.zeros((800, 2)), 16000)
    found = source(tmp_path, Utterance("a", str(mono)), Utterance("b", str(tmp_path / "stereo.wav")))
    measure(found)
    assert found.notes == ["1 files have several channels, which are averaged: stereo.wav"]
    assert [u.n_samples for u in found.splits["train"]] == [8000, 800] and found.problems == []


def test_a_whole_corpus_at_another_rate_hints_at_resampling(tmp_path):
    path = write_noise(tmp_path / "a.wav", 4800, 1, rate=48000)
    with pytest.raises(EmofairError, match=r"none of the 1 clips.*48000 Hz.*--resample"):
        measure(source(tmp_path, Utterance("a", str(path))))


def test_rows_of_a_list_are_named(tmp_path):
    good = write_noise(tmp_path / "good.wav", 8000, 1)
    found = source(tmp_path, Utterance("good", str(good)), Utterance("absent", str(tmp_path / "absent.wav")))
    found.rows = {("train", "good"): ("items.tsv", 2), ("train", "absent"): ("items.tsv", 3)}
    measure(found)
    assert str(found.problems[0]).startswith(f"items.tsv:3: {tmp_path / 'absent.wav'}: no such audio file. ")
    without_audio(found)
    assert str(found.problems[1]) == "items.tsv:2: good has no text"
