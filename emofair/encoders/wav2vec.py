"""wav2vec (2019) and vq-wav2vec: waveforms to features z and their context c, 100 frames per second."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from fairseq.models.wav2vec.wav2vec import ConvAggegator, ConvFeatureExtractionModel
from fairseq.modules import GumbelVectorQuantizer, KmeansVectorQuantizer
from torch import Tensor, nn
from torch.nn import functional as F

from emofair.encoders.shapes import FillableModule
from emofair.encoders.wav2vec_spec import QuantizerSpec, Wav2VecSpec

# Frames whose distances to all codes are held at once: 42 MB with 320 codes of 2 x 256. More is not faster.
FRAMES_AT_ONCE = 64
_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class Wav2VecFrames(NamedTuple):
    """Features z [B, T, spec.dim], their context c [B, T, spec.context_dim], padding [B, T] (None: there is none)."""

    z: Tensor
    c: Tensor
    padding: Tensor | None


class Wav2Vec(FillableModule):
    """fairseq's ``wav2vec`` model without its predictions of future frames; names of weights are fairseq's.

    Its group norms run over time. Here they run over the frames of each clip alone, so that what a clip gets does not
    depend on the padding beside it.
    """

    def __init__(self, spec: Wav2VecSpec) -> None:
        super().__init__()
        self.spec = spec
        self.feature_extractor = make_extractor(spec)
        self.vector_quantizer = make_quantizer(spec)
        self.feature_aggregator = ConvAggegator(
            conv_layers=spec.aggregator_layers,
            embed=spec.dim,
            dropout=spec.dropout,
            skip_connections=spec.skip_context,
            residual_scale=spec.residual_scale,
            non_affine_group_norm=not spec.affine_norms,
            conv_bias=spec.context_bias,
            zero_pad=spec.zero_pad,
            activation=_ACTIVATIONS[spec.activation](),
        )

    def train(self, mode: bool = True) -> Wav2Vec:
        """As of any module; the quantiser goes on choosing the best code, where fairseq's would draw one."""
        super().train(mode)
        if self.vector_quantizer is not None:
            self.vector_quantizer.eval()
        return self

    def n_frames(self, n_samples: int | Tensor) -> int | Tensor:
        """Frames of clips with so many samples, at least 1: shorter clips are padded to one frame."""
        for _, kernel, stride in self.spec.conv_layers:
            n_samples = (n_samples - kernel) // stride + 1
        return n_samples.clamp(min=1) if isinstance(n_samples, Tensor) else max(n_samples, 1)

    def features(self, wav: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """wav [B, L], zeros on the right where ``n_samples`` [B] (None: all of L) ends → z [B, T, spec.dim].

        Frames beyond ``n_frames(n_samples)`` of a clip mean nothing, here and in `context`.
        """
        shortest = self.spec.receptive_field
        if wav.size(1) < shortest:
            if n_samples is None:
                n_samples = wav.new_full((wav.size(0),), wav.size(1), dtype=torch.long)
            wav = F.pad(wav, (0, shortest - wav.size(1)))
        x, n_valid = wav[:, None].to(self.feature_extractor.conv_layers[0][0].weight.dtype), n_samples
        for block, (_, kernel, stride) in zip(self.feature_extractor.conv_layers, self.spec.conv_layers, strict=True):
            if n_valid is not None:
                n_valid = ((n_valid - kernel) // stride + 1).clamp(min=1)
            before = x
            x = _through(block, x, n_valid)
            if self.spec.skip_features and x.size(1) == before.size(1):
                # fairseq thins by the ratio of lengths, which is the stride but for a handful of frames.
                x = (x + before[..., ::stride][..., : x.size(2)]) * self.feature_extractor.residual_scale
        if self.spec.log_compression:
            x = x.abs().add(1).log()
        return x.transpose(1, 2)

    def context(self, z: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """z [B, T, spec.dim], of which ``n_frames`` [B] (None: all) are valid → c [B, T, spec.context_dim].

        A frame sees itself and those before it. A vq-wav2vec quantises z first.
        """
        x = z.transpose(1, 2)
        if self.vector_quantizer is not None:
            x = self._quantised(x, n_frames)
        for project, block in zip(
            self.feature_aggregator.residual_proj, self.feature_aggregator.conv_layers, strict=True
        ):
            before = x
            x = _through(block, x, n_frames)
            if self.spec.skip_context:
                before = before if project is None else project(before)
                x = (x + before) * self.feature_aggregator.residual_scale
        return x.transpose(1, 2)

    def forward(self, wav: Tensor, n_samples: Tensor | None = None) -> Wav2VecFrames:
        """Both, for waveforms [B, L] at `spec.sample_rate`, right-padded with zeros where ``n_samples`` [B] ends."""
        z = self.features(wav, n_samples)
        if n_samples is None:
            return Wav2VecFrames(z, self.context(z), None)
        n_frames = self.n_frames(n_samples)
        padding = torch.arange(z.size(1), device=z.device) >= n_frames[:, None]
        return Wav2VecFrames(z, self.context(z, n_frames), padding)

    def _quantised(self, x: Tensor, n_valid: Tensor | None) -> Tensor:
        quantizer = self.vector_quantizer
        if isinstance(quantizer, GumbelVectorQuantizer):
            return quantizer(x)["x"]
        conv, norm = quantizer.projection
        codes = nearest_codes(quantizer, _group_norm(norm, conv(x), n_valid))
        table = quantizer.expand_embedding
        groups = [table[codes[..., group], group] for group in range(quantizer.groups)]
        return torch.cat(groups, dim=-1).transpose(1, 2).to(x.dtype)


def make_extractor(spec: Wav2VecSpec) -> ConvFeatureExtractionModel:
    """fairseq's convolutions from samples to z, of random weights."""
    return ConvFeatureExtractionModel(
        conv_layers=spec.conv_layers,
        dropout=0.0,
        log_compression=spec.log_compression,
        skip_connections=spec.skip_features,
        residual_scale=spec.residual_scale,
        non_affine_group_norm=not spec.affine_norms,
        activation=_ACTIVATIONS[spec.activation](),
    )


def make_quantizer(spec: Wav2VecSpec) -> KmeansVectorQuantizer | GumbelVectorQuantizer | None:
    """fairseq's quantiser of a vq-wav2vec, of random weights; None in a plain wav2vec."""
    codes: QuantizerSpec | None = spec.quantizer
    if codes is None:
        return None
    shape = {
        "dim": spec.dim,
        "num_vars": codes.vars,
        "groups": codes.groups,
        "combine_groups": codes.combined,
        "vq_dim": codes.dim,
        "time_first": False,
    }
    if codes.kind == "kmeans":
        return KmeansVectorQuantizer(**shape, gamma=codes.gamma)
    return GumbelVectorQuantizer(
        **shape,
        temp=(2.0, 0.5, 1.0),  # of the sampling in training; codes are the most probable ones
        activation=_ACTIVATIONS[spec.activation](),
        weight_proj_depth=codes.depth,
        weight_proj_factor=2,
    )


def nearest_codes(quantizer: KmeansVectorQuantizer, projected: Tensor) -> Tensor:
    """Codes [B, T, groups] of features [B, C, T] that went through the quantiser's projection.

    The same arithmetic as fairseq's ``forward_idx``, and so the same codes, but a few frames at a time: fairseq holds
    the differences of all frames to all codes, 0.6 MB a frame, which makes 20 GB for five minutes.
    """
    batch, _, frames = projected.shape
    projected = projected.view(batch, quantizer.groups, quantizer.var_dim, frames).permute(0, 3, 1, 2)
    centres = quantizer.expand_embedding[:, None, None]
    parts = projected.split(FRAMES_AT_ONCE, dim=1)
    return torch.cat([(part[None] - centres).norm(dim=-1, p=2).argmin(dim=0) for part in parts], dim=1)


def _through(block: Iterable[nn.Module], x: Tensor, n_valid: Tensor | None) -> Tensor:
    """x [B, C, T] through a block of fairseq's, its group norm over the valid frames of each clip."""
    for part in block:
        x = _group_norm(part, x, n_valid) if isinstance(part, nn.GroupNorm) else part(x)
    return x


def _group_norm(norm: nn.GroupNorm, x: Tensor, n_valid: Tensor | None) -> Tensor:
    if n_valid is None:
        return norm(x)
    batch, width, frames = x.shape
    grouped = x.float().view(batch, norm.num_groups, -1, frames)
    inside = (torch.arange(frames, device=x.device) < n_valid[:, None])[:, None, None]
    count = n_valid.view(-1, 1, 1, 1) * grouped.size(2)
    centred = grouped - (grouped * inside).sum(dim=(2, 3), keepdim=True) / count
    variance = (centred.square() * inside).sum(dim=(2, 3), keepdim=True) / count
    result = (centred * torch.rsqrt(variance + norm.eps)).view(batch, width, frames)
    if norm.affine:
        result = result * norm.weight.float()[:, None] + norm.bias.float()[:, None]
    return result.to(x.dtype)
