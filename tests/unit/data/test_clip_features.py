"""Frames cut and counted in samples."""

from __future__ import annotations

import numpy as np
import pytest

from emofair.data.clip_features import ClipFeatures, pad_features

HOP, SEEN = 320, 400


def clip(n_samples):
    """A clip whose frame k is [k, 1]."""
    n = max(n_samples - SEEN, 0) // HOP + 1
    frames = np.stack([np.arange(n), np.ones(n)], axis=1).astype(np.float16)
    return ClipFeatures(frames, n_samples, HOP, SEEN)


@pytest.mark.parametrize(
    ("part", "n_samples", "first", "count"),
    [
        (slice(0, 4000), 4000, 0, 12),
        (slice(640, 1640), 1000, 2, 2),
        (slice(320, 720), 400, 1, 1),
        (slice(3200, 9999), 800, 10, 2),
        (slice(3840, 4000), 160, 11, 1),  # less than one frame sees
    ],
)
def test_a_cut_holds_the_frames_that_lie_inside_it(part, n_samples, first, count):
    cut = clip(4000)[part]
    assert (len(cut), cut.frames[:, 0].tolist()) == (n_samples, list(range(first, first + count)))


def test_a_cut_of_a_cut_and_a_cut_between_frames():
    assert clip(9000)[640:8000][320:5000].frames[0, 0] == 3
    with pytest.raises(ValueError, match="sample 100 is not the first of a frame of 320"):
        clip(9000)[100:]


def test_padding_is_zeros_behind():
    features, n_samples = pad_features([clip(4000), clip(300), clip(1100)])
    assert (tuple(features.shape), features.dtype.itemsize) == ((3, 12, 2), 2)
    assert features[:, :, 1].sum(dim=1).tolist() == [12, 1, 3]
    assert n_samples.tolist() == [4000, 300, 1100]
