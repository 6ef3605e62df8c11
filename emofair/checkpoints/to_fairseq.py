"""Weights from elsewhere as a checkpoint of this plugin, in the form that fairseq-train writes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from emofair.checkpoints import flea, huggingface_folder, robertaemo, safe
from emofair.checkpoints.fairseq_form import as_dict, configuration_of
from emofair.checkpoints.loaded_speech import check_fit
from emofair.errors import EmofairError

if TYPE_CHECKING:
    from omegaconf import DictConfig

# The original looks at its target options in this order, and takes the first that is set.
TARGETS = ("regression_target_mos", "binary_target_iemocap", "softmax_target_meld", "regression_target")
HEAD = "emotion_classification_head"
# Facts about the training that results are reported with: where the best model was chosen, and the seed.
_KEPT = ("seed", "valid_subset", "best_checkpoint_metric")


def convert_robertaemo(
    path: str | PathLike[str],
    out: str | PathLike[str],
    *,
    text_heads: int | None = None,
    speech_heads: int | None = None,
    trust: bool | None = None,
) -> dict[str, Any]:
    """Rewrite a fine-tuned checkpoint of the original robertaEMO code, so that every command here takes it.

    What the original saw of the test set is not known, so its results are marked with the protocol ``paper``. Returns
    facts about the model; ``text_heads``, ``speech_heads`` and ``trust`` as for `robertaemo.read_upstream`. Raises
    `EmofairError` for another file, and for a target that does not exist here.
    """
    upstream = robertaemo.read_upstream(path, text_heads=text_heads, speech_heads=speech_heads, trust=trust)
    stored = safe.load(path, trust=trust)
    target = next((name for name in TARGETS if upstream.task.get(name)), None)
    if target is None:
        raise EmofairError("does not tell what it predicts: none of its target options is set", file=path)
    head, weights = _one_head(upstream.state, path)
    outputs = weights[f"classification_heads.{head}.out_proj.weight"].shape[0]
    arguments = ["--task", "emotion_prediction", "--arch", "robertaEMO", "--criterion", "emotion_prediction_cri"]
    arguments += [f"--{target.replace('_', '-')}", "--num-classes", str(outputs), "--protocol", "paper"]
    arguments += ["--classification-head-name", head]
    options = as_dict(stored.get("args"))
    for name in _KEPT:
        if options.get(name) is not None:
            arguments += [f"--{name.replace('_', '-')}", str(options[name])]
    history = stored.get("optimizer_history") or [{}]
    updates = history[-1].get("num_updates") if isinstance(history[-1], Mapping) else None
    best = as_dict(stored.get("extra_state")).get("best")
    with configuration_of(path):
        checkpoint, model = _build(arguments, upstream.model, weights, updates, best)
    write_checkpoint(checkpoint, out)
    return {**checkpoint["task_state"], **model.facts(), "updates": updates}


def convert_flea_classifier(
    path: str | PathLike[str], out: str | PathLike[str], *, trust: bool | None = None
) -> dict[str, Any]:
    """Rewrite a fine-tuned model of FLEA's original code, a folder, so that every command here takes it.

    What the original saw of the test set is not known, so its results are marked with the protocol ``paper``. Returns
    facts about the model; ``trust`` as for `safe.load`. Raises `EmofairError` for another folder and where weights are
    missing.
    """
    loaded = huggingface_folder.read(path, trust=trust)
    check_fit(loaded)
    if loaded.spec.kind != "hubert":
        raise EmofairError(f"is a {loaded.spec.kind}, not the HuBERT of FLEA's original code", file=path)
    weights = flea.classifier_state(loaded)
    described = Path(path) / huggingface_folder.CONFIG
    config = huggingface_folder.read_json(described)
    classes = flea.classes_of(config, len(weights["classifier.bias"]), loaded.path)
    arguments = ["--task", "speech_emotion", "--arch", "hubert_ser", "--criterion", "emotion_classification"]
    arguments += ["--class-list", ",".join(classes), "--class-weights", "none", "--protocol", "paper"]
    options: dict[str, Any] = {"encoder_ssl_json": loaded.spec.to_json()}
    if (dropout := config.get("final_dropout")) is not None:
        if not isinstance(dropout, (int, float)):
            raise EmofairError(f"its final_dropout is {dropout!r}, not a number", file=described)
        options["frame_dropout"] = float(dropout)
    with configuration_of(path):
        checkpoint, model = _build(arguments, options, weights, None, None)
    write_checkpoint(checkpoint, out)
    return {**checkpoint["task_state"], **model.facts()}


def _one_head(state: Mapping[str, Tensor], path: str | PathLike[str]) -> tuple[str, dict[str, Tensor]]:
    """The name of the output layer that was trained, and the weights without any other."""
    heads = sorted({key.split(".")[1] for key in state if key.startswith("classification_heads.")})
    if not heads or (len(heads) > 1 and HEAD not in heads):
        what = f"several output layers ({', '.join(heads)}), none of them {HEAD}" if heads else "no output layer"
        raise EmofairError(f"holds {what}", file=path)
    head = HEAD if HEAD in heads else heads[0]
    kept = {k: v for k, v in state.items() if k.split(".")[0] != "classification_heads" or k.split(".")[1] == head}
    return head, kept


def _build(
    arguments: Sequence[str], model_options: Mapping[str, Any], weights: Mapping[str, Tensor], updates: Any, best: Any
) -> tuple[dict[str, Any], Any]:
    """The checkpoint of a training with these fairseq-train arguments, and its model with the weights in it."""
    cfg = configuration(arguments, model_options)
    from fairseq import tasks

    task = tasks.setup_task(cfg.task, from_checkpoint=True)
    model = task.build_model(cfg.model, from_checkpoint=True)
    model.load_state_dict(dict(weights), strict=True)
    criterion = task.build_criterion(cfg.criterion)
    stored = stored_form(cfg, model.state_dict(), task.state_dict(), type(criterion).__name__, updates, best)
    return stored, model


def configuration(arguments: Sequence[str], model_options: Mapping[str, Any]) -> DictConfig:
    """fairseq's whole configuration under these fairseq-train arguments, ``model_options`` in it as they are."""
    import emofair

    emofair.register()
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from omegaconf import open_dict

    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), list(arguments)))
    with open_dict(cfg):
        cfg.model.update(model_options)
    return cfg


