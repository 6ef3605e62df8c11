"""The one place that knows how fairseq, torch, numpy and Python differ from what fairseq expects.

`apply` is run once, when fairseq imports the plugin's tasks. It changes objects in memory only, never files.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import types
from pathlib import Path

from emofair.errors import EmofairError, show_in_one_line

PACKAGE = Path(__file__).resolve().parent
REMEDY_FAIRSEQ = (
    "pip install --no-build-isolation --no-deps fairseq-fixed==0.12.3.1 (after torch; `emofair doctor` tells more)"
)

_applied = False


def apply() -> None:
    """Make this process ready for fairseq with emofair. Doing it twice changes nothing.

    Raises `EmofairError` when fairseq cannot be imported.
    """
    global _applied
    if _applied:
        return
    # It reports the absence of a package that nothing here uses.
    logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)
    try:
        import fairseq  # noqa: F401
    except Exception as error:  # fairseq 0.12.2 fails on Python 3.11 with ValueError, a missing one with ImportError
        raise EmofairError(f"fairseq cannot be imported ({error})", remedy=REMEDY_FAIRSEQ) from None
    from emofair.checkpoints import safe

    _applied = True
    show_in_one_line()
    safe.register()
    _restore_numpy_compat()
    _import_user_dir_once()
    _wrap_argument_parsing()
    _wrap_checkpoint_loading()


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
    """Make ``--bf16`` mean bf16 (fairseq takes it for a TPU) and say what to do about ``--fp16`` without a GPU."""
    from fairseq import options

    original = options.parse_args_and_arch

    @functools.wraps(original)
    def parse_args_and_arch(*args, **kwargs):
        parsed = original(*args, **kwargs)
        options_seen = parsed[0] if isinstance(parsed, tuple) else parsed
        asked_for_tpu = any(a == "--tpu" for a in sys.argv)
        if getattr(options_seen, "bf16", False) and getattr(options_seen, "tpu", False) and not asked_for_tpu:
            options_seen.tpu = False
        _refuse_half_precision_on_cpu(options_seen)
        return parsed

    options.parse_args_and_arch = parse_args_and_arch


def _refuse_half_precision_on_cpu(options_seen: object) -> None:
    import torch

    on_cpu = getattr(options_seen, "cpu", False) or not torch.cuda.is_available()
    flattens = not getattr(options_seen, "fp16_no_flatten_grads", False)
    plain_fp16 = getattr(options_seen, "fp16", False) and not getattr(options_seen, "memory_efficient_fp16", False)
    if on_cpu and plain_fp16 and flattens:
        raise EmofairError(
            "--fp16 needs a GPU",
            remedy="On a CPU use --autocast-bf16 (fast), --bf16, or no flag (fp32)",
        )


def _wrap_checkpoint_loading() -> None:
    """Tell what is wrong with an unreadable checkpoint, and the way back, instead of a pickle traceback."""
    from fairseq import checkpoint_utils

    from emofair.checkpoints import safe

    original = checkpoint_utils.load_checkpoint_to_cpu

    @functools.wraps(original)
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        try:
            return original(path, *args, **kwargs)
        except EmofairError:
            raise
        except Exception as error:
            raise safe.explain(path, error) from error

    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu


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
