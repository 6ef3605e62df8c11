"""MFCCs with deltas, the features behind HuBERT's first iteration (arXiv 2106.07447, section IV-A).

Kaldi's definition with the settings of the HuBERT recipe, sample values in [-1, 1] as they are read:

1. frames of 400 samples (25 ms at 16 kHz) every 160 (10 ms), only whole ones; a shorter clip is padded with zeros
   to one frame;
2. per frame: the mean is subtracted; pre-emphasis ``x[n] - 0.97 x[n-1]`` with ``x[-1] = x[0]``; Povey window,
   ``(0.5 - 0.5 cos(2 pi n / 399)) ^ 0.85``; zeros up to 512 samples; power spectrum;
3. 23 triangular filters, evenly spaced and straight-edged on the mel scale ``1127 ln(1 + f / 700)`` between 20 Hz and
   8000 Hz, over the bins below 8000 Hz; natural logarithm, floored at the smallest float32 step (1.19e-7);
4. orthonormal DCT-II, coefficients 0 to 12 (no log energy in place of the 0th), coefficient i times
   ``1 + 11 sin(pi i / 22)``;
5. deltas ``sum_n n (c[t+n] - c[t-n]) / 10``, n = 1, 2, with the first and last frame repeated, and deltas of deltas.

No dither and no mean subtraction over the clip.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SAMPLE_RATE = 16000
WINDOW, HOP = 400, 160
DIM = 39
_FFT = 512
_COEFFICIENTS, _FILTERS, _LIFTER = 13, 23, 22
_LOWEST, _HIGHEST = 20.0, 8000.0
_FLOOR = float(np.finfo(np.float32).eps)
# Frames whose spectra are held at once: 33 MB.
_FRAMES_AT_ONCE = 8192


def mfcc_with_deltas(wav: np.ndarray) -> np.ndarray:
    """Features float32 [frames, 39] of one clip, float [n_samples] at 16 kHz: 13 MFCCs, deltas, deltas of deltas."""
    first = mfcc(wav)
    deltas = _deltas(first)
    return np.concatenate([first, deltas, _deltas(deltas)], axis=1).astype(np.float32)


def mfcc(wav: np.ndarray) -> np.ndarray:
    """The 13 MFCCs alone, float64 [frames, 13]."""
    from scipy.fft import dct

    wav = np.asarray(wav, dtype=np.float64)
    if len(wav) < WINDOW:
        wav = np.pad(wav, (0, WINDOW - len(wav)))
    windows = np.lib.stride_tricks.sliding_window_view(wav, WINDOW)[::HOP]
    lifter = 1 + 0.5 * _LIFTER * np.sin(np.pi * np.arange(_COEFFICIENTS) / _LIFTER)
    parts = []
    for start in range(0, len(windows), _FRAMES_AT_ONCE):
        mel = _power(windows[start : start + _FRAMES_AT_ONCE]) @ _filters()
        cepstrum = dct(np.log(np.maximum(mel, _FLOOR)), type=2, norm="ortho", axis=1)
        parts.append(cepstrum[:, :_COEFFICIENTS] * lifter)
    return np.concatenate(parts)


def _power(frames: np.ndarray) -> np.ndarray:
    """Power spectra [frames, 256] of the bins below the Nyquist frequency."""
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))) ** 0.85
    spectrum = np.fft.rfft((frames - 0.97 * before) * window, _FFT)[:, : _FFT // 2]
    return spectrum.real**2 + spectrum.imag**2


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """Weights [256, 23] from bins to mel filters."""
    edges = np.linspace(_mel(_LOWEST), _mel(_HIGHEST), _FILTERS + 2)
    bins = _mel(np.arange(_FFT // 2) * (SAMPLE_RATE / _FFT))[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    return np.maximum(0.0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))


def _mel(hertz: float | np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


def _deltas(features: np.ndarray) -> np.ndarray:
    padded = np.pad(features, ((2, 2), (0, 0)), mode="edge")
    return (padded[3:-1] - padded[1:-3] + 2 * (padded[4:] - padded[:-4])) / 10
