"""Masked prediction: the loss against torch, its divisor, its figures."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.logging import metrics
from torch import nn

from emofair.criterions.pseudo_label import PseudoLabelCriterion

CLUSTERS = (4, 7)


class Heads(nn.Module):
    def __init__(self, n):
        super().__init__()
        torch.manual_seed(0)
        self.tables = nn.ModuleList(nn.Embedding(n, k) for k in CLUSTERS)

    def forward(self, index):
        return [table(index) for table in self.tables]


def batch(index):
    target = torch.stack([index % 4, index % 7], dim=1)
    more = {"n_frames": 3 * len(index), "nsentences": 1, "ntokens": 0}
    return {"net_input": {"index": index}, "target": target, **more}


@pytest.fixture
def criterion():
    return PseudoLabelCriterion(None, SimpleNamespace(n_clusters=list(CLUSTERS)))


@pytest.mark.parametrize("parts", [1, 3])
def test_the_loss_is_the_sum_of_one_mean_per_granularity(criterion, parts):
    model, index = Heads(30), torch.arange(30)
    means = [nn.functional.cross_entropy(t.weight, index % k) for t, k in zip(model.tables, CLUSTERS, strict=True)]
    done = [criterion(model, batch(part)) for part in index.tensor_split(parts)]
    torch.testing.assert_close(sum(loss for loss, _, _ in done) / sum(n for _, n, _ in done), sum(means))
    with metrics.aggregate(new_root=True) as aggregator:
        criterion.reduce_metrics([output for _, _, output in done])
        figures = aggregator.get_smoothed_values()
    assert figures["loss"] == pytest.approx(sum(means).item() / math.log(2), rel=1e-6)
    right = [(t.weight.argmax(dim=1) == index % k).float().mean().item() for t, k in zip(model.tables, CLUSTERS)]  # noqa: B905
    assert [figures["accuracy_4"], figures["accuracy_7"]] == pytest.approx(right)
    assert figures["accuracy"] == pytest.approx(sum(right) / 2)
    assert figures["masked"] == pytest.approx(1 / 3)


def test_a_batch_without_masked_frames_has_a_connected_zero(criterion):
    model = Heads(5)
    nothing = batch(torch.arange(0))
    loss, size, output = criterion(model, nothing)
    loss.backward()
    assert (loss.item(), size) == (0.0, 0)
    assert all(table.weight.grad.eq(0).all() for table in model.tables)
    assert output.keys() == criterion(model, {})[2].keys() == criterion(model, batch(torch.arange(5)))[2].keys()
