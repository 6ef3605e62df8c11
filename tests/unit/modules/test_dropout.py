import pytest
import torch

from emofair.modules.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_a_share_of_p_is_dropped_and_the_mean_is_kept(p):
    torch.manual_seed(0)
    x = torch.ones(401, 499)
    y = dropout(x, p, training=True)
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4)
    # Five standard deviations of a share of 200,000 draws.
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / x.numel()) ** 0.5)


def test_the_four_values_of_one_draw_and_their_neighbours_are_independent():
    torch.manual_seed(0)
    dropped = (dropout(torch.ones(200_000), 0.3, training=True) == 0).double()
    for distance in (1, 2, 3, 4):
        pair = torch.stack([dropped[:-distance], dropped[distance:]])
        assert abs(torch.corrcoef(pair)[0, 1].item()) < 5 / 200_000**0.5


def test_it_follows_torchs_generator_and_lets_gradients_through_what_is_kept():
    x = torch.randn(3, 5, 7, requires_grad=True)
    torch.manual_seed(4)
    y = dropout(x.transpose(0, 2), 0.4, training=True)
    torch.manual_seed(4)
    assert torch.equal(y, dropout(x.transpose(0, 2), 0.4, training=True))
    y.sum().backward()
    assert torch.equal(x.grad.transpose(0, 2) > 0, y != 0)
    assert x.grad.max().item() == pytest.approx(1 / 0.6, rel=1e-4)


def test_nothing_happens_in_evaluation_or_without_dropout():
    x = torch.randn(4, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    assert not torch.equal(Dropout(0.5).train()(x), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_type_is_kept(dtype):
    assert dropout(torch.ones(8, 8, dtype=dtype), 0.5, training=True).dtype == dtype


def test_almost_everything_may_be_dropped():
    y = dropout(torch.ones(10_000), 1 - 1e-9, training=True)
    assert torch.isfinite(y).all()
