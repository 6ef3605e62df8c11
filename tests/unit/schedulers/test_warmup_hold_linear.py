"""The schedule against its published formula."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf

from emofair.errors import EmofairError
from emofair.schedulers.warmup_hold_linear import WarmupHoldLinear, WarmupHoldLinearConfig


def schedule(**options):
    from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig

    cfg = OmegaConf.structured(WarmupHoldLinearConfig(**{"max_update": 200, "lr": [0.5], **options}))
    adam = OmegaConf.structured(FairseqAdamConfig(lr=[0.5], tpu=False))
    return WarmupHoldLinear(cfg, FairseqAdam(adam, [torch.nn.Parameter(torch.zeros(1))]))


def test_every_update_has_the_published_rate():
    made = schedule(warmup_updates=20)
    total, w, h = 200, 20, 10
    expected = [s / w if s < w else 1 if s < w + h else max(0, (total - s) / (total - w - h)) for s in range(220)]
    assert [made.learning_rate(s) / 0.5 for s in range(220)] == pytest.approx(expected)
    assert made.optimizer.get_lr() == 0  # before the first update
    assert made.step_update(10) == made.optimizer.get_lr() == pytest.approx(0.25)
    assert made.step(1) == pytest.approx(0.25)


def test_warm_up_as_a_share_of_all_updates():
    made = schedule(warmup_ratio=0.05, warmup_updates=77)
    assert made.learning_rate(5) == pytest.approx(0.25)
    assert made.learning_rate(10) == 0.5


def test_the_end_can_be_above_zero():
    made = schedule(warmup_updates=0, hold_ratio=0.0, end_learning_rate=0.1)
    assert [made.learning_rate(s) for s in (0, 100, 200, 300)] == pytest.approx([0.5, 0.3, 0.1, 0.1])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_update": 0}, "--max-update"),
        ({"warmup_updates": 300}, "do not fit"),
        ({"lr": [0.1, 0.2]}, "one learning rate"),
    ],
)
def test_bad_options_are_told(options, told):
    with pytest.raises(EmofairError, match=told):
        schedule(**options)
