"""The one place that knows how fairseq, torch, numpy and Python differ from what fairseq expects.

`apply` is run once, when fairseq imports the plugin's tasks. It changes objects in memory only, never files.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import logging
import os
import pkgutil
import sys
import types
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from emofair.errors import EmofairError, print_in_one_line, show_in_one_line

PACKAGE = Path(__file__).resolve().parent
REMEDIES = {
    "torch": "pip install torch==2.13.0, or the CUDA build of your choice (`emofair doctor` tells more)",
    "fairseq": "pip install --no-build-isolation --no-deps fairseq-fixed==0.12.3.1 (after torch; "
    "`emofair doctor` tells more)",
}

logger = logging.getLogger(__name__)

_applied = False


def apply() -> None:
    """Make this process ready for fairseq with emofair. Doing it twice changes nothing.

    Raises `EmofairError` when torch or fairseq cannot be imported.
    """
    global _applied
    if _applied:
        return
    _import_fairseq()
    from emofair import stock_pretraining
    from emofair.checkpoints import in_fairseq, safe

    _applied = True
    show_in_one_line()
    safe.register()
    _hide_known_warnings()
    _restore_numpy_compat()
    _import_user_dir_once()
    _wrap_argument_parsing()
    in_fairseq.install()
    stock_pretraining.install()
    _show_in_one_line_under_hydra()


def _import_fairseq() -> None:
    """Import fairseq and leave the program's logging as it was: fairseq sets up the root logger on the way."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        for name in REMEDIES:
            importlib.import_module(name)
    except Exception as error:  # fairseq 0.12.2 fails on Python 3.11 with ValueError, a missing one with ImportError
        raise EmofairError(f"{name} cannot be imported ({error})", remedy=REMEDIES[name]) from None
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    from fairseq.tasks import FairseqTask

    if "from_checkpoint" not in inspect.signature(FairseqTask.build_criterion).parameters:
        raise EmofairError("this fairseq is too old, as the official 0.12.2 is", remedy=REMEDIES["fairseq"])


def _hide_known_warnings() -> None:
    """Warnings about fairseq's own use of hydra and torch that come at every start and that no user can act upon."""
    known = (
        r"hydra\.experimental\.",
        r"\s*The version_base parameter is not specified",
        r"In 'config': Usage of deprecated keyword in package header",
        r"\s*'\w+' is validated against ConfigStore schema with the same name",
        r"\s*The strict flag in the compose API is deprecated",
        r"'pin_memory' argument is set as true but no accelerator is found",
        r"Using a non-tuple sequence for multidimensional indexing is deprecated",
        r"`torch\.cuda\.amp\.\w+\(.*\)` is deprecated",
    )
    for message in known:
        warnings.filterwarnings("ignore", message=message)


def _restore_numpy_compat() -> None:
    """fairseq's TokenBlockDataset (``--sample-break-mode eos``) uses ``np.compat.long``, which numpy 2 dropped."""
    import numpy as np

    if not hasattr(np, "compat"):
        np.compat = types.SimpleNamespace(long=np.int64)


def _import_user_dir_once() -> None:
    """Let ``--user-dir emofair`` pass when emofair is already imported, wherever the name resolves to."""
    from fairseq import utils

    remember = getattr(utils.import_user_module, "memo", set())
    beside_fairseq = os.path.join(os.path.dirname(utils.__file__), "..", PACKAGE.name)
    remember |= {str(PACKAGE), beside_fairseq, os.path.abspath(beside_fairseq)}
    utils.import_user_module.memo = remember


