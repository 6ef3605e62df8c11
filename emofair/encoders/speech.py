"""wav2vec 2.0, HuBERT and WavLM as one encoder: waveforms in, hidden states of any layer out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from fairseq.utils import get_activation_fn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from emofair.encoders.conv_frontend import ConvFrontEnd
from emofair.encoders.shapes import FillableModule
from emofair.encoders.speech_spec import SpeechSpec
from emofair.errors import EmofairError
from emofair.modules.dropout import Dropout, dropout
from emofair.modules.positional_conv import PositionalConv
from emofair.modules.self_attention import GatedRelativeAttention, SelfAttention

FIRST_LAYER, LAST_LAYER = 0, -1


class Encoded(NamedTuple):
    """Hidden states by layer, [B, T, C] each, and padding [B, T] (true = padding; None: there is none)."""

    hidden: dict[int, Tensor]
    padding: Tensor | None

    def padding_mask(self) -> Tensor:
        """The padding as a mask in any case."""
        if self.padding is not None:
            return self.padding
        some = next(iter(self.hidden.values()))
        return torch.zeros(some.shape[:2], dtype=torch.bool, device=some.device)


class SpeechEncoder(FillableModule):
    """Features of speech at 50 frames per second.

    Parameter names are those of fairseq's ``wav2vec2`` and ``hubert`` models (for WavLM, of its published files)
    without what only pre-training needs, so their weights load without renaming. ``checkpoint_activations`` recomputes
    each Transformer layer in the backward pass: less memory, more time, the same numbers.
    """

    def __init__(self, spec: SpeechSpec, *, checkpoint_activations: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.feature_extractor = ConvFrontEnd(spec.conv_layers, spec.extractor_mode, spec.conv_bias)
        self.layer_norm = nn.LayerNorm(spec.conv_dim)
        same_width = spec.conv_dim == spec.embed_dim
        self.post_extract_proj = None if same_width else nn.Linear(spec.conv_dim, spec.embed_dim)
        self.dropout_input = Dropout(spec.dropout_input)
        self.mask_emb = nn.Parameter(torch.empty(spec.embed_dim).uniform_())
        self.encoder = _Transformer(spec)
        self.checkpoint_activations(checkpoint_activations)

    @property
    def embed_dim(self) -> int:
        """Width of the hidden states."""
        return self.spec.embed_dim

    def checkpoint_activations(self, on: bool = True) -> None:
        """Switch the recomputation of activations in the backward pass on or off."""
        for layer in self.encoder.layers:
            layer.recompute = on

    def freeze_input(self, *, convolutions: bool, projection: bool) -> None:
        """Keep the convolutions, and the layer norm and projection behind them, as they are."""
        parts = [self.feature_extractor] * convolutions + [self.layer_norm, self.post_extract_proj] * projection
        for part in parts:
            if part is not None:
                part.requires_grad_(False)

    def n_frames(self, n_samples: int | Tensor) -> int | Tensor:
        """Frames of clips with so many samples, at least 1."""
        return self.feature_extractor.n_frames(n_samples)

    def layer_number(self, layer: int) -> int:
        """Resolve a layer: 1 to `spec.layers`, 0 for what the first reads, negative ones from the end."""
        n = self.spec.layers
        number = layer + n + 1 if layer < 0 else layer
        if not 0 <= number <= n:
            raise EmofairError(f"layer {layer} of an encoder that has {n}", remedy=f"Give 0 to {n}, or -1 for the last")
        return number

    def conv_features(self, wav: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """Output of the convolutions, [B, T, conv_dim]: what a frozen front end makes the same in every epoch."""
        return self.feature_extractor(wav, n_samples)

    def project(self, features: Tensor) -> Tensor:
        """Convolution features → layer norm, projection, dropout: what is masked and goes into the Transformer."""
        features = self.layer_norm(features)
        if self.post_extract_proj is not None:
            features = self.post_extract_proj(features)
        return self.dropout_input(features)

    def padding(self, n_samples: Tensor | None, n_frames: int) -> Tensor | None:
        """Padding [B, T] of frames, from samples; None where nothing is known to be padded."""
        if n_samples is None:
            return None
        lengths = self.n_frames(n_samples)
        mask = torch.arange(n_frames, device=n_samples.device) >= lengths[:, None]
        # Asking a GPU whether there is padding would make the host wait.
        return mask if mask.is_cuda or mask.any() else None

    def contextualise(self, x: Tensor, padding: Tensor | None, layers: Sequence[int] = (LAST_LAYER,)) -> Encoded:
        """Projected features [B, T, C] → hidden states of ``layers`` (see `layer_number`).

        The last layer comes with the final layer norm of pre-norm models; asked for by its number it does not, as in
        fairseq's ``output_layer``. Layers above the highest that is asked for are not computed.
        """
        wanted = {layer: self.layer_number(layer) for layer in layers}
        states = self.encoder(x, padding, set(wanted.values()))
        hidden = {
            layer: self.encoder.finish(states[number]) if layer == LAST_LAYER else states[number]
            for layer, number in wanted.items()
        }
        return Encoded(hidden, padding)

    def forward(
        self,
        wav: Tensor | None,
        n_samples: Tensor | None = None,
        *,
        layers: Sequence[int] = (LAST_LAYER,),
        mask: Callable[[Tensor, Tensor | None], Tensor] | None = None,
        features: Tensor | None = None,
    ) -> Encoded:
        """Waveforms [B, L] at `spec.sample_rate`, right-padded with zeros to L where ``n_samples`` [B] ends.

        ``features`` [B, T, conv_dim], stored earlier, take the place of what the convolutions make of ``wav``.
        ``mask(x, padding)`` may replace projected features [B, T, C] before the Transformer. What a clip gets does not
        depend on the padding beside it.
        """
        if features is None:
            features = self.conv_features(wav, n_samples)
        else:
            features = features.to(self.feature_extractor.output_dtype(features.device))
        x = self.project(features)
        padding = self.padding(n_samples, x.size(1))
        if mask is not None:
            x = mask(x, padding)
        return self.contextualise(x, padding, layers)


class _Layer(nn.Module):
    recompute = False

    def __init__(self, spec: SpeechSpec, index: int) -> None:
        super().__init__()
        if spec.kind == "wavlm":
            table = (spec.num_buckets, spec.max_distance) if index == 0 else None
            self.self_attn = GatedRelativeAttention(spec.embed_dim, spec.heads, spec.attention_dropout, table)
        else:
            self.self_attn = SelfAttention(spec.embed_dim, spec.heads, spec.attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(spec.embed_dim)
        self.fc1 = nn.Linear(spec.embed_dim, spec.ffn_dim)
        self.fc2 = nn.Linear(spec.ffn_dim, spec.embed_dim)
        self.final_layer_norm = nn.LayerNorm(spec.embed_dim)
        # fairseq's own GELU casts to fp32 and back.
        self.activation_fn = F.gelu if spec.activation_fn == "gelu" else get_activation_fn(spec.activation_fn)
        self.dropout, self.activation_dropout = Dropout(spec.dropout), Dropout(spec.activation_dropout)
        self.layer_norm_first = spec.layer_norm_first

    def forward(self, x: Tensor, padding: Tensor | None, bias: Tensor | None) -> Tensor:
        """x [B, T, C] → [B, T, C]."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._compute, x, padding, bias, use_reentrant=False)
        return self._compute(x, padding, bias)

    def _compute(self, x: Tensor, padding: Tensor | None, bias: Tensor | None) -> Tensor:
        read = self.self_attn_layer_norm(x) if self.layer_norm_first else x
        x = x + self.dropout(self.self_attn(read, padding, bias))
        if not self.layer_norm_first:
            x = self.self_attn_layer_norm(x)
        read = self.final_layer_norm(x) if self.layer_norm_first else x
        x = x + self.dropout(self.fc2(self.activation_dropout(self.activation_fn(self.fc1(read)))))
        return x if self.layer_norm_first else self.final_layer_norm(x)


