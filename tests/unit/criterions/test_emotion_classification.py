"""The weighted loss against torch, over any split into batches, and its figures."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.logging import metrics
from torch import nn

from emofair.criterions.emotion_classification import EmotionClassificationConfig, EmotionClassificationCriterion
from emofair.data.labels import TargetMode
from emofair.errors import EmofairError
from emofair.testing.devices import reads_from_device

CLASSES = ("angry", "neutral", "sad")
WEIGHTS = torch.tensor([0.2, 0.5, 0.3])


class Table(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.rows = nn.Embedding(n, len(CLASSES))

    def forward(self, wav):
        return self.rows(wav), {}


@pytest.fixture
def made():
    torch.manual_seed(0)
    return make(), Table(24)


def make(**options):
    mode = TargetMode("emotion", "softmax", CLASSES, 3)
    task = SimpleNamespace(mode=mode, class_weights=lambda: WEIGHTS)
    return EmotionClassificationCriterion(
        EmotionClassificationConfig(eval_metric=False, save_predictions=None, **options), task
    )


def sample(index, target):
    index = torch.as_tensor(index)
    return {"net_input": {"wav": index}, "target": target, "nsentences": len(index), "ntokens": 0, "split": "train"}


def labels():
    return torch.arange(24) ** 2 % 3


@pytest.mark.parametrize("parts", [1, 2, 4, 7])
def test_any_split_into_batches_gives_torchs_weighted_mean_and_gradient(made, parts):
    criterion, model = made
    reference = nn.functional.cross_entropy(model.rows.weight, labels(), WEIGHTS)
    expected = torch.autograd.grad(reference, model.rows.weight)[0]
    total, divisor, outputs = 0.0, 0.0, []
    for index in torch.arange(24).tensor_split(parts):
        loss, size, output = criterion(model, sample(index, labels()[index]))
        total, divisor = total + loss, divisor + size
        outputs.append(output)
    torch.testing.assert_close(total / divisor, reference)
    torch.testing.assert_close(torch.autograd.grad(total, model.rows.weight)[0] / divisor, expected)
    with metrics.aggregate(new_root=True) as aggregator:
        criterion.reduce_metrics(outputs)
        figures = aggregator.get_smoothed_values()
    assert figures["loss"] == pytest.approx(reference.item() / math.log(2), rel=1e-6)
    right = model.rows.weight.argmax(dim=1) == labels()
    assert figures["accuracy"] == pytest.approx(right.float().mean().item())
    recalls = [right[labels() == k].float().mean().item() for k in labels().unique().tolist()]
    assert figures["uar"] == pytest.approx(sum(recalls) / len(recalls))


def test_distributions_and_smoothing_are_torchs(made):
    criterion, model = made
    shares = torch.rand(24, 3).softmax(dim=1)
    loss, _, output = criterion(model, sample(torch.arange(24), shares))
    reference = nn.functional.cross_entropy(model.rows.weight, shares, WEIGHTS, reduction="sum")
    torch.testing.assert_close(loss, reference)
    assert output["sample_size"].item() == pytest.approx((shares * WEIGHTS).sum().item())
    loss, size, _ = make(label_smoothing=0.1)(model, sample(torch.arange(24), labels()))
    reference = nn.functional.cross_entropy(model.rows.weight, labels(), WEIGHTS, label_smoothing=0.1)
    torch.testing.assert_close(loss / size, reference)


def test_an_empty_batch_is_a_connected_zero(made):
    criterion, model = made
    loss, size, output = criterion(model, {})
    loss.backward()
    assert (loss.item(), size, output["nsentences"]) == (0.0, 0.0, 0)
    assert model.rows.weight.grad.eq(0).all()
    full = criterion(model, sample(torch.arange(24), labels()))[2]
    assert output.keys() == full.keys()


def test_nothing_is_read_from_the_device(made):
    criterion, model = made
    assert reads_from_device(criterion, model, sample(torch.arange(24), labels())) == 0


def test_a_split_without_labels_and_a_bad_option_are_told(made):
    criterion, model = made
    batch = sample([0, 1], None)
    del batch["target"]
    with pytest.raises(EmofairError, match="split train has no labels"):
        criterion(model, batch)
    with pytest.raises(EmofairError, match=r"--label-smoothing 1\.0"):
        make(label_smoothing=1.0)
