"""Silent frames, by hand."""

import numpy as np

from emofair.units.silence import silent_frames


def test_frames_below_the_loudest():
    wav = np.zeros(320 * 5 + 80, dtype=np.float32)
    wav[320 * 2 : 320 * 2 + 400] = 0.5  # a whole frame, and 80 samples of the next
    wav[320 * 4 :] = 0.005  # 40 dB below
    # Frame 1 ends with 80 samples of the loud stretch, 7 dB below.
    assert silent_frames(wav, 5, 320, 6).tolist() == [True, True, False, True, True]
    assert silent_frames(wav, 5, 320, 10).tolist() == [True, False, False, False, True]
    assert silent_frames(wav, 5, 320, 41).tolist() == [True, False, False, False, False]


def test_a_clip_of_zeros_is_silent_and_a_level_one_is_not():
    assert silent_frames(np.zeros(4000, dtype=np.float32), 12, 320, 40).all()
    assert not silent_frames(np.full(4000, 0.1, dtype=np.float32), 12, 320, 40).any()
