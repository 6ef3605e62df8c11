import pytest
import torch

from emofair.errors import EmofairError
from emofair.modules.pooling import POOLINGS, WEIGHTED_MEANS, make_pooling, mean_over_time


def test_mean_of_what_is_not_padding():
    features = torch.tensor([[[1.0, 10.0], [3.0, 30.0], [99.0, 99.0]], [[1.0, 2.0], [2.0, 4.0], [6.0, 3.0]]])
    padding = torch.tensor([[False, False, True], [False, False, False]])
    torch.testing.assert_close(mean_over_time(features, padding), torch.tensor([[2.0, 20.0], [3.0, 3.0]]))


def test_even_infinite_padding_is_ignored():
    features = torch.tensor([[[1.0], [float("nan")], [float("inf")]]], requires_grad=True)
    mean = mean_over_time(features, torch.tensor([[False, True, True]]))
    assert mean.item() == 1.0
    mean.sum().backward()
    assert features.grad.flatten().tolist() == [1.0, 0.0, 0.0]


def test_half_precision_is_summed_in_single():
    # In bfloat16 a running sum of ones stops at 256.
    ones = torch.ones(1, 2000, 1, dtype=torch.bfloat16)
    mean = mean_over_time(ones, torch.zeros(1, 2000, dtype=torch.bool))
    assert mean.dtype == torch.bfloat16 and mean.item() == 1.0


def frames(dtype=torch.float32):
    torch.manual_seed(0)
    x = torch.randn(3, 6, 4, dtype=dtype)
    padding = torch.arange(6) >= torch.tensor([6, 4, 1])[:, None]
    return x, padding


@pytest.mark.parametrize("score", ["tanh", "linear", "mlp"])
@pytest.mark.parametrize("name", POOLINGS)
def test_padding_changes_nothing(name, score):
    x, padding = frames()
    pool, width = make_pooling(name, 4, score, "xavier")
    pooled = pool(x.masked_fill(padding[..., None], float("inf")), padding)
    assert pooled.shape == (3, width)
    for row, length in enumerate((6, 4, 1)):
        alone = pool(x[row : row + 1, :length], torch.zeros(1, length, dtype=torch.bool))
        torch.testing.assert_close(pooled[row], alone[0])


def test_poolings_are_what_their_names_say():
    x, padding = frames()
    mean = make_pooling("mean", 4)[0](x, padding)
    torch.testing.assert_close(mean[1], x[1, :4].mean(dim=0))
    dropped = make_pooling("mean_drop_last", 4)[0](x, padding)
    torch.testing.assert_close(dropped[0], x[0, :5].mean(dim=0))
    torch.testing.assert_close(dropped[1], x[1, :3].mean(dim=0))
    torch.testing.assert_close(dropped[2], x[2, 0])  # a single frame stays
    torch.testing.assert_close(make_pooling("max", 4)[0](x, padding)[1], x[1, :4].amax(dim=0))


def test_attention_that_starts_at_zero_is_the_mean_and_its_statistics_the_population_ones():
    x, padding = frames()
    attention, _ = make_pooling("attention", 4, init="zero")
    torch.testing.assert_close(attention(x, padding), make_pooling("mean", 4)[0](x, padding))
    both, _ = make_pooling("attentive_statistics", 4, init="zero")
    mean, spread = both(x, padding)[1].chunk(2)
    torch.testing.assert_close(mean, x[1, :4].mean(dim=0))
    torch.testing.assert_close(spread, (x[1, :4].var(dim=0, unbiased=False) + 1e-5).sqrt())


@pytest.mark.parametrize("name", WEIGHTED_MEANS)
def test_a_weighted_mean_has_its_weights(name):
    x, padding = frames()
    pool, _ = make_pooling(name, 4, init="xavier")
    weights = pool.weights(x, padding)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    assert not weights[padding].any()
    torch.testing.assert_close(torch.einsum("bt,btc->bc", weights, x), pool(x, padding))


def test_tanh_attention_is_the_published_formula():
    x, padding = frames()
    pool, _ = make_pooling("attention", 4)
    assert 0 <= pool.score.weight.min() <= pool.score.weight.max() <= 1
    scores = torch.tanh(x[1, :4] @ pool.score.weight[0])
    expected = (scores.softmax(dim=0)[:, None] * x[1, :4]).sum(dim=0)
    torch.testing.assert_close(pool(x, padding)[1], expected)


@pytest.mark.parametrize("name", POOLINGS)
def test_gradients_are_finite_for_a_single_frame(name):
    x = torch.randn(1, 1, 4, requires_grad=True)
    pool, _ = make_pooling(name, 4)
    pool(x, torch.zeros(1, 1, dtype=torch.bool)).sum().backward()
    assert x.grad.isfinite().all()


def test_unknown_names_are_refused():
    with pytest.raises(EmofairError, match="--pooling sum"):
        make_pooling("sum", 4)
    with pytest.raises(EmofairError, match="cosine"):
        make_pooling("attention", 4, "cosine")
