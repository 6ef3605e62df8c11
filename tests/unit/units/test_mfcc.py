"""MFCCs against another implementation of Kaldi's definition, and against the definition itself."""

import numpy as np
import pytest

from emofair.units.mfcc import DIM, mfcc, mfcc_with_deltas


def speech_like(n_samples, seed=0):
    random = np.random.default_rng(seed)
    time = np.arange(n_samples) / 16000
    voiced = np.sin(2 * np.pi * (120 + 30 * np.sin(4 * time)) * time) ** 5
    return (0.3 * voiced + 0.02 * random.standard_normal(n_samples) + 0.05).astype(np.float32)


def reference(wav):
    """The same put together from the building blocks of `transformers` (which has Kaldi's filters and window)."""
    from scipy.fft import dct
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    filters = mel_filter_bank(
        257, 23, 20.0, 8000.0, 16000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    log_mel = spectrogram(
        wav.astype(np.float64),
        window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
        dtype=np.float64,
    ).T
    lifter = 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    return dct(log_mel, type=2, norm="ortho", axis=1)[:, :13] * lifter


@pytest.mark.parametrize("n_samples", [400, 559, 560, 16000, 31999])
def test_equals_another_implementation(n_samples):
    pytest.importorskip("transformers")
    wav = speech_like(n_samples)
    ours, theirs = mfcc(wav), reference(wav)
    assert ours.shape == theirs.shape == (1 + (n_samples - 400) // 160, 13)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_deltas_are_slopes():
    """A straight line has its slope as delta, except where the edges are repeated, and no second delta inside."""
    from emofair.units.mfcc import _deltas

    line = np.arange(12.0)[:, None] * np.array([1.0, -3.0])
    slope = _deltas(line)
    np.testing.assert_allclose(slope[2:-2], np.broadcast_to([1.0, -3.0], (8, 2)))
    np.testing.assert_allclose(_deltas(slope)[4:-4], 0, atol=1e-12)
    # By hand at the first frame: (c1 - c0 + 2 (c2 - c0)) / 10 = (1 + 4) / 10.
    np.testing.assert_allclose(slope[0], [0.5, -1.5])


def test_layout():
    wav = speech_like(8000)
    features = mfcc_with_deltas(wav)
    assert features.shape == (48, DIM) and features.dtype == np.float32
    np.testing.assert_allclose(features[:, :13], mfcc(wav), rtol=1e-6)


def test_a_clip_shorter_than_a_frame_is_padded_and_silence_is_finite():
    short = mfcc_with_deltas(speech_like(100))
    assert short.shape == (1, DIM)
    np.testing.assert_array_equal(short, mfcc_with_deltas(np.pad(speech_like(100), (0, 300))))
    assert np.isfinite(mfcc_with_deltas(np.zeros(4000, dtype=np.float32))).all()


def test_a_long_clip_is_worked_on_in_parts():
    wav = np.tile(speech_like(16000), 90)
    np.testing.assert_allclose(mfcc(wav)[8190:8194], mfcc(wav[8190 * 160 :])[:4], atol=1e-9)
