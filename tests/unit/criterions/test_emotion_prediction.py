"""Losses, divisors and figures of each target, first against torch, then through the real commands."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from fairseq.logging import metrics
from sklearn import metrics as reference
from torch import nn

from emofair.criterions.emotion_prediction import EmotionCriterionConfig, EmotionPredictionCriterion
from emofair.data.labels import MODES
from emofair.errors import EmofairError
from emofair.testing.devices import reads_from_device

TARGETS = list(MODES)
HEAD = "emotion_classification_head"


class TableModel(nn.Module):
    """The model contract with one learnt row of logits per utterance."""

    def __init__(self, n, width, head=HEAD):
        super().__init__()
        self.rows = nn.Embedding(n, width)
        self.head = head

    def forward(self, text, features_only, classification_head_name):
        assert features_only and classification_head_name == self.head
        return self.rows(text[:, 0]), {}


def make(target, n=23, save=None, eval_metric=False, head=HEAD):
    torch.manual_seed(0)
    mode = MODES[target]
    flags = {name: name == target for name in MODES}
    dataset = SimpleNamespace(ids=[f"utt{i}" for i in range(n)])
    task = SimpleNamespace(cfg=SimpleNamespace(**flags), dataset=lambda split: dataset)
    cfg = EmotionCriterionConfig(classification_head_name=head, eval_metric=eval_metric, save_predictions=save)
    labels = (torch.randint(-12, 13, (n,)) / 4.0) if mode.is_regression else torch.arange(n) % len(mode.classes)
    return mode, EmotionPredictionCriterion(cfg, task), TableModel(n, mode.num_outputs, head), labels


def sample(labels, *indices):
    index = torch.tensor(indices)
    return {
        "id": index,
        "split": "valid",
        "net_input": {"text": index.view(-1, 1)},
        "target": labels[index],
        "nsentences": len(indices),
        "ntokens": 3 * len(indices),
    }


def batches(labels, size):
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(size)).tolist()
    return [sample(labels, *order[i : i + size]) for i in range(0, len(order), size)]


def figures(criterion, model, samples):
    criterion.eval()
    with torch.no_grad():
        outputs = [criterion(model, each)[2] for each in samples]
    metrics.reset()
    with metrics.aggregate() as whole:
        criterion.reduce_metrics(outputs)
    return whole.get_smoothed_values()


def expected_loss(mode, logits, target):
    """Sum over the batch, and what is published for it per item."""
    n = len(target)
    if mode.kind == "softmax":
        total = -logits.log_softmax(-1)[range(n), target].sum()
        return total, total / n / math.log(2)
    if mode.kind == "binary":
        k = len(mode.classes)
        one_hot = F.one_hot(target, k)
        total = sum(F.cross_entropy(logits[:, 2 * e : 2 * e + 2], one_hot[:, e], reduction="sum") for e in range(k))
        return total, total / (k * n) / math.log(2)
    error = logits[:, 0] - target
    total = error.abs().sum() if mode.kind == "l1" else (error**2).sum()
    return total, total / n


@pytest.mark.parametrize("target", TARGETS)
def test_loss_divisor_and_what_is_published(target):
    mode, criterion, model, labels = make(target)
    batch = sample(labels, *range(23))
    loss, sample_size, output = criterion(model, batch)
    total, published = expected_loss(mode, model.rows.weight, labels)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(total.item(), rel=1e-6)
    assert (sample_size, output["sample_size"], output["nsentences"], output["ntokens"]) == (23, 23, 23, 69)
    values = figures(criterion, model, [batch])
    assert values["loss"] == pytest.approx(published.item(), rel=1e-6)
    if mode.kind == "l1":
        assert values["loss"] == pytest.approx(values["mae"], rel=1e-7)


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_figures_for_every_batch_size(target):
    _, criterion, model, labels = make(target)
    whole = figures(criterion, model, [sample(labels, *range(23))])
    for size in (1, 4, 22):
        assert figures(criterion, model, batches(labels, size)) == pytest.approx(whole, rel=1e-12)
    # A worker without data, in the first place and in the last.
    assert figures(criterion, model, [{}, *batches(labels, 8), None]) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("target", TARGETS)
def test_an_empty_batch_counts_nothing(target):
    _, criterion, model, labels = make(target)
    loss, sample_size, empty = criterion(model, {})
    loss.backward()
    assert loss.item() == 0 and sample_size == 0
    _, _, full = criterion(model, sample(labels, 0, 1))
    assert list(empty) == list(full)
    assert all(not torch.as_tensor(value).any() for value in empty.values())
    assert all(torch.as_tensor(empty[key]).shape == torch.as_tensor(full[key]).shape for key in full)


@pytest.mark.parametrize("target", TARGETS)
def test_a_training_step_does_not_wait_for_the_device(target):
    _, criterion, model, labels = make(target)
    assert reads_from_device(criterion, model, sample(labels, *range(23))) == 0


@pytest.mark.parametrize("target", TARGETS)
def test_a_batch_of_one_is_one_item(target):
    """The original squeezed it and compared eight numbers with one: accuracies above 100 %."""
    mode, criterion, model, labels = make(target)
    values = figures(criterion, model, [sample(labels, 5)])
    assert all(0 <= value <= 1 for name, value in values.items() if "accuracy" in name)
    _, published = expected_loss(mode, model.rows.weight[5:6], labels[5:6])
    assert values["loss"] == pytest.approx(published.item(), rel=1e-6)


def test_binary_figures_name_the_emotions():
    _, criterion, model, labels = make("binary_target_iemocap")
    values = figures(criterion, model, batches(labels, 4))
    pairs = model.rows.weight.view(23, 4, 2)
    says = pairs[..., 1] > pairs[..., 0]
    for i, name in enumerate(("neutral", "sad", "angry", "happy")):
        assert values[f"accuracy_{name}"] == reference.accuracy_score(labels == i, says[:, i])
        assert values[f"f1pos_{name}"] == pytest.approx(reference.f1_score(labels == i, says[:, i]))


def test_gradient_of_binary_is_k_times_the_mean_decision():
    _, criterion, model, labels = make("binary_target_iemocap")
    loss, sample_size, output = criterion(model, sample(labels, *range(23)))
    assert loss.item() / sample_size == pytest.approx(4 * math.log(2) * output["loss"].item() / 23)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("target", TARGETS)
def test_half_precision_logits_are_scored_in_single(target, dtype):
    _, criterion, model, labels = make(target)
    loss, _, _ = criterion(model.to(dtype), sample(labels, *range(23)))
    assert loss.dtype == torch.float32
    rounded, _ = expected_loss(criterion.mode, model.rows.weight.float(), labels)
    assert loss.item() == pytest.approx(rounded.item(), rel=1e-6)


def test_the_head_name_is_honoured():
    _, criterion, model, labels = make("softmax_target_meld", head="other")
    assert criterion(model, sample(labels, 0))[1] == 1


def test_a_head_of_another_target_is_refused():
    _, criterion, _, labels = make("softmax_target_meld")
    with pytest.raises(EmofairError, match="has 8 outputs, and the target softmax_meld needs 7"):
        criterion(TableModel(23, 8), sample(labels, 0))


def test_missing_labels_are_told():
    _, criterion, model, labels = make("softmax_target_meld")
    batch = sample(labels, 0)
    del batch["target"]
    with pytest.raises(EmofairError, match="no labels"):
        criterion(model, batch)


def test_predictions_are_of_the_last_validation_only(tmp_path):
    path = tmp_path / "p.tsv"
    _, criterion, model, labels = make("softmax_target_meld", save=str(path))
    criterion.train()
    criterion(model, sample(labels, 0, 1))
    assert not path.exists()
    for _ in range(2):
        for batch in batches(labels, 5):
            criterion.eval()
            criterion(model, batch)
        criterion.finish_validation()
        criterion.train()
    lines = path.read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in lines[1:]) == sorted(f"utt{i}" for i in range(23))


def test_the_table_is_printed_on_request_only(caplog):
    for eval_metric in (False, True):
        _, criterion, model, labels = make("softmax_target_meld", eval_metric=eval_metric)
        outputs = [criterion.eval()(model, batch)[2] for batch in batches(labels, 4)]
        caplog.clear()
        with caplog.at_level("INFO"):
            criterion.finish_validation(outputs)
        assert ("surprise" in caplog.text) is eval_metric
