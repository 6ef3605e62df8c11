"""A training killed while it wrote checkpoint_last.pt used to end in a zip reader's traceback at the next start."""

import os
import shutil

import torch

from emofair.testing.commands import run, seed_arguments


def test_resuming_says_what_is_wrong_and_how_to_go_on(tmp_path, ssl_dir, token_corpora):
    whole, last = tmp_path / "checkpoint_1_200.pt", tmp_path / "checkpoint_last.pt"
    torch.save({"model": {"w": torch.zeros(10000)}}, whole)
    shutil.copy(whole, last)
    os.truncate(last, last.stat().st_size // 2)
    arguments = seed_arguments(token_corpora("iemocap"), ssl_dir, tmp_path)
    arguments[arguments.index("--restore-file") + 1] = "checkpoint_last.pt"
    done = run("fairseq-train", "--user-dir", "emofair", *arguments, check=False)
    assert done.returncode != 0
    message = next(line for line in done.stdout.splitlines() if line.startswith("emofair: error:"))
    assert f"{last}: is truncated" in message
    assert f"--restore-file {whole}" in message
    assert "Traceback" not in done.stdout
