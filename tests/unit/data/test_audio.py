import struct

import numpy as np
import pytest
import soundfile

from emofair.data.audio import AudioInfo, audio_hash, audio_info, hash_and_peak, read_audio
from emofair.errors import EmofairError


def noise(n=16000, channels=1, seed=0):
    x = np.random.default_rng(seed).uniform(-0.5, 0.5, (n, channels)).astype(np.float32)
    return x[:, 0] if channels == 1 else x


def wav(path, audio, rate=16000, **kwargs):
    soundfile.write(path, audio, rate, **kwargs)
    return path


@pytest.mark.parametrize("name", ["plain.wav", "clip.flac", "été 日本.wav", "-starts_with_dash.wav", "l\udce9.wav"])
def test_reads_what_was_written(tmp_path, name):
    x = noise()
    # A name that is not UTF-8 comes from os.listdir with its bytes as surrogates.
    y = read_audio(wav(tmp_path / name.replace("\udce9", "x"), x).rename(tmp_path / name))
    assert y.dtype == np.float32 and y.shape == (16000,)
    np.testing.assert_allclose(y, x, atol=1 / 32768)


@pytest.mark.parametrize(("subtype", "tolerance"), [("PCM_U8", 1 / 127), ("PCM_24", 1e-6), ("FLOAT", 0)])
def test_sample_widths(tmp_path, subtype, tolerance):
    x = noise()
    y = read_audio(wav(tmp_path / "a.wav", x, subtype=subtype))
    np.testing.assert_allclose(y, x, atol=tolerance)


def test_stereo_is_averaged(tmp_path):
    x = noise(channels=2)
    path = wav(tmp_path / "a.wav", x, subtype="FLOAT")
    assert audio_info(path) == AudioInfo(16000, 16000, 2)
    np.testing.assert_allclose(read_audio(path), x.mean(1), atol=1e-7)


def test_other_rate_needs_leave_to_resample(tmp_path):
    path = wav(tmp_path / "a.wav", noise(44100), 44100)
    with pytest.raises(EmofairError, match=r"a\.wav: .*44100 Hz, 16000 Hz.*--resample"):
        read_audio(path)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 32000, 44100, 48000])
@pytest.mark.parametrize("n", [1, 300, 16001])
def test_length_is_known_before_resampling(tmp_path, rate, n):
    path = wav(tmp_path / "a.wav", noise(n), rate)
    assert len(read_audio(path, resample=True)) == audio_info(path).length_at(16000)


def test_resampling_keeps_a_tone(tmp_path):
    t = np.arange(44100) / 44100
    y = read_audio(wav(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * t), 44100, subtype="FLOAT"), resample=True)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(y[500:-500], expected[500:-500], atol=1e-3)


def test_cut_in_seconds(tmp_path):
    x = noise()
    path = wav(tmp_path / "a.wav", x, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path, start=0.25, end=0.5), x[4000:8000])
    np.testing.assert_array_equal(read_audio(path, start=0.9, end=1.2), x[14400:])  # annotations overshoot a little
    assert audio_info(path).length_at(16000, 0.9, 1.2) == 1600


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.5, 0.2), (-0.1, 0.5), (1.0, 1.1), (0.0, 1.6)])
def test_impossible_cuts(tmp_path, start, end):
    path = wav(tmp_path / "a.wav", noise())
    with pytest.raises(EmofairError, match=r"a\.wav"):
        read_audio(path, start=start, end=end)


def test_short_clip_is_read(tmp_path):
    assert read_audio(wav(tmp_path / "a.wav", noise(300))).shape == (300,)


def test_header_of_unknown_length_is_legal(tmp_path):
    path = wav(tmp_path / "a.wav", noise())
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    data[4:8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert len(read_audio(path)) == 16000


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    return path


def bad_files(folder):
    x = noise()
    with_nan = x.copy()
    with_nan[5] = np.nan
    with_inf = x.copy()
    with_inf[5] = np.inf
    (folder / "folder.wav").mkdir()
    (folder / "zero.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is not audio at all\n" * 20)
    return {
        "no such": folder / "absent.wav",
        "folder": folder / "folder.wav",
        "cannot be read (File name too long)": folder / f"{'x' * 300}.wav",
        "0 bytes": folder / "zero.wav",
        "not an audio": folder / "text.wav",
        "no samples": wav(folder / "none.wav", x[:0]),
        "truncated: the header": cut(wav(folder / "cut.wav", x), 10000),
        "breaks off": cut(wav(folder / "cut.flac", x), 10000),
        "1 samples are NaN": wav(folder / "nan.wav", with_nan, subtype="FLOAT"),
        "1 samples are NaN or infinite": wav(folder / "inf.wav", with_inf, subtype="FLOAT"),
    }


def test_every_bad_file_is_named_in_one_line(tmp_path):
    for message, path in bad_files(tmp_path).items():
        with pytest.raises(EmofairError) as caught:
            read_audio(path)
        text = str(caught.value)
        assert message in text and str(path) in text and "\n" not in text


def test_hash_follows_the_sound_not_the_container(tmp_path):
    x = noise()
    a = wav(tmp_path / "a.wav", x, subtype="PCM_16")
    b = wav(tmp_path / "b.flac", soundfile.read(a)[0], subtype="PCM_16")
    c = wav(tmp_path / "c.wav", noise(seed=1), subtype="PCM_16")
    assert audio_hash(a) == audio_hash(b) != audio_hash(c)
    assert audio_hash(a, start=0.5) != audio_hash(a)


def test_hash_and_peak_from_one_decoding(tmp_path):
    path = wav(tmp_path / "a.wav", np.array([0.25, -0.5, 0.0], np.float32), 44100, subtype="FLOAT")
    assert hash_and_peak(path) == (audio_hash(path), 0.5)
    assert hash_and_peak(path, start=0.0, end=1 / 44100)[1] == 0.25


def test_a_pointer_of_git_lfs_is_told_from_damage(tmp_path):
    (tmp_path / "a.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\nsize 72862\n")
    with pytest.raises(EmofairError, match=r"a\.wav: a pointer of git-lfs, not the audio itself\. git lfs pull"):
        audio_info(tmp_path / "a.wav")
