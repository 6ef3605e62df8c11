"""Cross-attention between the summary vector of one modality and the sequence of the other.

The co-attention of Siriwardhana et al. 2020 (arXiv 2008.06682, §2.3), after the crossmodal blocks of
MulT (Tsai et al. 2019, arXiv 1906.00295).
"""

from __future__ import annotations

from fairseq.modules import LayerNorm, MultiheadAttention
from fairseq.utils import get_activation_fn
from torch import Tensor, nn

from emofair.errors import EmofairError

BLOCKS = ("attn", "full")


class CrossAttentionLayer(nn.Module):
    """Update a query by attending to a foreign sequence.

    ``attn`` is the residual attention alone: x + dropout(MHA(x; K, V)). ``full`` is a post-norm Transformer
    block: LayerNorm after the attention, then a feed-forward layer with residual and LayerNorm.
    """

    def __init__(
        self,
        query_dim: int,
        memory_dim: int,
        heads: int,
        *,
        dropout: float,
        attention_dropout: float,
        block: str = "attn",
        ffn_dim: int = 1024,
        activation_fn: str = "gelu",
    ) -> None:
        super().__init__()
        self.attn = MultiheadAttention(
            query_dim,
            heads,
            kdim=memory_dim,
            vdim=memory_dim,
            dropout=attention_dropout,
            encoder_decoder_attention=True,
        )
        self.dropout = nn.Dropout(dropout)
        self.full = block == "full"
        if self.full:
            self.attn_norm = LayerNorm(query_dim)
            self.fc1 = nn.Linear(query_dim, ffn_dim)
            self.fc2 = nn.Linear(ffn_dim, query_dim)
            self.ffn_norm = LayerNorm(query_dim)
            self.activation = get_activation_fn(activation_fn)

    def forward(self, query: Tensor, memory: Tensor, memory_padding: Tensor) -> Tensor:
        """query [1, B, Cq], memory [T, B, Cm], memory_padding [B, T] (true = padding) → [1, B, Cq]."""
        attended, _ = self.attn(query, memory, memory, key_padding_mask=memory_padding, need_weights=False)
        query = query + self.dropout(attended)
        if self.full:
            query = self.attn_norm(query)
            query = self.ffn_norm(query + self.dropout(self.fc2(self.activation(self.fc1(query)))))
        return query


class CrossAttentionFusion(nn.Module):
    """Two stacks that share nothing: text asks speech (``ta``) and speech asks text (``at``).

    Keys and values are the encoders' outputs at every depth; only the queries are updated.
    """

    def __init__(self, text_dim: int, speech_dim: int, layers: int, heads: int, **options) -> None:
        super().__init__()
        counts = {"layers-cross": layers, "attention-heads": heads, "ffn-embed-dim": options.get("ffn_dim", 1)}
        for option, value in ((f"--encoder-{name}", number) for name, number in counts.items()):
            if value < 1:
                raise EmofairError(f"{option} {value} leaves no cross-attention", remedy=f"Give {option} 1 or more")
        for name, width in (("text", text_dim), ("speech", speech_dim)):
            if width % heads:
                raise EmofairError(
                    f"--encoder-attention-heads {heads} does not divide the {name} encoder's width {width}",
                    remedy="Choose a number of heads that divides both widths",
                )
        self.ta = nn.ModuleList(CrossAttentionLayer(text_dim, speech_dim, heads, **options) for _ in range(layers))
        self.at = nn.ModuleList(CrossAttentionLayer(speech_dim, text_dim, heads, **options) for _ in range(layers))

    def forward(
        self,
        text: Tensor,
        text_padding: Tensor,
        speech: Tensor,
        speech_padding: Tensor,
        text_query: Tensor,
        speech_query: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Fuse text [B, Tt, Ct] and speech [B, Ta, Ca]; padding masks [B, T] true = padding.

        The queries are the summary vectors [B, Ct] and [B, Ca]; so are the results.
        """
        text_memory = text.masked_fill(text_padding.unsqueeze(-1), 0).transpose(0, 1)
        speech_memory = speech.masked_fill(speech_padding.unsqueeze(-1), 0).transpose(0, 1)
        text_state, speech_state = text_query.unsqueeze(0), speech_query.unsqueeze(0)
        for layer in self.ta:
            text_state = layer(text_state, speech_memory, speech_padding)
        for layer in self.at:
            speech_state = layer(speech_state, text_memory, text_padding)
        return text_state.squeeze(0), speech_state.squeeze(0)
