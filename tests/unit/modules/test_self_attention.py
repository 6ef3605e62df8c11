import pytest
import torch
from fairseq.modules import MultiheadAttention

from emofair.modules.self_attention import GatedRelativeAttention, SelfAttention

WRITTEN_OUT = 1e-9  # a dropout that drops nothing, but is not 0


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("p", [0.0, WRITTEN_OUT])
def test_it_is_fairseqs(padded, p):
    torch.manual_seed(0)
    stock = MultiheadAttention(12, 3, self_attention=True)
    ours = SelfAttention(12, 3, p)
    ours.load_state_dict(stock.state_dict())
    x = torch.randn(2, 9, 12)
    padding = torch.arange(9) >= torch.tensor([9, 5])[:, None] if padded else None
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    expected, _ = stock(*[inputs[0].transpose(0, 1)] * 3, key_padding_mask=padding, need_weights=False)
    expected = expected.transpose(0, 1)
    found = ours(inputs[1], padding)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    for result in (expected, found):
        result.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(ours.parameters(), stock.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("table", [(32, 64), None])
def test_written_out_or_fused_makes_no_difference_to_the_gated_bias(table):
    torch.manual_seed(0)
    fused = GatedRelativeAttention(12, 3, 0.0, table)
    written_out = GatedRelativeAttention(12, 3, WRITTEN_OUT, table)
    written_out.load_state_dict(fused.state_dict())
    x, bias = torch.randn(2, 9, 12), torch.randn(3, 9, 9)
    padding = torch.arange(9) >= torch.tensor([9, 5])[:, None]
    torch.testing.assert_close(written_out(x, padding, bias), fused(x, padding, bias), atol=1e-6, rtol=1e-5)


def test_dropout_is_on_the_weights_in_training_only():
    torch.manual_seed(0)
    attention = SelfAttention(12, 3, 0.5)
    x = torch.randn(2, 9, 12)
    assert not torch.allclose(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))
