import torch

from emofair.modules.pooling import mean_over_time


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
