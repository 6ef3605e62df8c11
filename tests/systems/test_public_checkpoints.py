"""What the published HuBERT and its k-means give, where they are at hand.

EMOFAIR_TEST_DATA names a folder with hubert_base_ls960.pt, hubert_base_ls960_L9_km500.bin, and of fairseq's own test
of HuBERT's units the recording (sample.wav), sample.base.L9.npy, sample.base.L9.len and sample.base.L9.km500.km.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emofair.units.extractors import Options, open_extractor
from emofair.units.kmeans import load_kmeans
from emofair.units.nearest import NearestCentroid

SAMPLE = "sample.base.L9"
FILES = ("hubert_base_ls960.pt", "hubert_base_ls960_L9_km500.bin", "sample.wav")
FILES += tuple(f"{SAMPLE}.{kind}" for kind in ("npy", "len", "km500.km"))


@pytest.fixture
def public():
    folder = Path(os.environ.get("EMOFAIR_TEST_DATA") or os.devnull)
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        pytest.skip(f"EMOFAIR_TEST_DATA has no {', '.join(missing)}")
    return folder


def test_layer_9_and_its_units_are_the_published_ones(public):
    wav, rate = soundfile.read(public / "sample.wav", dtype="float32")
    assert rate == 16000
    (frames,) = open_extractor("encoder", Options(public / "hubert_base_ls960.pt", 9)).extract([wav])
    expected = np.load(public / f"{SAMPLE}.npy")
    assert frames.shape == expected.shape == (596, 768)
    assert int((public / f"{SAMPLE}.len").read_text()) == len(frames)
    np.testing.assert_allclose(frames, expected, atol=1e-3)
    kmeans = load_kmeans(public / "hubert_base_ls960_L9_km500.bin", allow_pickle=True)
    units, _ = NearestCentroid(kmeans.centroids)(frames)
    assert units.tolist() == [int(unit) for unit in (public / f"{SAMPLE}.km500.km").read_text().split()]
    assert units[:10].tolist() == [17, 17, 17, 17, 296, 296, 20, 20, 20, 461]
