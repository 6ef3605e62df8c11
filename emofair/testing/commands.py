"""Ways to run the real commands in tests: as a process, and in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def seed_arguments(corpus, ssl_dir, save_dir, *, target=("--binary-target-iemocap", "--num-classes", "8")) -> list[str]:
    """The original README's training command, made small: same flags, fewer updates, a folder of tiny models."""
    return [
        *("--data", str(corpus.data), "--restore-file", "None", "--task", "emotion_prediction"),
        *("--reset-optimizer", "--reset-dataloader", "--reset-meters", "--init-token", "0", "--separator-token", "2"),
        *("--arch", "robertaEMO", "--criterion", "emotion_prediction_cri", *target),
        *("--dropout", "0.1", "--attention-dropout", "0.1", "--weight-decay", "0.1"),
        *("--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--adam-eps", "1e-06", "--clip-norm", "0.0"),
        *("--lr-scheduler", "polynomial_decay", "--lr", "1e-03", "--total-num-update", "60", "--warmup-updates", "4"),
        *("--max-epoch", "2", "--best-checkpoint-metric", "loss", "--encoder-attention-heads", "2"),
        *("--batch-size", "4", "--encoder-layers-cross", "1", "--no-epoch-checkpoints", "--update-freq", "2"),
        *("--find-unused-parameters", "--ddp-backend=no_c10d", "--a-only", "--t-only", "--pooler-dropout", "0.1"),
        *("--log-interval", "1", "--data-raw", str(corpus.raw), "--ssl-dir", str(ssl_dir)),
        *("--save-dir", str(save_dir), "--log-format", "json", "--cpu"),
    ]


def run(*command: object, cwd: Path | None = None, check: bool = True, **env: str) -> subprocess.CompletedProcess:
    """Run a command of the environment under test in a process of its own; its output is in ``.stdout``."""
    command = [str(part) for part in command]
    if (BIN / command[0]).exists():
        command[0] = str(BIN / command[0])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **env}
    done = subprocess.run(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
    return done


def logged(output: str, kind: str) -> list[dict]:
    """The JSON records of one kind ("train", "valid", "train_inner") in a log of ``--log-format json``."""
    marker = f"| {kind} | {{"
    return [json.loads(line[line.index(marker) + len(marker) - 1 :]) for line in output.splitlines() if marker in line]


def train_here(arguments: list[str]) -> None:
    """fairseq-train in this process, through its own parser (for tests of many small trainings)."""
    import emofair

    emofair.register()
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq_cli import train

    args = options.parse_args_and_arch(options.get_training_parser(), input_args=[str(a) for a in arguments])
    train.main(convert_namespace_to_omegaconf(args))
