"""The convolution over time whose output tells a Transformer where its frames are (arXiv 2006.11477, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Frames of one Fourier transform, for kernels of the published 128 taps; shorter ones are as fast without.
_BLOCK = 256
_SHORTEST = 64


class PositionalConv(nn.Module):
    """Grouped convolution over time with weight normalisation over its taps, and GELU; keeps the number of frames.

    Written out, because torch's own ``weight_norm`` makes a model that cannot be copied.
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        weight = torch.empty(width, width // groups, kernel)
        nn.init.normal_(weight, mean=0, std=(4 / (kernel * width)) ** 0.5)
        self.weight_g = nn.Parameter(torch.ones(1, 1, kernel) if weight.is_meta else _norm(weight))
        self.weight_v = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, T] → [B, C, T]."""
        weight = (self.weight_v * (self.weight_g / _norm(self.weight_v))).to(x.dtype)
        bias, kernel = self.bias.to(x.dtype), weight.size(2)
        if x.device.type == "cpu" and x.dtype == torch.float32 and _SHORTEST <= kernel < _BLOCK:
            return F.gelu(by_fourier(x, weight, self.groups) + bias[:, None])
        x = F.conv1d(x, weight, bias, padding=kernel // 2, groups=self.groups)
        return F.gelu(x[..., :-1] if kernel % 2 == 0 else x)


def by_fourier(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """``conv1d`` of x [B, C, T] with weight [C, C / groups, K], padded to keep T; two to four times as fast on a CPU.

    By products of the transforms of overlapping blocks (overlap-save), whose sizes do not depend on T.
    """
    batch, width, frames = x.shape
    kernel, part = weight.size(2), width // groups
    step = _BLOCK - kernel  # outputs of a block that no wrapping around its ends has touched
    n = -(-frames // step)
    before = kernel // 2
    blocks = F.pad(x, (before, (n - 1) * step + _BLOCK - before - frames)).unfold(2, _BLOCK, step)
    theirs = torch.fft.rfft(blocks).view(batch, groups, part, n, -1).permute(1, 4, 0, 3, 2)  # [g, f, B, n, in]
    ours = torch.fft.rfft(weight, n=_BLOCK).view(groups, part, part, -1).permute(0, 3, 2, 1)  # [g, f, in, out]
    product = theirs.reshape(groups, -1, batch * n, part) @ ours.conj()
    product = product.view(groups, -1, batch, n, part).permute(2, 0, 4, 3, 1).reshape(batch, width, n, -1)
    return torch.fft.irfft(product, n=_BLOCK)[..., :step].reshape(batch, width, n * step)[..., :frames]


def _norm(weight: Tensor) -> Tensor:
    """Length of the weights at each tap, [1, 1, kernel]."""
    return weight.norm(dim=(0, 1), keepdim=True)
