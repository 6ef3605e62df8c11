"""Clips as files of their own: what is heard, what is kept, and what stock fairseq makes of them."""

import numpy as np
import pytest
import soundfile
from fairseq.data.audio.raw_audio_dataset import FileAudioDataset

from emofair.corpora import Source
from emofair.corpora.measure import measure
from emofair.corpora.write_audio import write_audio
from emofair.data.audio import read_audio
from emofair.data.manifests import Utterance, write_corpus
from emofair.errors import EmofairError
from emofair.testing.downloads import write_noise


def stereo(path, seconds, rate=48000, seed=1):
    sound = np.random.default_rng(seed).uniform(-0.9, 0.9, (round(seconds * rate), 2))
    soundfile.write(path, sound, rate, subtype="PCM_16")
    return str(path)


def measured(root, *items):
    source = Source("toy", root, {"train": list(items)})
    measure(source, resample=True)
    assert source.problems == []
    return source


@pytest.fixture
def source(tmp_path):
    long, whole = stereo(tmp_path / "long.wav", 3.0), str(write_noise(tmp_path / "whole.wav", 4000, 2))
    return measured(
        tmp_path,
        Utterance("first", long, start=0.5, end=1.2345, label="sad", words=[("so", 0.1, 0.2)]),
        Utterance("rest", long, start=2.0),
        Utterance("whole", whole),
        Utterance("part", whole, end=0.1),
        Utterance("two channels", stereo(tmp_path / "two.wav", 0.3, 16000)),
        Utterance("other rate", stereo(tmp_path / "8.wav", 0.3, 8000)),
    )


