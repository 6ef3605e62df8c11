"""What the Python API takes for a recording. The predictions themselves: tests/unit/cli/test_predict.py."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from emofair.data.audio import read_audio
from emofair.errors import EmofairError
from emofair.inference.prediction import waveform

SOUND = (0.9 * np.sin(np.arange(4000) * 0.1)).astype(np.float32)


@pytest.mark.parametrize(
    "given", [SOUND, SOUND.astype(np.float64), torch.tensor(SOUND), torch.tensor(SOUND, requires_grad=True)]
)
def test_floats_are_taken_as_they_are(given):
    assert waveform(given).dtype == np.float32
    np.testing.assert_array_equal(waveform(given), SOUND)


@pytest.mark.parametrize("dtype", [np.float16, torch.float16, torch.bfloat16], ids=str)
def test_half_precision(dtype):
    given = torch.tensor(SOUND).to(dtype) if isinstance(dtype, torch.dtype) else SOUND.astype(dtype)
    np.testing.assert_allclose(waveform(given), SOUND, atol=4e-3)


@pytest.mark.parametrize(("subtype", "dtype"), [("PCM_16", "int16"), ("PCM_32", "int32"), ("PCM_U8", "uint8")])
def test_pcm_is_scaled_as_from_a_file(tmp_path, subtype, dtype):
    """Against libsndfile's own scale, for samples as other programs hand them out."""
    soundfile.write(tmp_path / "a.wav", SOUND, 16000, subtype=subtype)
    raw = (tmp_path / "a.wav").read_bytes()
    samples = np.frombuffer(raw[raw.index(b"data") + 8 :], dtype=dtype)[:4000]
    expected = read_audio(tmp_path / "a.wav")
    for given in (samples, torch.from_numpy(samples.copy())):
        np.testing.assert_allclose(waveform(given), expected, atol=1e-7)
    assert np.abs(expected).max() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([0.0] * 4000, "a list is no recording"),
        (3, "a int is no recording"),
        (np.zeros(4000, dtype=np.int64), "samples of the type int64 have no known scale"),
        (torch.zeros(4000, dtype=torch.int64), "type int64 have no known scale"),
        (np.zeros(4000, dtype=bool), "type bool have no known scale"),
        (np.zeros(4000, dtype=complex), "type complex128"),
        (np.array(["a"] * 4000), "type <U1"),
        (torch.zeros(1, 4000), r"shape \[1, 4000\] are not one finite mono waveform"),
        (np.zeros(0, dtype=np.int16), r"shape \[0\]"),
        (np.full(10, np.inf), r"shape \[10\]"),
        (np.float32(1), r"a float32 is no recording"),
    ],
)
def test_what_is_no_recording(given, said):
    with pytest.raises(EmofairError, match=rf"{said}.*array or tensor \[n\] at 16000 Hz of floats or int16"):
        waveform(given)
