import math

import pytest
import torch
from fairseq.models.wav2vec.wav2vec2 import ConvFeatureExtractionModel

from emofair.encoders import conv_frontend
from emofair.encoders.conv_frontend import ConvFrontEnd
from emofair.testing.speech import shake

PUBLISHED = [(16, 10, 5), (16, 3, 2), (16, 3, 2), (16, 2, 2)]
SHAPES = {
    "published": PUBLISHED,
    "widths that change": [(8, 10, 5), (12, 3, 2), (20, 2, 2)],
    "kernels of several strides": [(16, 9, 4), (16, 5, 2), (16, 7, 3), (16, 1, 1), (16, 5, 5)],
    "kernel below stride": [(16, 4, 5), (16, 1, 2)],
}
MODES = [("default", False), ("default", True), ("layer_norm", False), ("layer_norm", True)]


def front_end_of(layers=PUBLISHED, mode="default", bias=False):
    torch.manual_seed(0)
    front_end = ConvFrontEnd(layers, mode, bias)
    shake(front_end)
    return front_end


def stock_of(front_end, bias):
    stock = ConvFeatureExtractionModel(front_end.layers, mode=front_end.mode, conv_bias=bias)
    stock.load_state_dict(front_end.state_dict())
    return stock


def sound(batch=3, n_samples=1500):
    return torch.randn(batch, n_samples, generator=torch.Generator().manual_seed(1))


def both_ways(front_end, wav, n_samples=None):
    """What the trained form gives, and what the inferred one does."""
    trained = front_end(wav, n_samples)
    assert trained.requires_grad
    with torch.no_grad():
        return trained.detach(), front_end(wav, n_samples)


@pytest.mark.parametrize(("mode", "bias"), MODES)
@pytest.mark.parametrize("layers", SHAPES.values(), ids=SHAPES)
def test_both_forms_give_the_features_of_stock_fairseq(layers, mode, bias):
    front_end = front_end_of(layers, mode, bias)
    expected = stock_of(front_end, bias)(sound()).transpose(1, 2).detach()
    for found in both_ways(front_end, sound()):
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    assert found.shape[1] == front_end.n_frames(1500)


@pytest.mark.parametrize(("mode", "bias"), MODES)
def test_padding_changes_no_valid_frame(mode, bias):
    front_end = front_end_of(mode=mode, bias=bias)
    lengths = [1500, 1001, 130, 20]
    wav, n_samples = sound(4), torch.tensor(lengths)
    for clip, length in zip(wav, lengths, strict=True):
        clip[length:] = 0
    together = both_ways(front_end, wav, n_samples)
    for row, length in enumerate(lengths):
        valid = front_end.n_frames(length)
        for batch, alone in zip(together, both_ways(front_end, wav[row : row + 1, :length]), strict=True):
            assert alone.shape[1] == valid
            torch.testing.assert_close(batch[row, :valid], alone[0], atol=2e-6, rtol=1e-5)


def test_trained_and_inferred_agree_under_a_hum_and_an_offset():
    """High-pass filters leave a millionth of the signal's variance: statistics in fp32 are wrong by percents."""
    front_end = front_end_of()
    conv = front_end.conv_layers[0]["0"]
    conv.weight.data -= conv.weight.data.mean(dim=-1, keepdim=True)
    time = torch.arange(16000) / 16000
    hum = 0.9 * torch.sin(2 * math.pi * 2 * time) + 0.05
    wav = hum + 1e-3 * sound(2, 16000)
    expected = stock_of(front_end, False).double()(wav.double()).transpose(1, 2).float()
    for found in both_ways(front_end, wav):
        torch.testing.assert_close(found, expected.detach(), atol=5e-4, rtol=1e-3)


@pytest.mark.parametrize(("mode", "bias"), MODES)
def test_gradients_are_those_of_stock_fairseq(mode, bias):
    front_end = front_end_of(mode=mode, bias=bias)
    stock = stock_of(front_end, bias)
    weights = torch.randn(3, front_end.n_frames(1500), 16)
    (front_end(sound()) * weights).sum().backward()
    (stock(sound()).transpose(1, 2) * weights).sum().backward()
    theirs = dict(stock.named_parameters())
    assert len(theirs) == len(list(front_end.parameters()))
    for name, parameter in front_end.named_parameters():
        expected = theirs[name].grad
        torch.testing.assert_close(parameter.grad, expected, atol=2e-5 * expected.abs().max().item() + 1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("mode", ["default", "layer_norm"])
def test_silence_gives_finite_features(mode):
    front_end = front_end_of(mode=mode)
    found = front_end(torch.zeros(1, 800))
    torch.testing.assert_close(found, stock_of(front_end, False)(torch.zeros(1, 800)).transpose(1, 2))
    assert found.isfinite().all()


def test_a_frozen_front_end_leaves_no_graph():
    front_end = front_end_of().requires_grad_(False)
    assert not front_end(sound()).requires_grad


@pytest.mark.parametrize("fast", [False, True])
@torch.no_grad()
def test_half_precision_weights_and_autocast(fast, monkeypatch):
    monkeypatch.setattr(conv_frontend, "has_fast_bf16", lambda device: fast)
    front_end = front_end_of(bias=True)
    expected = front_end(sound())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = front_end(sound())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)
    if not fast:  # computed in fp32, and rounded once
        assert torch.equal(found, expected.bfloat16())
    found = front_end.bfloat16()(sound())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)


def test_frames_and_receptive_field():
    front_end = ConvFrontEnd([(4, 10, 5), *[(4, 3, 2)] * 4, *[(4, 2, 2)] * 2])
    assert front_end.receptive_field == 400
    assert [front_end.n_frames(n) for n in (1, 399, 400, 719, 720, 160000)] == [1, 1, 1, 1, 2, 499]
    assert front_end.n_frames(torch.tensor([1, 720])).tolist() == [1, 2]
