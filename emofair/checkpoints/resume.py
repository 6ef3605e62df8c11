"""What a training must know of the checkpoint that fairseq will restore before fairseq does so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emofair.checkpoints import safe
from emofair.checkpoints.fairseq_form import as_dict
from emofair.errors import EmofairError
from emofair.protocol import PROTOCOLS, is_laxer

LAST = "checkpoint_last.pt"
SHAPE = "_ssl_json"
"""End of the model options that hold the shape of a pretrained encoder."""


def file_to_restore(options: Any) -> Path | None:
    """The file whose weights fairseq loads at the start of a training, None when there is none.

    ``options``: fairseq's checkpoint configuration.
    """
    path = options.restore_file
    if path == LAST:
        path = os.path.join(options.save_dir, LAST)
        if not os.path.isfile(path):
            path = options.finetune_from_model
    return Path(path) if path and os.path.isfile(path) else None


def stored_shapes(model: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The shapes of the encoders in a checkpoint whose weights are about to replace those of ``model``'s options.

    None are given where the options ask for another model, or for encoders from elsewhere.
    """
    stored = as_dict(as_dict(safe.load(path, weights=False).get("cfg")).get("model"))
    sources = [name for name in model if name.startswith("ssl_") or name.endswith("_path")]
    if stored.get("_name") != model.get("_name"):
        return {}
    if any(model.get(name) not in (None, stored.get(name)) for name in sources):
        return {}
    return {name: shape for name, shape in stored.items() if name.endswith(SHAPE) and isinstance(shape, str)}


def check_protocol(path: str | os.PathLike[str], protocol: str) -> None:
    """Raise `EmofairError` when weights from a training under a laxer protocol would be called ``protocol``."""
    stored = as_dict(safe.load(path, weights=False).get("task_state")).get("protocol")
    if stored in PROTOCOLS and is_laxer(stored, protocol):
        raise EmofairError(
            f"trained under the {stored} protocol, so what goes on from it cannot be called {protocol}",
            file=path,
            remedy=f"Add --protocol {stored}, or begin with other weights",
        )
