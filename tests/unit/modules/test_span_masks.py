"""Span masks: how many, where, and never an exception on short clips."""

from __future__ import annotations

import pytest
import torch

from emofair.modules.span_masks import span_mask


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [1, 10, 15])
@pytest.mark.parametrize("prob", [0.05, 0.08, 0.65])
def test_spans_stay_inside_each_row_whatever_its_length(length, prob):
    lengths = torch.arange(1, 41)
    for seed in range(20):
        masked = span_mask(lengths, 40, prob, length, generator=generator(seed))
        beyond = torch.arange(40) >= lengths[:, None]
        assert not (masked & beyond).any()
        counts = masked.sum(dim=1)
        assert counts[0] == 0  # of a single frame nothing would be left
        assert (counts[1:] > 0).all()
        assert (counts[1:] < lengths[1:]).all()


@pytest.mark.parametrize("mode", ["per_row", "hf"])
def test_a_mask_is_made_of_whole_spans(mode):
    masked = span_mask(torch.full((200,), 60), 60, 0.3, 7, mode=mode, generator=generator())
    for row in masked:
        runs = "".join("1" if m else " " for m in row.tolist()).split()
        assert all(len(run) >= 7 for run in runs)


def test_the_share_of_spans_is_the_one_that_was_asked_for():
    # 0.65 * 499 / 10 = 32.4: 32 or 33 spans, which overlap; wav2vec 2.0 reports about 49 % of frames.
    masked = span_mask(torch.full((400,), 499), 499, 0.65, 10, generator=generator())
    assert masked.float().mean() == pytest.approx(0.49, abs=0.01)


def test_starts_are_spread_evenly_over_all_places():
    masked = span_mask(torch.full((20000,), 20), 20, 0.01, 5, min_spans=1, generator=generator())
    starts = masked.float().argmax(dim=1).bincount(minlength=20)
    assert (starts[16:] == 0).all()
    assert starts[:16].min() > 0.85 * 20000 / 16
    assert starts[:16].max() < 1.15 * 20000 / 16


def test_hf_mode_draws_one_number_of_spans_for_the_whole_batch():
    # At 350 frames or fewer p = 0.08 gives exactly the two spans that are the least.
    for seed in range(20):
        masked = span_mask(torch.full((8,), 350), 350, 0.08, 15, mode="hf", generator=generator(seed))
        assert (masked.sum(dim=1) <= 30).all()
        assert (masked.sum(dim=1) >= 16).all()  # two starts differ
    channels = span_mask(torch.full((8,), 768), 768, 0.05, 64, 1, "hf", generator=generator())
    assert (channels.sum(dim=1) == 64).all()


def test_hf_mode_shortens_spans_where_transformers_raises():
    masked = span_mask(torch.tensor([3, 5]), 5, 0.08, 15, mode="hf", generator=generator())
    assert masked.tolist() == [[True] * 3 + [False] * 2, [True] * 5]


def test_the_generator_decides_and_nothing_else():
    one, two, three = (span_mask(torch.tensor([30, 50]), 50, 0.3, 5, generator=generator(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_without_probability_nothing_is_masked():
    assert not span_mask(torch.tensor([30]), 30, 0.0, 5).any()
