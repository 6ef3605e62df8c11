"""What a checkpoint was trained on, as far as it tells."""

from __future__ import annotations

import os
from typing import Any

from emofair.checkpoints import safe
from emofair.checkpoints.fairseq_form import as_dict
from emofair.data import leak_check
from emofair.data.audio import PathLike


def trained_on(path: PathLike, trust: bool | None = None) -> dict[str, Any] | None:
    """The facts of `emofair.data.leak_check` about the data of a checkpoint; None for a public model.

    A checkpoint of ours tells it. One of a stock fairseq task names the folder of its manifests, which is read if it is
    still there, and the checkpoint that it went on from, which is asked in turn. ``trust`` as for `safe.load`.
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
    earlier = trained_on(before) if before and os.path.isfile(before) else None
    return leak_check.facts_of(data, [split], earlier=[earlier] if earlier else [])