class _Transformer(nn.Module):
    """Positional convolution and layers, under fairseq's names.

    fairseq's own loop asks the GPU in every layer whether there is padding, draws its layer drop from numpy's global
    generator, which a resumed run does not restore, and keeps every hidden state.
    """

    def __init__(self, spec: SpeechSpec) -> None:
        super().__init__()
        self.layer_norm_first = spec.layer_norm_first
        self.layerdrop = spec.layerdrop
        self.dropout = spec.dropout
        self.pos_conv = nn.Sequential(PositionalConv(spec.embed_dim, spec.conv_pos, spec.conv_pos_groups))
        self.layers = nn.ModuleList(_Layer(spec, index) for index in range(spec.layers))
        self.layer_norm = nn.LayerNorm(spec.embed_dim)
        self.has_bias = spec.kind == "wavlm"
        if not self.layer_norm.weight.is_meta:
            self.layers.apply(init_bert_params)

    def forward(self, x: Tensor, padding: Tensor | None, wanted: set[int]) -> dict[int, Tensor]:
        """x [B, T, C] → states [B, T, C] by layer number, 0 being what the first layer reads."""
        if padding is not None:
            x = x.masked_fill(padding.unsqueeze(-1), 0)
        x = x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        if not self.layer_norm_first:
            x = self.layer_norm(x)
        x = dropout(x, self.dropout, self.training)
        states = {0: x} if 0 in wanted else {}
        bias = self.layers[0].self_attn.position_bias(x.size(1)) if self.has_bias else None
        drops = self.training and self.layerdrop > 0
        dropped = (torch.rand(len(self.layers)) < self.layerdrop).tolist() if drops else [False] * len(self.layers)
        for number, layer in enumerate(self.layers[: max(wanted)], start=1):
            if not dropped[number - 1]:
                x = layer(x, padding, bias)
            if number in wanted:
                states[number] = x
        return states

    def finish(self, x: Tensor) -> Tensor:
        """The final layer norm, which only pre-norm models have."""
        return self.layer_norm(x) if self.layer_norm_first else x
