"""What a checkpoint was trained on, as far as it tells."""

from __future__ import annotations

import os
from typing import Any

from emofair.checkpoints import safe
from emofair.checkpoints.fairseq_form import as_dict
from emofair.data import leak_check
from emofair.data.audio import PathLike
from emofair.units.unit_labels import read_record

# fairseq's tasks that use no labels of the corpus.
_UNLABELLED = ("audio_pretraining", "hubert_pretraining")


def trained_on(path: PathLike, trust: bool | None = None) -> dict[str, Any] | None:
    """The facts of `emofair.data.leak_check` about the data of a checkpoint; None for a public model.

    A checkpoint of ours tells it. One of a stock fairseq task names the folder of its manifests, which is read if it is
    still there, and the checkpoint that it went on from, which is asked in turn; what made its frame labels tells the
    record beside them. ``trust`` as for `safe.load`.
    """
    path = os.fspath(path)
    if os.path.isdir(path) or path.endswith(".safetensors"):
        return None
    checkpoint = safe.load(path, trust=trust, weights=False)
    state = as_dict(checkpoint.get("task_state"))
    if leak_check.TRAINED_IDS in state:
        return leak_check.only_facts(state)
    cfg = {name: as_dict(part) for name, part in as_dict(checkpoint.get("cfg")).items()}
    data = cfg.get("task", {}).get("data")
    split = cfg.get("dataset", {}).get("train_subset", "train")
    if not data or not os.path.isfile(os.path.join(data, f"{split}.tsv")):
        return None
    before = cfg.get("checkpoint", {}).get("finetune_from_model")
    earlier = [trained_on(before)] if before and os.path.isfile(before) else []
    earlier += [as_dict(record.get("trained_on")) for record in _label_records(cfg["task"], split)]
    uses_labels = cfg["task"].get("_name") not in _UNLABELLED
    return leak_check.facts_of(data, [split], earlier=[facts for facts in earlier if facts], uses_labels=uses_labels)


def _label_records(task: dict[str, Any], split: str) -> list[dict[str, Any]]:
    """What `emofair units` noted beside the frame labels of fairseq's ``hubert_pretraining``, where it is there."""
    folder, labels = task.get("label_dir") or task["data"], task.get("labels") or ()
    return [read_record(os.path.join(folder, f"{split}.{label}")) for label in labels]
