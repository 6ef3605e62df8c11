"""The convolutions of wav2vec 2.0, HuBERT and WavLM: samples in, 50 frames per second out.

Names and numbers are those of fairseq's ``ConvFeatureExtractionModel``; the way to them is not. Where nothing is
trained every convolution is a matrix product over strided windows, channels last. The group norm of the first layer is
never computed as such: the mean and the variance over time of a channel with weights w follow from the mean m and the
covariance S of the windows of samples, as w'm and w'Sw, so the norm becomes a scale and a shift. Taken over the valid
windows of each clip, these figures also make a padded batch give every clip what it gets alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emofair.checkpoints.layer_spec import geometry
from emofair.device import has_fast_bf16


class ConvFrontEnd(nn.Module):
    """Waveforms [B, n_samples] → features [B, frames, channels].

    ``layers`` are (channels, kernel, stride); ``mode`` is "default" (group norm over time after the first layer) or
    "layer_norm" (over channels, after every layer).
    """

    def __init__(self, layers: Sequence[tuple[int, int, int]], mode: str = "default", bias: bool = False) -> None:
        super().__init__()
        self.layers = [tuple(layer) for layer in layers]
        self.mode = mode
        self.conv_layers = nn.ModuleList()
        width_in = 1
        for index, (width, kernel, stride) in enumerate(self.layers):
            conv = nn.Conv1d(width_in, width, kernel, stride=stride, bias=bias)
            nn.init.kaiming_normal_(conv.weight)
            parts: dict[str, nn.Module] = {"0": conv}
            if mode == "layer_norm":
                parts["2"] = nn.ModuleDict({"1": nn.LayerNorm(width)})
            elif index == 0:
                parts["2"] = nn.GroupNorm(width, width)
            self.conv_layers.append(nn.ModuleDict(parts))
            width_in = width

    def n_frames(self, n_samples: int | Tensor) -> int | Tensor:
        """Frames of clips with so many samples, at least 1: shorter clips are padded to one frame."""
        for _, kernel, stride in self.layers:
            n_samples = (n_samples - kernel) // stride + 1
        return n_samples.clamp(min=1) if isinstance(n_samples, Tensor) else max(n_samples, 1)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees."""
        return geometry(self.layers)[1]

    def forward(self, wav: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """wav [B, L], zeros on the right where ``n_samples`` [B] (None: all of L) ends → [B, n_frames(L), C].

        Frames beyond ``n_frames(n_samples)`` of a clip mean nothing.
        """
        if wav.size(1) < self.receptive_field:
            if n_samples is None:
                n_samples = wav.new_full((wav.size(0),), wav.size(1), dtype=torch.long)
            wav = F.pad(wav, (0, self.receptive_field - wav.size(1)))
        dtype = self.output_dtype(wav.device)
        # Without instructions for it, bf16 takes a CPU several times as long as fp32, and says less.
        computed = torch.float32 if dtype == torch.bfloat16 and not has_fast_bf16(wav.device) else dtype
        trains = torch.is_grad_enabled() and (wav.requires_grad or any(p.requires_grad for p in self.parameters()))
        with torch.autocast(wav.device.type, enabled=False):
            return (self._trained if trains else self._inferred)(wav, n_samples, computed).to(dtype)

    def output_dtype(self, device: torch.device) -> torch.dtype:
        """Type of the features: that of autocast where it is on, else that of the weights."""
        if torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return self.conv_layers[0]["0"].weight.dtype

    def _trained(self, wav: Tensor, n_samples: Tensor | None, dtype: torch.dtype) -> Tensor:
        x = wav.to(dtype)[:, None]
        for index, layer in enumerate(self.conv_layers):
            conv = layer["0"]
            bias = None if conv.bias is None else conv.bias.to(dtype)
            x = F.conv1d(x, conv.weight.to(dtype), bias, conv.stride)
            if self.mode == "layer_norm":
                x = self._layer_norm(layer, x.transpose(1, 2)).transpose(1, 2)
            elif index == 0:
                scale, shift = self._group_norm(wav, n_samples)
                x = x * scale[..., None].to(dtype) + shift[..., None].to(dtype)
            x = F.gelu(x)
        return x.transpose(1, 2)

    def _inferred(self, wav: Tensor, n_samples: Tensor | None, dtype: torch.dtype) -> Tensor:
        x = self._first(wav, n_samples, dtype)
        for layer, (_, kernel, stride) in zip(self.conv_layers[1:], self.layers[1:], strict=True):
            conv = layer["0"]
            weight = conv.weight.permute(2, 1, 0).to(dtype).contiguous()  # [kernel, in, out]
            x = _strided_product(x, weight, kernel, stride)
            if conv.bias is not None:
                x += conv.bias.to(dtype)
            x = _gelu(self._layer_norm(layer, x))
        return x

    def _first(self, wav: Tensor, n_samples: Tensor | None, dtype: torch.dtype) -> Tensor:
        layer, (_, kernel, stride) = self.conv_layers[0], self.layers[0]
        conv = layer["0"]
        weight = conv.weight[:, 0].T.float()  # [kernel, C]
        windows = wav.to(dtype).unfold(1, kernel, stride)
        if self.mode == "layer_norm":
            x = windows @ weight.to(dtype)
            if conv.bias is not None:
                x += conv.bias.to(dtype)
            return _gelu(self._layer_norm(layer, x))
        scale, shift = self._group_norm(wav, n_samples)
        if conv.bias is not None:
            # In the shift already for the trained path, where the bias is added before the scale.
            shift = shift + conv.bias.float() * scale
        return _gelu(torch.baddbmm(shift[:, None].to(dtype), windows, (weight * scale[:, None]).to(dtype)))

    def _group_norm(self, wav: Tensor, n_samples: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scale and shift [B, C] in fp32 that stand for the group norm after the first convolution."""
        _, kernel, stride = self.layers[0]
        conv, norm = self.conv_layers[0]["0"], self.conv_layers[0]["2"]
        mean, covariance = _window_statistics(wav, n_samples, kernel, stride)
        weight = conv.weight[:, 0].double()  # [C, kernel]
        centre = mean @ weight.T
        if conv.bias is not None:
            centre = centre + conv.bias
        variance = torch.einsum("ck,bkl,cl->bc", weight, covariance, weight).clamp(min=0)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        return scale.float(), (norm.bias - centre * scale).float()

    def _layer_norm(self, layer: nn.ModuleDict, x: Tensor) -> Tensor:
        if self.mode != "layer_norm":
            return x
        norm = layer["2"]["1"]
        return F.layer_norm(x.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps).to(x)


def _window_statistics(wav: Tensor, n_samples: Tensor | None, kernel: int, stride: int) -> tuple[Tensor, Tensor]:
    """Mean [B, kernel] and covariance [B, kernel, kernel] of the windows that lie inside each clip.

    In fp64: what a high-pass filter leaves of a hum is a millionth of the covariance's entries.
    """
    windows = wav.double().unfold(1, kernel, stride)  # [B, T, kernel]
    count = windows.new_full((wav.size(0), 1), windows.size(1))
    if n_samples is not None:
        n_valid = ((n_samples - kernel) // stride + 1).clamp(min=1)
        inside = torch.arange(windows.size(1), device=wav.device) < n_valid[:, None]
        windows = windows * inside[..., None]
        count = n_valid[:, None].double()
    mean = windows.sum(dim=1) / count
    return mean, windows.transpose(1, 2) @ windows / count[..., None] - mean[:, :, None] * mean[:, None]


def _strided_product(x: Tensor, weight: Tensor, kernel: int, stride: int) -> Tensor:
    """A convolution of x [B, T, in] with weight [kernel, in, out], as few matrix products over views of x."""
    batch, frames, width = x.shape
    n_out = (frames - kernel) // stride + 1
    result = None
    for first in range(0, kernel, stride):
        taps = min(stride, kernel - first)
        view = x.as_strided(
            (batch, n_out, taps * width), (x.stride(0), stride * width, 1), x.storage_offset() + first * width
        )
        part = weight[first : first + taps].reshape(taps * width, -1).expand(batch, -1, -1)
        result = torch.bmm(view, part) if result is None else result.baddbmm_(view, part)
    return result


def _gelu(x: Tensor) -> Tensor:
    return torch.ops.aten.gelu_(x)
