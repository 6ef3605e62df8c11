"""Score a checkpoint on one split: the figures of fairseq-validate, with what a reader needs to judge them."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from emofair.errors import EmofairError
from emofair.inference import provenance
from emofair.inference.checkpoint import LoadedCheckpoint, load_checkpoint
from emofair.inference.training_command import settings, training_command
from emofair.protocol import is_laxer

logger = logging.getLogger(__name__)

PREDICTIONS = "predictions.tsv"
# fairseq's own meters of speed and batch size; they say nothing about the model.
NOT_METRICS = ("wps", "wpb", "bsz")


@dataclass(frozen=True)
class Pass:
    """One pass over a split: the criterion's logging outputs, the figures and what they were counted from."""

    outputs: list[dict[str, Any]]
    metrics: dict[str, float]
    targets: Any  # Tensor [N], or None for data without one target per item


def evaluate(
    checkpoint: str | os.PathLike[str],
    data: str | os.PathLike[str],
    split: str = "test",
    *,
    data_raw: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    max_tokens: int | None = None,
    device: str = "cpu",
    protocol: str | None = None,
    fold: str | None = None,
    num_workers: int = 0,
    window_seconds: float | None = None,
    out_dir: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Run ``split`` of ``data`` once through the model of ``checkpoint`` and return everything about the result.

    The batches are those of the task's data set, shortest items first, of the size used in training unless
    ``batch_size`` (items) or ``max_tokens`` is given; it changes no figure beyond the noise of floats. With ``out_dir``
    the predictions go to its ``predictions.tsv``. ``window_seconds``: waveform models judge longer clips in overlapping
    windows. ``protocol`` defaults to that of the training; a result is never called by a stricter one. Raises
    `EmofairError` for bad input.
    """
    from emofair.inference.listening import window_options

    overrides: dict[str, Any] = {"data": os.fspath(data), "save_predictions": None}
    if data_raw is not None:
        overrides["data_raw"] = os.fspath(data_raw)
    if protocol is not None:
        overrides["protocol"] = protocol
    overrides |= window_options(window_seconds)
    if out_dir is not None:
        overrides["save_predictions"] = os.path.join(out_dir, PREDICTIONS)
    loaded = load_checkpoint(checkpoint, device=device, **overrides)
    trained_under = loaded.facts.get("protocol", "clean")
    if protocol is not None and is_laxer(trained_under, protocol):
        raise EmofairError(
            f"trained under the {trained_under} protocol, so its result cannot be called {protocol}",
            file=checkpoint,
            remedy=f"Leave --protocol out, or train under the {protocol} protocol",
        )
    loaded.task.check_data(split)
    from emofair.checkpoints.fairseq_form import configuration_of

    with configuration_of(checkpoint):
        criterion = loaded.task.build_criterion(criterion_config(loaded))
        trained_with = {"settings": settings(loaded.trained_cfg), "train_command": training_command(loaded.trained_cfg)}
    done = run_split(
        loaded, criterion, split, batch_size=batch_size, max_tokens=max_tokens, device=device, num_workers=num_workers
    )
    dataset = loaded.task.dataset(split)
    figures = {name: value if math.isfinite(value) else None for name, value in sorted(done.metrics.items())}
    guess, majority, confusion, confusion_classes = counted(criterion, done)
    return {
        "system": type(loaded.model).__module__.rsplit(".", 1)[-1],
        "task": loaded.facts["task"],
        "model": loaded.facts["model"],
        **(loaded.model.facts() if hasattr(loaded.model, "facts") else {}),
        "split": split,
        "n": int(sum(output["nsentences"] for output in done.outputs)),
        "protocol": str(loaded.task.cfg.protocol),
        "target": loaded.facts.get("target"),
        "classes": loaded.facts.get("classes"),
        "metrics": figures,
        "confusion": confusion,
        "confusion_classes": confusion_classes,
        "majority": majority,
        "majority_guess": guess,
        "checkpoint": os.fspath(checkpoint),
        "checkpoint_sha256": provenance.file_sha256(checkpoint),
        "seed": loaded.facts.get("seed"),
        "fold": fold or provenance.fold_of(data),
        "updates": loaded.facts.get("updates"),
        "selected_on": loaded.facts.get("selected_on"),
        "selected_value": loaded.facts.get("selected_value"),
        "data": os.fspath(data),
        "data_sha256": provenance.items_sha256(dataset.ids, labels_of(dataset)),
        **trained_with,
        "versions": provenance.versions(),
        "commit": provenance.source_commit(),
    }


def criterion_config(loaded: LoadedCheckpoint) -> Any:
    """The stored criterion options, with those that belong to the task taken from it again.

    fairseq stores the configuration resolved, so that what the criterion took from the task would be that of the
    training.
    """
    from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
    from omegaconf import open_dict

    cfg = loaded.cfg.criterion
    with open_dict(cfg):
        for each in fields(CRITERION_DATACLASS_REGISTRY[cfg._name]):
            if isinstance(each.default, str) and each.default.startswith("${task."):
                cfg[each.name] = loaded.task.cfg[each.default[len("${task.") : -1]]
    return cfg


def run_split(
    loaded: LoadedCheckpoint,
    criterion: Any,
    split: str,
    *,
    batch_size: int | None = None,
    max_tokens: int | None = None,
    device: str = "cpu",
    num_workers: int = 0,
) -> Pass:
    """One pass over a split, step by step what fairseq-validate does.

    Clips that are silent or shorter than a frame count, for a published test set has them; a warning names them.
    """
    import torch
    from fairseq import utils
    from fairseq.logging import metrics
    from tqdm import tqdm

    from emofair.checkpoints.loaded_speech import listing
    from emofair.inference.listening import unheard

    task, model = loaded.task, loaded.model
    if num_workers < 0:
        raise EmofairError(f"--num-workers {num_workers} is no number of processes", remedy="Give 0 or more")
    criterion.to(device).eval()
    task.load_dataset(split, combine=False, epoch=1)
    if not len(task.dataset(split)):
        raise EmofairError(f"split {split!r} has no items", file=task.cfg.data)
    batches = task.get_batch_iterator(
        task.dataset(split),
        **batch_limits(loaded, batch_size, max_tokens),
        max_positions=utils.resolve_max_positions(task.max_positions(), model.max_positions()),
        num_workers=num_workers,
    ).next_epoch_itr(shuffle=False)
    outputs, targets, nothing = [], [], []
    for sample in tqdm(batches, desc=split, unit="batch", delay=2, leave=False, file=sys.stderr, disable=None):
        if "wav" in sample["net_input"]:
            nothing += unheard(sample, model.spec.receptive_field)
        if device != "cpu":
            sample = utils.move_to_cuda(sample, torch.device(device))
        outputs.append(task.valid_step(sample, model, criterion)[2])
        targets.append(sample.get("target"))
    if nothing:
        names = listing([task.dataset(split).ids[index] for index in sorted(nothing)])
        logger.warning("%d clips of %s are silent or shorter than a frame, and count: %s", len(nothing), split, names)
    with metrics.aggregate(new_root=True) as aggregator:
        task.reduce_metrics(outputs, criterion)
        values = aggregator.get_smoothed_values()
    figures = {name: float(value) for name, value in values.items() if name not in NOT_METRICS}
    known = all(isinstance(target, torch.Tensor) and target.dim() == 1 for target in targets)
    return Pass(outputs, figures, torch.cat(targets) if known else None)


def batch_limits(loaded: LoadedCheckpoint, batch_size: int | None, max_tokens: int | None) -> dict[str, int | None]:
    """Limits of a batch: those asked for, else those of the validation during training."""
    if batch_size is None and max_tokens is None:
        stored = loaded.cfg.dataset
        batch_size = stored.get("batch_size_valid") or stored.get("batch_size")
        max_tokens = stored.get("max_tokens_valid") or stored.get("max_tokens")
    for name, value in (("--batch-size", batch_size), ("--max-tokens", max_tokens)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise EmofairError(f"{name} {value} leaves nothing to do", remedy=f"Give {name} 1 or more")
    return {"max_sentences": batch_size, "max_tokens": max_tokens}


def counted(
    criterion: Any, done: Pass
) -> tuple[str | None, dict[str, float] | None, list[list[int]] | None, list[str] | None]:
    """The best constant answer and its figures, the confusion matrix and its classes; None for what there is not."""
    from emofair.criterions.base import read_key

    for key, sums in criterion.sum_up(done.outputs).items():
        family, names = read_key(key)
        if family not in criterion.families:
            continue
        measure = criterion.families[family]
        guess = majority = None
        if done.targets is not None:
            guess, constant = measure.constant_guess(done.targets, names)
            majority = {name: figure(constant) for name, figure in sorted(measure.figures(names).items())}
        matrix = measure.confusion(sums, names)
        if matrix is None:
            return guess, majority, None, None
        return guess, majority, matrix.astype(int).tolist(), list(names)
    return None, None, None, None


def labels_of(dataset: Any) -> list[Any] | None:
    """Labels of a data set in the order of its ids, if it holds them."""
    labels = getattr(dataset, "labels", None)
    return None if labels is None else [label.item() if hasattr(label, "item") else label for label in labels]


def summary(result: Mapping[str, Any]) -> str:
    """One line for people: the first figures, the protocol, the floor."""
    floor = result["majority"] or {}
    shown = [name for name in ("accuracy", "f1", "uar", "mae", "corr") if name in result["metrics"]]
    parts = [f"{name} {result['metrics'][name]:.4f}" for name in shown]
    parts += [f"always {result['majority_guess']!r}: {shown[0]} {floor[shown[0]]:.4f}"] if floor and shown else []
    return (
        f"{result['split']} of {Path(result['data'])}: {', '.join(parts)} ({result['n']} items, {result['protocol']})"
    )
