"""RoBERTa-style encoders of token ids: text (RoBERTa) and discrete speech units (Speech-BERT) alike."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from typing import ClassVar

import torch
from fairseq.models.transformer import TransformerEncoder
from fairseq.modules import TransformerEncoderLayer
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from emofair.encoders.shapes import FillableModule
from emofair.encoders.spec import Spec
from emofair.errors import EmofairError
from emofair.modules.ranges import check_activation
from emofair.special_tokens import PAD

POSITIONS = ("learned", "sinusoidal", "none")


@dataclasses.dataclass(frozen=True)
class RobertaSpec(Spec):
    """Everything that is needed to rebuild an encoder exactly, except its weights.

    ``max_positions`` counts usable tokens: a learned table of 514 rows holds 512. The defaults are those of RoBERTa
    (arXiv 1907.11692).
    """

    what: ClassVar[str] = "a RoBERTa encoder"

    vocab_size: int
    embed_dim: int
    ffn_dim: int
    layers: int
    heads: int
    max_positions: int = 512
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    layerdrop: float = 0.0
    activation_fn: str = "gelu"
    normalize_before: bool = False
    layernorm_embedding: bool = True
    scale_embedding: bool = False
    positions: str = "learned"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "embed_dim", "ffn_dim", "layers", "heads", "max_positions"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise EmofairError(f"an encoder needs a whole number above 0 as {name}, not {value!r}")
        for name in ("dropout", "attention_dropout", "activation_dropout", "layerdrop"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise EmofairError(f"{name} of an encoder is {value!r}, expected a number from 0 to below 1")
        if self.embed_dim % self.heads:
            raise EmofairError(f"{self.heads} attention heads do not divide an embedding width of {self.embed_dim}")
        if self.vocab_size <= PAD:
            raise EmofairError(f"a vocabulary of {self.vocab_size} has no room for the padding id {PAD}")
        check_activation("activation_fn", self.activation_fn)
        if self.positions not in POSITIONS:
            raise EmofairError(
                f"positions of an encoder are {self.positions!r}, expected one of {', '.join(POSITIONS)}"
            )


class RobertaTokenEncoder(FillableModule):
    """RoBERTa without its language-model head: token ids in, features of the last layer out.

    The Transformer is fairseq's own and its parameter names are fairseq's (``sentence_encoder.*``), so weights of any
    fairseq masked language model load strictly. ``checkpoint_activations`` recomputes each layer in the backward pass,
    which saves memory for time and changes no number. A new encoder gets BERT's random initialisation.
    """

    pad = PAD

    def __init__(self, spec: RobertaSpec, *, checkpoint_activations: bool = False) -> None:
        super().__init__()
        self.spec = spec
        embedding = nn.Embedding(spec.vocab_size, spec.embed_dim, PAD)
        self.sentence_encoder = _Transformer(_arguments(spec), _Vocabulary(spec.vocab_size), embedding)
        self.checkpoint_activations(checkpoint_activations)
        if not embedding.weight.is_meta:
            self.sentence_encoder.apply(init_bert_params)

    @property
    def embed_dim(self) -> int:
        """Width of the features."""
        return self.spec.embed_dim

    @property
    def max_positions(self) -> int:
        """The longest usable sequence, in tokens, ``<s>`` and ``</s>`` included."""
        return self.spec.max_positions

    def checkpoint_activations(self, on: bool = True) -> None:
        """Switch the recomputation of activations in the backward pass on or off."""
        for layer in nn.ModuleList.__iter__(self.sentence_encoder.layers):
            layer.recompute = on

    def forward(self, tokens: Tensor, *, first_only: bool = False) -> tuple[Tensor, Tensor]:
        """Encode token ids, right-padded with ``pad``.

        tokens: integers [batch, time] on any device. Returns the features [batch, time, embed_dim] in the weights'
        dtype and the padding mask [batch, time] (true = padding). Features at padded positions mean nothing.
        With ``first_only`` the features are those of ``<s>`` alone, [batch, 1, embed_dim]: the same numbers, and the
        last layer does only the work that they need.
        Raises `EmofairError` for too long a sequence, an id outside the vocabulary, or a row of padding only.
        """
        self._check(tokens)
        tokens = tokens.to(device=self.sentence_encoder.embed_tokens.weight.device, dtype=torch.long)
        padding_mask = tokens.eq(PAD)
        return self.sentence_encoder.features(tokens, padding_mask, first_only), padding_mask

    def _check(self, tokens: Tensor) -> None:
        if tokens.ndim != 2 or not tokens.numel():
            raise EmofairError(f"expected token ids of shape [batch, time], got {list(tokens.shape)}")
        if tokens.shape[1] > self.max_positions:
            raise EmofairError(
                f"a sequence of {tokens.shape[1]} tokens, but this encoder has positions for {self.max_positions}",
                remedy="truncate the token sequences to that length",
            )
        if tokens.is_cuda:
            # Looking at values would make the host wait in every step; data sets check their ids when they are opened.
            return
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= self.spec.vocab_size:
            raise EmofairError(
                f"token id {low if low < 0 else high} is outside the encoder's vocabulary of {self.spec.vocab_size}",
                remedy="make the tokens with the dictionary that belongs to this encoder",
            )
        if tokens.eq(PAD).all(dim=1).any():
            raise EmofairError("a sequence consists of padding only, so there is nothing to attend to")


class _Layer(TransformerEncoderLayer):
    """fairseq's layer, which can recompute its activations.

    fairseq's own wrapper for that loses the gradient below frozen embeddings; the non-reentrant form does not.
    """

    recompute = False

    def forward(self, x: Tensor, encoder_padding_mask: Tensor | None, attn_mask: Tensor | None = None) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(super().forward, x, encoder_padding_mask, attn_mask, use_reentrant=False)
        return super().forward(x, encoder_padding_mask, attn_mask)

    def first_position(self, x: Tensor, padding_mask: Tensor | None) -> Tensor:
        """What `forward` gives at the first position, [1, batch, embed_dim], from x [time, batch, embed_dim].

        Keys and values are needed everywhere, the query, the projection and the feed-forward part only there.
        """
        before = self.normalize_before
        source = self.self_attn_layer_norm(x) if before else x
        attended, _ = self.self_attn(source[:1], source, source, key_padding_mask=padding_mask, need_weights=False)
        x = self.residual_connection(self.dropout_module(attended), x[:1])
        if not before:
            x = self.self_attn_layer_norm(x)
        inner = self.activation_fn(self.fc1(self.final_layer_norm(x) if before else x))
        x = self.residual_connection(self.dropout_module(self.fc2(self.activation_dropout_module(inner))), x)
        return x if before else self.final_layer_norm(x)


class _Transformer(TransformerEncoder):
    def build_encoder_layer(self, args: Namespace) -> nn.Module:
        return _Layer(args)

    def features(self, tokens: Tensor, padding_mask: Tensor, first_only: bool) -> Tensor:
        """Features of the last layer, [batch, time, embed_dim] or [batch, 1, embed_dim].

        fairseq's own loop asks in every layer whether there is padding, and each time a GPU has to answer.
        """
        x, _ = self.forward_embedding(tokens)
        x = x.masked_fill(padding_mask.unsqueeze(-1), 0).transpose(0, 1)
        mask = padding_mask if tokens.is_cuda or padding_mask.any() else None
        # Iterating draws fairseq's layer drop; the last layer that is kept is the one that may be cut short.
        layers = list(self.layers)
        for layer in layers[:-1] if first_only else layers:
            x = layer(x, mask)
        if first_only:
            x = layers[-1].first_position(x, mask) if layers else x[:1]
        if self.layer_norm is not None:
            x = self.layer_norm(x)
        return x.transpose(0, 1)


class _Vocabulary:
    """The two facts about a dictionary that a Transformer encoder asks for."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def pad(self) -> int:
        return PAD


def _arguments(spec: RobertaSpec) -> Namespace:
    return Namespace(
        encoder_embed_dim=spec.embed_dim,
        encoder_ffn_embed_dim=spec.ffn_dim,
        encoder_layers=spec.layers,
        encoder_attention_heads=spec.heads,
        encoder_normalize_before=spec.normalize_before,
        encoder_learned_pos=spec.positions == "learned",
        encoder_layerdrop=spec.layerdrop,
        no_token_positional_embeddings=spec.positions == "none",
        max_source_positions=spec.max_positions,
        layernorm_embedding=spec.layernorm_embedding,
        no_scale_embedding=not spec.scale_embedding,
        activation_fn=spec.activation_fn,
        dropout=spec.dropout,
        attention_dropout=spec.attention_dropout,
        activation_dropout=spec.activation_dropout,
        adaptive_input=False,
    )