def stored_form(
    cfg: DictConfig,
    weights: Mapping[str, Tensor],
    task_state: Mapping[str, Any],
    criterion: str,
    updates: int | None = None,
    best: float | None = None,
) -> dict[str, Any]:
    """A checkpoint as fairseq-train saves it; ``updates`` and ``best`` are what its training reached."""
    from omegaconf import OmegaConf

    extra: dict[str, Any] = {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0, "shuffle": True}}
    if best is not None:
        extra["best"] = float(best)
    history = {"criterion_name": criterion, "optimizer_name": None, "lr_scheduler_state": {}}
    return {
        "args": None,
        "cfg": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        "model": dict(weights),
        "criterion": None,
        "optimizer_history": [{**history, "num_updates": updates or 0}],
        "task_state": dict(task_state),
        "extra_state": extra,
        "last_optimizer_state": None,
    }


def write_checkpoint(checkpoint: Mapping[str, Any], out: str | PathLike[str]) -> None:
    """Save a checkpoint under ``out``, whole or not at all; `EmofairError` when that cannot be done."""
    import torch

    out = Path(out)
    if out.is_dir():
        raise EmofairError("this is a folder, and a file is needed", file=out, remedy="Name a .pt file by --out")
    partial = out.with_name(f".{out.name}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(checkpoint), partial)
        os.replace(partial, out)
    except (OSError, RuntimeError) as error:  # torch reports what it cannot write as RuntimeError
        if partial.is_file():
            partial.unlink()
        reason = getattr(error, "strerror", None) or error
        raise EmofairError(f"cannot be written ({reason})", file=out, remedy="Give another --out") from None
