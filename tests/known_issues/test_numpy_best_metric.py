"""torch 2.6 refuses a checkpoint whose best score is a numpy number: the training ran, and its resume died."""

from __future__ import annotations

import shutil

import numpy as np
import torch

from emofair.checkpoints import safe
from emofair.testing.commands import continuing, logged, seed_arguments, train_here


def test_numpy_scalars_and_arrays_in_a_checkpoint_survive_a_resume(token_corpora, ssl_dir, tmp_path):
    arguments = [*continuing(seed_arguments(token_corpora("iemocap"), ssl_dir, tmp_path)), "--max-epoch", "1"]
    train_here(arguments)
    last, best = tmp_path / "checkpoint_last.pt", tmp_path / "checkpoint_best.pt"
    state = safe.load(last)
    state["extra_state"]["best"] = np.float64(0.125)
    state["extra_state"]["val_loss"] = np.float32(0.5)
    state["task_state"]["counts"] = np.arange(6).reshape(2, 3)
    torch.save(state, last)
    shutil.copy(last, best)
    before = best.read_bytes()

    output = train_here([*arguments, "--max-epoch", "2"])
    (row,) = logged(output, "valid")
    assert (row["epoch"], row["valid_best_loss"]) == (2, "0.125")
    # A score of 0.125 is out of reach: what was the best checkpoint still is.
    assert best.read_bytes() == before
    resumed = safe.load(last)["extra_state"]
    assert (resumed["train_iterator"]["epoch"], resumed["best"]) == (3, 0.125)
    assert type(resumed["val_loss"]) is float
