"""What every criterion of emofair does the same way: emit sums, publish exact figures.

A logging output holds numbers and tensors that may be added in any order, over batches, workers and shards:

- ``loss`` (summed, in the unit in which it is shown), ``sample_size`` (its divisor), ``nsentences``, ``ntokens``;
- one float64 tensor of counts per family of metrics, under a key that names the classes (`counts_key`), because
  fairseq hands `reduce_metrics` the class of the criterion and not the object.

Sums are logged under keys with a leading underscore, which fairseq hides; what it shows is derived from them. fairseq
adds them up in float64 on every path: `SumMeter` keeps the dtype, and workers are reduced as doubles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics
from fairseq.logging.meters import MetersDict
from torch import Tensor, nn

from emofair.errors import EmofairError
from emofair.metrics.classification import Figure

NOT_SUMMED = ("ntokens",)
LOSS_PRIORITY, FIGURE_PRIORITY = 0, 20


class MetricFamily(Protocol):
    """A module of `emofair.metrics`: from the names of classes to figures and to a text table."""

    def figures(self, names: Sequence[str]) -> Mapping[str, Figure]:
        """Every figure by name, as a function of the summed counts."""

    def report(self, sums: Tensor, names: Sequence[str]) -> str:
        """The figures of every class as a text table."""

    def confusion(self, sums: Tensor, names: Sequence[str]) -> np.ndarray | None:
        """The matrix [true, predicted] of classes; None where there are none."""

    def constant_guess(self, target: Tensor, names: Sequence[str]) -> tuple[str, Tensor]:
        """The best answer that is the same for every item of ``target`` [N], and the counts that it gives."""


def counts_key(family: str, names: Sequence[str]) -> str:
    """Key of a logging output that says what its counts are: ``softmax:sad|happy``."""
    for name in names:
        if "|" in name:
            raise EmofairError(f"class name {name!r} contains '|'", remedy="Rename the class")
    return f"{family}:{'|'.join(names)}"


def read_key(key: str) -> tuple[str, tuple[str, ...]]:
    """The family and the class names of a `counts_key`; names are empty where there are none."""
    family, _, names = key.partition(":")
    return family, tuple(names.split("|")) if names else ()


def reducing_one_step() -> bool:
    """Whether fairseq's trainer is reducing a single update or validation batch, not a whole pass."""
    active = metrics.get_active_aggregators()
    return any(metrics.get_meters(name) is each for name in ("train", "valid") for each in active)


def zero_loss(model: nn.Module) -> Tensor:
    """A zero that is connected to every trainable parameter, for a batch without items."""
    parameters = list(model.parameters())
    if not torch.is_grad_enabled():
        return parameters[0].new_zeros(())
    return sum((p.reshape(-1)[:1].float() * 0).sum() for p in parameters if p.requires_grad)


class EmofairCriterion(FairseqCriterion):
    """Base of all criterions: figures are exact for any batch size and any number of workers.

    A subclass lists in ``families`` the metrics it counts and emits their sums under `counts_key`; those that an object
    emits are its ``counts_keys``. All figures are plain floats, and each may be a ``--best-checkpoint-metric``.
    """

    families: ClassVar[Mapping[str, MetricFamily]] = {}
    counts_keys: tuple[str, ...] = ()

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Always: fairseq then reduces workers with one all-reduce, and ignores filler batches."""
        return True

    @classmethod
    def sum_up(cls, logging_outputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Add logging outputs key by key."""
        keys = dict.fromkeys(key for output in logging_outputs for key in output)
        return {key: sum(output[key] for output in logging_outputs if key in output) for key in keys}

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Mapping[str, Any]]) -> None:
        """Log the sums, and derive the loss and every figure from them."""
        totals = cls.sum_up(logging_outputs)
        for key, total in totals.items():
            if key not in NOT_SUMMED:
                metrics.log_scalar_sum(f"_{key}", total)
        aggregators = metrics.get_active_aggregators()
        if reducing_one_step():
            # fairseq evaluates the innermost aggregator after every batch and drops the result. Figures there would
            # make the host wait for the device each time; a loss that stays a tensor does not.
            *aggregators, step = aggregators
            _derive(step, "loss", _loss_as_is, LOSS_PRIORITY)
        for aggregator in aggregators:
            _derive(aggregator, "loss", _loss, LOSS_PRIORITY)
            for name, figure in cls.figures(totals).items():
                _derive(aggregator, name, figure, FIGURE_PRIORITY)

    @classmethod
    def figures(cls, keys: Sequence[str] | Mapping[str, Any]) -> dict[str, Callable[[MetersDict], float]]:
        """Every figure that follows from the counts under ``keys``, by name, as functions of fairseq's meters."""
        result: dict[str, Callable[[MetersDict], float]] = {}
        for key in keys:
            family, names = read_key(key)
            if family in cls.families:
                for name, figure in cls.families[family].figures(names).items():
                    result[name] = partial(_from_meters, key=f"_{key}", figure=figure)
        return result

    def published(self) -> list[str]:
        """Names of the loss and the figures that a validation publishes."""
        return ["loss", *self.figures(self.counts_keys)]

    @classmethod
    def report(cls, logging_outputs: Sequence[Mapping[str, Any]]) -> str:
        """The full table per class of a whole pass, as text."""
        parts = []
        for key, total in cls.sum_up(logging_outputs).items():
            family, names = read_key(key)
            if family in cls.families:
                parts.append(cls.families[family].report(total, names))
        return "\n\n".join(parts)

    def finish_validation(self, logging_outputs: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Called once at the end of a validation pass over one subset, on every worker.

        ``logging_outputs`` are those of the whole pass under fairseq-validate, and None during training.
        """


def _derive(aggregator: MetersDict, key: str, function: Callable[[MetersDict], Any], priority: int) -> None:
    # metrics.log_derived for one aggregator instead of all active ones.
    if key not in aggregator:
        aggregator.add_meter(key, MetersDict._DerivedMeter(function), priority)


def _from_meters(meters: MetersDict, key: str, figure: Figure) -> float:
    total = meters[key].sum
    # fairseq resets meters to the number 0; an epoch whose every update overflowed is read in that state.
    return figure(total) if torch.is_tensor(total) else math.nan


def _loss(meters: MetersDict) -> float:
    n = float(meters["_sample_size"].sum)
    return float(meters["_loss"].sum) / n if n else math.nan


def _loss_as_is(meters: MetersDict) -> Tensor | float:
    total, n = meters["_loss"].sum, meters["_sample_size"].sum
    return total / n if torch.is_tensor(total) or n else math.nan
