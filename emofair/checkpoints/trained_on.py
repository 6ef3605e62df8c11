"""What a checkpoint was trained on, as far as it tells."""

from __future__ import annotations

import os
from typing import Any

from emofair.checkpoints import huggingface_folder, safe
from emofair.checkpoints.fairseq_form import as_dict
from emofair.data import leak_check
from emofair.data.audio import PathLike
from emofair.units.unit_labels import read_record

# fairseq's tasks that use no labels of the corpus.
_UNLABELLED = ("audio_pretraining", "hubert_pretraining")


def trained_on(path: PathLike, trust: bool | None = None) -> dict[str, Any] | None:
    """The facts of `emofair.data.leak_check` about the data of a checkpoint; None for a public model.

    A checkpoint that was trained here tells it, and so does a Hugging Face folder that was made from one. One that
    fairseq trained alone names the folder of its manifests, which is read if it is still there, and the checkpoint that
    it went on from, which is asked in turn; what made its frame labels tells the record beside them. ``trust`` as for
    `safe.load`.
    """
    path = os.fspath(path)
    if os.path.isdir(path) or path.endswith(".safetensors"):
        return huggingface_folder.read_facts(path if os.path.isdir(path) else os.path.dirname(path))
    checkpoint = safe.load(path, trust=trust, weights=False)
    state = as_dict(checkpoint.get("task_state"))
    told = leak_check.only_facts(state) if leak_check.TRAINED_IDS in state else None
    cfg = {name: as_dict(part) for name, part in as_dict(checkpoint.get("cfg")).items()}
    data, dataset = cfg.get("task", {}).get("data"), cfg.get("dataset", {})
    split = dataset.get("train_subset", "train")
    stock = cfg.get("task", {}).get("_name") in _UNLABELLED
    if (told is not None and not stock) or not data or data == os.devnull:
        return told
    if not os.path.isfile(os.path.join(data, f"{split}.tsv")):
        return told
    before = cfg.get("checkpoint", {}).get("finetune_from_model")
    earlier = [told, trained_on(before) if before and os.path.isfile(before) else None]
    earlier += [as_dict(record.get("trained_on")) for record in _label_records(cfg["task"], split)]
    validates = () if dataset.get("disable_validation") else str(dataset.get("valid_subset") or "valid").split(",")
    earlier = [facts for facts in earlier if facts]
    return leak_check.facts_of(data, [split], selects=validates, earlier=earlier, uses_labels=not stock)


def _label_records(task: dict[str, Any], split: str) -> list[dict[str, Any]]:
    """What `emofair units` noted beside the frame labels of fairseq's ``hubert_pretraining``, where it is there."""
    folder, labels = task.get("label_dir") or task["data"], task.get("labels") or ()
    return [read_record(os.path.join(folder, f"{split}.{label}")) for label in labels]