def test_what_is_written_is_what_was_heard(source, tmp_path):
    items = source.splits["train"]
    heard = {u.id: read_audio(u.path, resample=True, start=u.start, end=u.end) for u in items}
    lengths = {u.id: u.n_samples for u in items}
    assert write_audio(source, tmp_path / "out") == (5, 0)
    for u in items:
        written = read_audio(u.path)  # 16 kHz, or an error
        assert (u.start, u.end, u.n_samples) == (None, None, lengths[u.id]) and len(written) == u.n_samples
        np.testing.assert_allclose(written, heard[u.id].clip(-1, 1 - 1 / 32768), atol=0.51 / 32768)
        if u.id != "whole":
            assert u.path == str(tmp_path / "out" / f"{u.id}.flac")
            assert soundfile.info(u.path).channels == 1 and soundfile.info(u.path).subtype == "PCM_16"
    assert items[0].words == [("so", 0.1, 0.2)] and items[0].label == "sad"
    assert items[2].path == str(tmp_path / "whole.wav")
    np.testing.assert_array_equal(read_audio(items[3].path), heard["part"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{u.id}.flac" for u in items if u.id != "whole"}


def test_samples_of_all_values_survive(tmp_path):
    values = np.arange(-32768, 32768, dtype=np.int16)
    soundfile.write(tmp_path / "all.wav", values, 16000)
    write_audio(source := measured(tmp_path, Utterance("a", str(tmp_path / "all.wav"), start=0.0)), tmp_path / "out")
    np.testing.assert_array_equal(soundfile.read(source.splits["train"][0].path, dtype="int16")[0], values)


def test_stock_fairseq_reads_them(source, tmp_path):
    write_audio(source, tmp_path / "out")
    write_corpus(tmp_path / "corpus", source.splits, root=tmp_path, name="toy")
    dataset = FileAudioDataset(tmp_path / "corpus" / "train.tsv", sample_rate=16000, shuffle=False)
    assert [len(dataset[i]["source"]) for i in range(len(dataset))] == [u.n_samples for u in source.splits["train"]]


def test_files_are_kept_until_their_recording_changes(tmp_path):
    path = stereo(tmp_path / "long.wav", 2.0)

    def again(start=0.5):
        source = measured(tmp_path, Utterance("a", path, start=start, end=start + 1), Utterance("b", path, end=0.2))
        return write_audio(source, tmp_path / "out")

    assert again() == (2, 0)
    made = (tmp_path / "out" / "a.flac").stat().st_mtime_ns
    (tmp_path / "out" / "b.flac").write_bytes(b"fLaC and no more")
    assert again() == (1, 1)
    assert (tmp_path / "out" / "a.flac").stat().st_mtime_ns == made
    # Other times, and the same length.
    assert again(start=0.25) == (1, 1)
    stereo(tmp_path / "long.wav", 2.0, seed=7)
    assert again(start=0.25) == (2, 0)
    expected = read_audio(path, resample=True, start=0.25, end=1.25)
    np.testing.assert_allclose(read_audio(tmp_path / "out" / "a.flac"), expected, atol=1e-4)


def test_a_run_that_was_killed_leaves_no_file_that_is_taken_for_whole(source, tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_audio(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["first.flac.part"]
    monkeypatch.undo()
    assert write_audio(source, tmp_path / "out") == (5, 0)
    assert not list((tmp_path / "out").glob("*.part"))


def test_utterances_without_audio_stay(tmp_path):
    source = Source("toy", tmp_path, {"train": [Utterance("a", "", text="hi")]})
    assert write_audio(source, tmp_path / "out") == (0, 0)
    assert source.splits["train"] == [Utterance("a", "", text="hi")] and not (tmp_path / "out").exists()


def test_two_clips_of_one_id_are_refused(tmp_path):
    path = stereo(tmp_path / "long.wav", 2.0)
    source = measured(tmp_path, Utterance("a", path, end=1.0))
    source.splits["test"] = measured(tmp_path, Utterance("a", path, start=1.0)).splits["train"]
    with pytest.raises(EmofairError, match="two clips have the id 'a'"):
        write_audio(source, tmp_path / "out")


def test_a_clip_in_two_splits_is_written_once(tmp_path):
    path = stereo(tmp_path / "long.wav", 2.0)
    source = measured(tmp_path, Utterance("a", path, end=1.0))
    source.splits["test"] = measured(tmp_path, Utterance("a", path, end=1.0)).splits["train"]
    assert write_audio(source, tmp_path / "out") == (1, 1)
    assert source.splits["test"] == source.splits["train"]


def test_a_recording_is_never_overwritten(tmp_path):
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, 9600)
    soundfile.write(tmp_path / "a.flac", sound, 48000)
    before = (tmp_path / "a.flac").read_bytes()
    with pytest.raises(EmofairError, match=r"a\.flac: a recording of the corpus lies where a clip is to be written"):
        write_audio(measured(tmp_path, Utterance("a", str(tmp_path / "a.flac"))), tmp_path)
    assert (tmp_path / "a.flac").read_bytes() == before


def test_damaged_audio_is_told_with_the_row_of_its_list(tmp_path):
    wav = np.zeros(48000, dtype=np.float32)
    wav[30000] = np.nan
    soundfile.write(tmp_path / "a.wav", wav, 48000, subtype="FLOAT")
    source = measured(tmp_path, Utterance("a", str(tmp_path / "a.wav")))
    source.rows["train", "a"] = (tmp_path / "items.tsv", 7)
    with pytest.raises(EmofairError, match=r"items\.tsv:7: .*a\.wav: 1 samples are NaN"):
        write_audio(source, tmp_path / "out")


def test_a_file_that_cannot_be_written(source, tmp_path):
    (tmp_path / "out" / "first.flac.part").mkdir(parents=True)
    with pytest.raises(EmofairError, match=r"first\.flac: the audio cannot be written \(.+\)"):
        write_audio(source, tmp_path / "out")


def test_a_file_where_the_folder_should_be(source, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(EmofairError, match=r"first\.flac: the audio cannot be written \(File exists\)"):
        write_audio(source, tmp_path / "out")