def _wrap_argument_parsing() -> None:
    """Make ``--bf16`` mean bf16 (fairseq takes it for a TPU), and join the CPU processes that torchrun started."""
    from fairseq import options

    original = options.parse_args_and_arch

    @functools.wraps(original)
    def parse_args_and_arch(parser, input_args=None, **kwargs):
        _check_task(parser, input_args)
        try:
            parsed = original(parser, input_args, **kwargs)
        except RuntimeError as error:
            if error.args:
                raise
            raise EmofairError("no model is chosen", remedy="Add --arch, for example --arch robertaEMO") from None
        options_seen = parsed[0] if isinstance(parsed, tuple) else parsed
        asked_for_tpu = any(a == "--tpu" for a in sys.argv)
        if getattr(options_seen, "bf16", False) and getattr(options_seen, "tpu", False) and not asked_for_tpu:
            options_seen.tpu = False
        # The second, partial reading by fairseq-validate holds what was typed, without defaults.
        if not kwargs.get("suppress_defaults"):
            if input_args is None:
                _check_forgotten(options_seen)
            _connect_cpu_ranks(options_seen)
        return parsed

    options.parse_args_and_arch = parse_args_and_arch


def _check_task(parser: argparse.ArgumentParser, words: Sequence[str] | None) -> None:
    """Ask for the task before fairseq takes translation for it, and then misses the arguments of translation.

    Where it is one of ours, a model or criterion of another is refused before its options are missed.
    """
    from fairseq.models import ARCH_MODEL_REGISTRY

    seen, _ = parser.parse_known_args(words)
    model = ARCH_MODEL_REGISTRY.get(getattr(seen, "arch", None))
    ours = model is not None and model.__module__.startswith("emofair.")
    task = getattr(seen, "task", "not asked for")
    if task is None or (ours and task == parser.get_default("task")):
        raise EmofairError("no task is chosen", remedy="Add --task, for example --task emotion_prediction")
    _check_parts(seen)


def _check_forgotten(options_seen: argparse.Namespace) -> None:
    """Ask for what fairseq misses with an assertion and a bare ValueError later: batch size and optimizer."""
    if not _is_ours(options_seen):
        return
    if all(getattr(options_seen, name, 0) is None for name in ("batch_size", "max_tokens")):
        raise EmofairError("no batch size is given", remedy="Add --batch-size N, or --max-tokens N")
    if hasattr(options_seen, "arch") and options_seen.optimizer is None:
        raise EmofairError("no optimizer is chosen", remedy="Add --optimizer, for example --optimizer adam")


def _is_ours(options_seen: argparse.Namespace) -> bool:
    from fairseq.tasks import TASK_REGISTRY

    from emofair.tasks.base import EmofairTask

    return issubclass(TASK_REGISTRY.get(getattr(options_seen, "task", None), object), EmofairTask)


def _check_parts(options_seen: argparse.Namespace) -> None:
    """Refuse a model or criterion that reads other batches; fairseq's default criterion is cross_entropy."""
    from fairseq.tasks import TASK_REGISTRY

    if getattr(options_seen, "arch", None) is not None and _is_ours(options_seen):
        task = TASK_REGISTRY[options_seen.task]
        task.check_model(options_seen.arch)
        task.check_criterion(options_seen.criterion)


def _on_cpu(common: object) -> bool:
    import torch

    return bool(getattr(common, "cpu", False)) or not torch.cuda.is_available()


def check_precision(common: object, *, autocast_bf16: bool = False) -> None:
    """Say what to do instead of number formats that fail or do nothing on this device.

    ``common`` are fairseq's common options. On a CPU fairseq asks for the current GPU in the midst of setting up
    ``--fp16``, and trains under ``--amp`` in float32.
    """
    plain_fp16 = common.fp16 and not common.memory_efficient_fp16 and not common.fp16_no_flatten_grads
    if (plain_fp16 or common.amp) and _on_cpu(common):
        raise EmofairError(
            f"--{'fp16' if plain_fp16 else 'amp'} needs a GPU",
            remedy="On a CPU use --autocast-bf16 (fast), --bf16, or no flag (fp32)",
        )
    if autocast_bf16 and not _on_cpu(common):
        logger.warning("--autocast-bf16 does nothing on a GPU; use --bf16 or --amp there")


