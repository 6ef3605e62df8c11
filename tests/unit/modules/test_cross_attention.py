import pytest
import torch
import torch.nn.functional as F
from torch import nn

from emofair.errors import EmofairError
from emofair.modules.cross_attention import CrossAttentionFusion, CrossAttentionLayer

# Batch 2, text of 4 and speech of 6 positions, the first shorter in both.
TEXT_PADDING = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]]).bool()
SPEECH_PADDING = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()


def fusion_of(layers=2, text_dim=12, speech_dim=8, heads=4, **options):
    torch.manual_seed(0)
    options = {"dropout": 0.0, "attention_dropout": 0.0} | options
    fusion = CrossAttentionFusion(text_dim, speech_dim, layers, heads, **options)
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return fusion.eval()


def inputs(text_dim=12, speech_dim=8):
    torch.manual_seed(1)
    text, speech = torch.randn(2, 4, text_dim), torch.randn(2, 6, speech_dim)
    return text, TEXT_PADDING, speech, SPEECH_PADDING, text[:, 0], speech[:, 0]


def attend(attn, query, memory, padding):
    """torch's own attention with the weights of fairseq's; query [B, Cq], memory [B, T, Cm] → [B, Cq]."""
    theirs = nn.MultiheadAttention(
        attn.embed_dim, attn.num_heads, kdim=attn.kdim, vdim=attn.vdim, batch_first=True
    ).eval()
    with torch.no_grad():
        theirs.q_proj_weight.copy_(attn.q_proj.weight)
        theirs.k_proj_weight.copy_(attn.k_proj.weight)
        theirs.v_proj_weight.copy_(attn.v_proj.weight)
        theirs.in_proj_bias.copy_(torch.cat([attn.q_proj.bias, attn.k_proj.bias, attn.v_proj.bias]))
        theirs.out_proj.weight.copy_(attn.out_proj.weight)
        theirs.out_proj.bias.copy_(attn.out_proj.bias)
        return theirs(query[:, None], memory, memory, key_padding_mask=padding)[0][:, 0]


@pytest.mark.parametrize("block", ["attn", "full"])
def test_equals_torchs_attention_layer_by_layer(block):
    fusion = fusion_of(block=block, ffn_dim=20)
    text, text_padding, speech, speech_padding, t, a = inputs()
    with torch.no_grad():
        ours = fusion(text, text_padding, speech, speech_padding, t, a)
        for stack, memory, padding in ((fusion.ta, speech, speech_padding), (fusion.at, text, text_padding)):
            query = t if stack is fusion.ta else a
            for layer in stack:
                query = query + attend(layer.attn, query, memory, padding)
                if block == "full":
                    width = query.shape[-1:]
                    query = F.layer_norm(query, width, layer.attn_norm.weight, layer.attn_norm.bias)
                    inner = layer.fc2(F.gelu(layer.fc1(query)))
                    query = F.layer_norm(query + inner, width, layer.ffn_norm.weight, layer.ffn_norm.bias)
            torch.testing.assert_close(ours[0 if stack is fusion.ta else 1], query, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("query", "memory", "parameters"), [(1024, 768, 3_674_112), (768, 1024, 2_755_584)], ids=["ta", "at"]
)
def test_parameters_of_a_layer_at_the_published_widths(query, memory, parameters):
    layer = CrossAttentionLayer(query, memory, 2, dropout=0.1, attention_dropout=0.1)
    assert sum(p.numel() for p in layer.parameters()) == parameters


def test_a_full_block_adds_two_norms_and_a_feed_forward_layer():
    plain, full = (
        sum(p.numel() for p in CrossAttentionLayer(12, 8, 4, dropout=0, attention_dropout=0, **o).parameters())
        for o in ({}, {"block": "full", "ffn_dim": 20})
    )
    assert full - plain == 2 * 2 * 12 + (12 * 20 + 20) + (20 * 12 + 12)


@pytest.mark.parametrize("block", ["attn", "full"])
def test_what_stands_in_padding_changes_nothing(block):
    fusion = fusion_of(block=block)
    text, text_padding, speech, speech_padding, t, a = inputs()
    expected = fusion(text, text_padding, speech, speech_padding, t, a)
    text = text.masked_fill(text_padding[..., None], 1e4)
    speech = speech.masked_fill(speech_padding[..., None], float("nan"))
    got = fusion(text, text_padding, speech, speech_padding, t, a)
    torch.testing.assert_close(got, expected, atol=0, rtol=0)
    # And alone, without any padding, the shorter item gives the same.
    none = torch.zeros(1, 3, dtype=torch.bool)
    alone = fusion(text[:1, :3], none, speech[:1, :3], none, t[:1], a[:1])
    torch.testing.assert_close(alone, (expected[0][:1], expected[1][:1]), atol=1e-6, rtol=1e-5)


def test_stacks_share_no_weight_and_each_layer_counts():
    fusion = fusion_of(layers=3, text_dim=8)
    names = {id(p) for p in fusion.parameters()}
    assert len(names) == 2 * 3 * 8  # four projections with bias each
    one = fusion_of(layers=1, text_dim=8)
    assert not torch.allclose(fusion(*inputs(8))[0], one(*inputs(8))[0], atol=1e-3)


def test_dropout_of_residual_and_of_weights():
    quiet, expected = fusion_of(), fusion_of()(*inputs())
    torch.testing.assert_close(quiet.train()(*inputs()), expected)
    for options in ({"dropout": 0.5}, {"attention_dropout": 0.5}):
        noisy = fusion_of(**options)
        torch.testing.assert_close(noisy(*inputs()), expected)
        assert not torch.allclose(noisy.train()(*inputs())[0], expected[0])


@pytest.mark.parametrize(("heads", "which", "width"), [(8, "text", 12), (3, "speech", 8)])
def test_heads_must_divide_both_widths(heads, which, width):
    with pytest.raises(EmofairError, match=rf"--encoder-attention-heads {heads} .*{which} encoder's width {width}"):
        fusion_of(heads=heads)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": 0}, "--encoder-attention-heads 0"),
        ({"layers": 0}, "--encoder-layers-cross 0"),
        ({"block": "full", "ffn_dim": 0}, "--encoder-ffn-embed-dim 0"),
    ],
)
def test_nothing_to_attend_with_is_told(options, said):
    with pytest.raises(EmofairError, match=f"{said} leaves no cross-attention"):
        fusion_of(**options)
