"""Exact figures through fairseq's own aggregation, whatever the batches."""

from __future__ import annotations

import io
import math

import pytest
import torch
from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics

from emofair.criterions.base import EmofairCriterion, counts_key, read_key, reducing_one_step, zero_loss
from emofair.errors import EmofairError
from emofair.metrics import classification
from emofair.testing.devices import reads_from_device

KEY = counts_key("softmax", ("sad", "happy"))


class Criterion(EmofairCriterion):
    families = {"softmax": classification}


@pytest.fixture(autouse=True)
def fresh_meters():
    metrics.reset()
    yield
    metrics.reset()


def output(loss, counts):
    counts = torch.tensor(counts, dtype=torch.float64)
    n = int(counts.sum())
    total = torch.tensor(loss, dtype=torch.float64)
    return {"loss": total, "sample_size": n, "nsentences": n, "ntokens": 7 * n, KEY: counts}


OUTPUTS = [output(3.0, [[2, 1], [0, 5]]), output(1.5, [[0, 0], [1, 0]]), output(0.0, [[0, 0], [0, 0]])]
EXPECTED = classification.figures(("sad", "happy"))


def at_once(outputs):
    """As fairseq-validate does it."""
    with metrics.aggregate() as whole:
        Criterion.reduce_metrics(outputs)
    return whole.get_smoothed_values()


def step(outputs, name):
    """As fairseq's trainer does it: the innermost aggregator's values are computed after every batch."""
    with metrics.aggregate(name), metrics.aggregate() as innermost:
        Criterion.reduce_metrics(outputs)
        return innermost.get_smoothed_values()


def batch_by_batch(outputs):
    with metrics.aggregate(new_root=True) as whole:
        for each in outputs:
            step([each], "valid")
    return whole.get_smoothed_values()


def test_one_shot_and_per_batch_agree_and_are_plain_floats():
    figures = at_once(OUTPUTS)
    assert figures == batch_by_batch(OUTPUTS)
    total = sum(each[KEY] for each in OUTPUTS)
    assert figures == {"loss": 4.5 / 9, **{name: figure(total) for name, figure in EXPECTED.items()}}
    assert all(type(value) is float for value in figures.values())


def test_order_of_batches_does_not_matter():
    assert at_once(OUTPUTS) == at_once(OUTPUTS[::-1])


def test_an_update_does_not_wait_for_the_device():
    """fairseq computes every value of the innermost aggregator at each update; ours must not be read there."""
    with metrics.aggregate("train"):
        step(OUTPUTS[:1], "train_inner")
        assert reads_from_device(step, OUTPUTS[:1], "train_inner") == 0
    assert reads_from_device(at_once, OUTPUTS) > 0  # the counter does count


def test_training_figures_are_there_when_fairseq_prints_them():
    first, second = OUTPUTS[:2]
    expected = [at_once(outputs) for outputs in ([first, second], [second], [first, second, second])]
    with metrics.aggregate("train"):
        for each in (first, second):
            step([each], "train_inner")
        assert metrics.get_smoothed_values("train_inner") == expected[0]
        metrics.reset_meters("train_inner")
        step([second], "train_inner")
        assert metrics.get_smoothed_values("train_inner") == expected[1]
        assert metrics.get_smoothed_values("train") == expected[2]


def test_the_innermost_loss_is_the_batch_loss():
    with metrics.aggregate("train"):
        assert float(step(OUTPUTS[:1], "train_inner")["loss"]) == 3.0 / 8


def test_nothing_counted_is_not_the_best_loss():
    values = at_once([OUTPUTS[2]])
    assert math.isnan(values["loss"]) and values["accuracy"] == 0.0
    with metrics.aggregate("train"):
        step(OUTPUTS[:1], "train_inner")
        metrics.reset_meters("train_inner")  # an epoch whose every update overflowed is printed in this state
        assert all(math.isnan(value) for value in metrics.get_smoothed_values("train_inner").values())


def test_meters_survive_a_checkpoint():
    """Saved in extra_state, read back without unpickling code, and counting on from there."""
    with metrics.aggregate("train"):
        step(OUTPUTS[:1], "train_inner")
    file = io.BytesIO()
    torch.save(metrics.state_dict(), file)
    metrics.reset()
    file.seek(0)
    metrics.load_state_dict(torch.load(file, weights_only=True))
    with metrics.aggregate("train"):
        step(OUTPUTS[1:2], "train_inner")
        resumed = metrics.get_smoothed_values("train")
    assert resumed == at_once(OUTPUTS[:2])


def test_sums_beyond_single_precision_are_exact():
    """2 ** 24 + 1 is the first count that float32 loses."""
    big = output(0.0, [[2.0**24, 0], [0, 0]])
    figures = batch_by_batch([big, output(0.0, [[0, 1], [0, 0]])])
    assert figures["accuracy"] == 2**24 / (2**24 + 1) != 1.0


def test_reducing_one_step_is_seen_only_inside_the_trainer():
    assert not reducing_one_step()
    with metrics.aggregate("valid"):
        assert reducing_one_step()
    with metrics.aggregate():
        assert not reducing_one_step()


def test_keys_carry_the_classes():
    assert read_key(KEY) == ("softmax", ("sad", "happy"))
    assert read_key(counts_key("score", ())) == ("score", ())
    with pytest.raises(EmofairError, match="class name"):
        counts_key("softmax", ("a|b",))


def test_zero_loss_reaches_every_trainable_parameter():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    model[0].bias.requires_grad_(False)
    loss = zero_loss(model)
    loss.backward()
    assert loss.item() == 0.0
    assert [p.grad is not None for p in model.parameters()] == [True, False, True, True]
    with torch.no_grad():
        assert zero_loss(model).item() == 0.0


def test_it_is_a_fairseq_criterion_that_can_be_summed():
    assert issubclass(Criterion, FairseqCriterion)
    assert Criterion.logging_outputs_can_be_summed() is True