def _connect_cpu_ranks(options_seen: argparse.Namespace) -> None:
    """Add what fairseq needs to join CPU processes that torchrun started, and refuse to start them any other way.

    fairseq takes the rank modulo the number of GPUs, and spawns as many processes as there are GPUs: on a CPU the
    first divides by zero and the second trains nothing and reports success.
    """
    asked = getattr(options_seen, "distributed_world_size", None)
    if asked is None or options_seen.distributed_no_spawn or not _on_cpu(options_seen):
        return
    import torch

    if asked == torch.cuda.device_count():  # the default on a machine with GPUs, which --cpu leaves alone
        options_seen.distributed_world_size = asked = 1
    started = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if max(started, asked) > 1 and hasattr(options_seen, "path"):
        raise EmofairError("several CPU processes cannot validate together", remedy="Validate in one process")
    if started > 1 and options_seen.distributed_init_method is None:
        options_seen.distributed_init_method = "env://"
        options_seen.distributed_world_size = started
        options_seen.distributed_rank = int(os.environ["RANK"])
        options_seen.distributed_no_spawn = True
        options_seen.distributed_backend = "gloo"
        # fairseq's default wants a GPU for each process.
        options_seen.ddp_backend = "legacy_ddp"
    elif asked > 1:
        raise EmofairError(
            f"--distributed-world-size {asked} starts no process on a CPU",
            remedy=f"Use torchrun --nproc-per-node {asked} -m emofair.cli.main train, with the same other options",
        )


def register_in_every_process() -> None:
    """Register emofair also in the processes that fairseq starts, one per GPU, when there is no ``--user-dir``.

    They inherit nothing from this one.
    """
    from fairseq.distributed import utils

    original = utils.call_main
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def call_main(cfg, main, **kwargs):
        return original(cfg, functools.partial(_registered, main), **kwargs)

    utils.call_main = call_main


def _registered(main, cfg, **kwargs):
    import emofair

    emofair.register()
    return main(cfg, **kwargs)


def _show_in_one_line_under_hydra() -> None:
    """hydra catches every error of a job and prints its traceback itself, through this name in its module."""
    hydra = sys.modules.get("hydra._internal.utils")
    if not isinstance(getattr(hydra, "traceback", None), types.ModuleType):
        return
    original = hydra.traceback

    def print_exception(*args, **kwargs):
        error = kwargs.get("value", args[1] if len(args) > 1 else None)
        if not print_in_one_line(error):
            original.print_exception(*args, **kwargs)

    hydra.traceback = types.SimpleNamespace(**{**vars(original), "print_exception": print_exception})


def import_all(package: str, folders: Iterable[str]) -> None:
    """Import every module of a package that is registered with fairseq.

    fairseq imports what it finds beside the ``--user-dir``; after an editable install that may be an older list.
    """
    for module in pkgutil.iter_modules(folders):
        importlib.import_module(f"{package}.{module.name}")


def forget_previous_job() -> None:
    """Drop the best score and the early-stop counter that fairseq keeps as function attributes of the process.

    Without this a second training in one process (hydra ``-m``, a loop over folds) compares itself with the
    first and may never write a ``checkpoint_best.pt``.
    """
    from fairseq import checkpoint_utils

    holders = [checkpoint_utils.save_checkpoint]
    train = sys.modules.get("fairseq_cli.train")
    if train is not None:
        holders.append(train.should_stop_early)
    for holder in holders:
        for name in ("best", "num_runs"):
            if hasattr(holder, name):
                delattr(holder, name)


def original_path(path: str | os.PathLike[str]) -> str:
    """Absolute form of ``path``, seen from where the user started the program.

    hydra changes the working directory to its output folder before the task is built.
    """
    path = os.path.expanduser(os.fspath(path))
    if os.path.isabs(path):
        return path
    hydra_config = sys.modules.get("hydra.core.hydra_config")
    if hydra_config is not None and hydra_config.HydraConfig.initialized():
        return os.path.join(hydra_config.HydraConfig.get().runtime.cwd, path)
    return os.path.abspath(path)
