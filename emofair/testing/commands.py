"""Ways to run the real commands in tests: as a process, and in this process."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emofair.testing import warm_start

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


def continuing(arguments: list[str]) -> list[str]:
    """The same training without the original's flags that make every start a new one."""
    at = arguments.index("--restore-file")
    return [a for a in arguments[:at] + arguments[at + 2 :] if not a.startswith("--reset-")]


def path_with_environment() -> str:
    """The search path of a shell in which the environment under test is active, its commands started warm."""
    return os.pathsep.join([warm_start.commands_on_path(), str(BIN), os.environ["PATH"]])


def code_blocks(page: Path, language: str) -> list[str]:
    """Code blocks of a Markdown page."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def paste(page: Path, home: Path, changes: dict[str, str]) -> Path:
    """Run the shell blocks of an example's page, but those of Snakemake, in one shell in ``home``; returns it.

    ``home`` gets the examples beside it, presets come from the source. ``changes`` replace text of the blocks, all of
    which must be there: fewer clips and updates.
    """
    root = page.resolve().parents[2]
    (home / "examples").symlink_to(root / "examples")
    text = "\n".join(block for block in code_blocks(page, "bash") if "snakemake" not in block)
    for there, here in {"emofair/config/": f"{root}/emofair/config/", **changes}.items():
        assert there in text, there
        text = text.replace(there, here)
    run("bash", "-euo", "pipefail", "-c", text, cwd=home, PATH=path_with_environment(), OMP_NUM_THREADS="1")
    return home


def planned(snakefile: Path, home: Path, *config: str) -> dict[str, int]:
    """How many jobs of each rule Snakemake would run in ``home`` with these settings, and their "total"."""
    settings = ["--config", *config] if config else []
    told = run("snakemake", "-s", snakefile, "-n", *settings, cwd=home, PATH=path_with_environment()).stdout
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", told, flags=re.MULTILINE)}


def linked_files(page: Path) -> list[Path]:
    """The files and folders that a Markdown page links to."""
    text = page.read_text(encoding="utf-8")
    return [page.parent / target for target in re.findall(r"\]\((?!http)([^)#]+)\)", text)]


def run(
    *command: object, cwd: Path | None = None, check: bool = True, cold: bool = False, **env: str
) -> subprocess.CompletedProcess:
    """Run a command of the environment under test in a process of its own; its output is in ``.stdout``.

    Those of fairseq and emofair are started by `emofair.testing.warm_start`, unless ``cold``: then as a shell would.
    """
    command, environment = _prepared(command, env)
    if cold or Path(command[0]).name not in warm_start.COMMANDS:
        done = subprocess.run(
            command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600
        )
    else:
        with tempfile.TemporaryFile() as output:
            code = _started(command, cwd, environment, output.fileno()).wait()
            output.seek(0)
            done = subprocess.CompletedProcess(command, code, output.read().decode())
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
    return done


def kill_when(seen: Callable[[str], bool], *command: object, cwd: Path | None = None, **env: str) -> str:
    """Run a command of fairseq and SIGKILL it as soon as ``seen`` is true of a line of its output; returns the output.

    The pipe is made small, so that the process cannot run ahead by more than a few lines.
    """
    command, environment = _prepared(command, env)
    output, killed = [], False
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4096)
    process = _started(command, cwd, environment, writing)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as lines:
        for line in lines:
            output.append(line.decode())
            if seen(output[-1]):
                process.kill()
                killed = True
                break
    process.wait()
    if killed:
        return "".join(output)
    raise AssertionError(f"{' '.join(command)} ended before it could be killed\n{''.join(output)[-4000:]}")


def _started(command: list[str], cwd: Path | None, environment: dict[str, str], output: int) -> warm_start.Started:
    with open(os.devnull) as nothing:
        files = [nothing.fileno(), output, output]
        return warm_start.Started(warm_start.server(), command, str(cwd or Path.cwd()), environment, files)


def _prepared(command: tuple[object, ...], env: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    words = [str(part) for part in command]
    if (BIN / words[0]).exists():
        words[0] = str(BIN / words[0])
    return words, {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **env}


def logged(output: str, kind: str) -> list[dict]:
    """The JSON records of one kind ("train", "valid", "train_inner") in a log of ``--log-format json``."""
    marker = f"| {kind} | {{"
    return [json.loads(line[line.index(marker) + len(marker) - 1 :]) for line in output.splitlines() if marker in line]


def train_here(arguments: list[object]) -> str:
    """fairseq-train in this process, through its own parser (for tests of many small trainings); returns its log."""
    import emofair

    emofair.register()
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq_cli import train

    from emofair.compat import forget_previous_job

    forget_previous_job()  # stock tasks do not
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=[str(a) for a in arguments])
    with _log() as log:
        train.main(convert_namespace_to_omegaconf(args))
    return log.getvalue()


def validate_here(arguments: list[object]) -> str:
    """fairseq-validate in this process, through its own parsers; returns its log."""
    import emofair

    emofair.register()
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq_cli import validate

    words = [str(a) for a in arguments]
    args, typed = (
        options.parse_args_and_arch(options.get_validation_parser(), input_args=words, suppress_defaults=only_typed)
        for only_typed in (False, True)
    )
    with _log() as log:
        validate.main(convert_namespace_to_omegaconf(args), override_args=typed)
    return log.getvalue()


@contextmanager
def _log() -> Iterator[io.StringIO]:
    """What fairseq and emofair log meanwhile, as fairseq-train prints it."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(levelname)s | %(name)s | %(message)s"))
    loggers = [logging.getLogger(name) for name in ("fairseq", "fairseq_cli", "emofair")]
    levels = [logger.level for logger in loggers]
    root = logging.getLogger()
    kept, level_of_root = root.handlers[:], root.level
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield log
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = True
        # fairseq-validate puts one of its own in the place of all others.
        root.handlers[:] = kept
        root.setLevel(level_of_root)
