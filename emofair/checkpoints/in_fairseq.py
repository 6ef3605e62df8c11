"""fairseq's own reading and writing of checkpoints: one line where it fails; `install` is part of `emofair.compat`."""

from __future__ import annotations

import functools
import textwrap

from emofair.checkpoints import named_classes, robertaemo, safe
from emofair.errors import EmofairError


def install() -> None:
    """Put the checks around fairseq's functions."""
    _wrap_checkpoint_loading()
    _wrap_folders_of_checkpoints()
    _wrap_weight_loading()


def _wrap_checkpoint_loading() -> None:
    """Tell what is wrong with an unreadable checkpoint, and the way back, instead of a pickle traceback."""
    from fairseq import checkpoint_utils

    original = checkpoint_utils.load_checkpoint_to_cpu

    @functools.wraps(original)
    def load_checkpoint_to_cpu(path, arg_overrides=None, *args, **kwargs):
        try:
            state = original(path, arg_overrides, *args, **kwargs)
        except EmofairError:
            raise
        except Exception as error:
            # fairseq brings the options of old checkpoints up to date first, and may stumble over theirs.
            robertaemo.refuse_original_file(path)
            raise safe.explain(path, error) from error
        robertaemo.refuse_original(state, path)
        named_classes.trust_only_ours(state, path, arg_overrides or {})
        return state

    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu
    original_ensemble = checkpoint_utils.load_model_ensemble_and_task

    @functools.wraps(original_ensemble)
    def load_model_ensemble_and_task(filenames, *args, **kwargs):
        if None in filenames:
            raise EmofairError("no checkpoint is given", remedy="Add --path FILE")
        try:
            return original_ensemble(filenames, *args, **kwargs)
        except OSError as error:
            if not str(error).startswith("Model file not found"):
                raise
            raise EmofairError("no such checkpoint", file=str(error).partition(": ")[2]) from None

    checkpoint_utils.load_model_ensemble_and_task = load_model_ensemble_and_task


def _wrap_folders_of_checkpoints() -> None:
    """One line about a checkpoint to go on from that is not there, and a folder that cannot be written to."""
    from fairseq import checkpoint_utils

    original = checkpoint_utils.load_checkpoint
    original_verify = checkpoint_utils.verify_checkpoint_directory

    @functools.wraps(original)
    def load_checkpoint(cfg, *args, **kwargs):
        try:
            return original(cfg, *args, **kwargs)
        except ValueError as error:
            # Not looked for beforehand: a training that goes on needs it no more.
            if not str(error).endswith(f"{cfg.finetune_from_model} does not exist"):
                raise
            remedy = "Correct --finetune-from-model (checkpoint.finetune_from_model)"
            raise EmofairError("no such checkpoint", file=cfg.finetune_from_model, remedy=remedy) from None

    @functools.wraps(original_verify)
    def verify_checkpoint_directory(save_dir):
        try:
            original_verify(save_dir)
        except OSError as error:
            raise EmofairError(
                f"nothing can be written there ({error.strerror})",
                file=save_dir,
                remedy="Name another folder by --save-dir (checkpoint.save_dir)",
            ) from None

    checkpoint_utils.load_checkpoint = load_checkpoint
    checkpoint_utils.verify_checkpoint_directory = verify_checkpoint_directory


def _wrap_weight_loading() -> None:
    """Let the task refuse a checkpoint, and tell why its weights do not fit; fairseq's trainer drops the reason."""
    from fairseq.trainer import Trainer

    from emofair import stock_pretraining

    original = Trainer.load_checkpoint

    @functools.wraps(original)
    def load_checkpoint(self, filename, *args, **kwargs):
        try:
            if hasattr(self.task, "check_restored"):
                self.task.check_restored(filename)
            else:
                stock_pretraining.check_restored(self, filename)
            return original(self, filename, *args, **kwargs)
        except EmofairError:
            raise
        except Exception as error:
            reason = error.__context__
            if isinstance(reason, EmofairError):
                raise EmofairError(reason.what, file=filename, remedy=reason.remedy) from None
            if reason is None or not str(error).startswith("Cannot load model parameters"):
                raise
            # torch lists every weight below a heading.
            details = str(reason).strip().splitlines()
            what = textwrap.shorten(" ".join(details[1:] or details), 240, placeholder=" ...")
            raise EmofairError(
                f"its weights do not fit this model: {what}",
                file=filename,
                remedy="Use the model options of its training, or another --save-dir or --restore-file",
            ) from error

    Trainer.load_checkpoint = load_checkpoint
