import pytest
import torch
from torch.nn import functional as F

from emofair.modules.positional_conv import PositionalConv, by_fourier


def direct(x, weight, groups):
    kernel = weight.size(2)
    return F.conv1d(x, weight, padding=kernel // 2, groups=groups)[..., : x.size(2)]


@pytest.mark.parametrize("kernel", [64, 95, 128, 255])
@pytest.mark.parametrize("frames", [1, 7, 127, 128, 129, 400])
def test_by_fourier_is_the_convolution_with_its_gradients(kernel, frames):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 6, frames), torch.randn(6, 2, kernel) / kernel**0.5
    results = []
    for function in (direct, by_fourier):
        inputs = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        y = function(*inputs, 3)
        y.square().sum().backward()
        results.append([y.detach(), *(each.grad for each in inputs)])
    for found, expected in zip(results[1], results[0], strict=True):
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("kernel", [15, 16, 128])
def test_frames_keep_their_number_and_bf16_its_type(kernel):
    conv = PositionalConv(8, kernel, 2)
    x = torch.randn(2, 8, 50)
    exact = conv(x)
    assert exact.shape == x.shape
    rough = conv(x.bfloat16())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)
