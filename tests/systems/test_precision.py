"""Number formats on a CPU: what each flag computes in, and that it trains."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from emofair.checkpoints import safe
from emofair.compat import PACKAGE
from emofair.errors import EmofairError
from emofair.testing.commands import logged, run, seed_arguments, train_here


@pytest.fixture(scope="module")
def trained(token_corpora, ssl_dir, tmp_path_factory):
    """A short epoch with cross-attention under given flags: folder, log, number formats of the linear layers."""
    runs = {}

    def train(*flags):
        if flags not in runs:
            folder, seen = tmp_path_factory.mktemp("precision"), set()

            def look(module, inputs, output):
                if isinstance(module, nn.Linear):
                    seen.add(output.dtype)

            hook = nn.modules.module.register_module_forward_hook(look)
            try:
                with pytest.MonkeyPatch.context() as patch:
                    # Whatever the processor: without instructions for it --autocast-bf16 is left out.
                    patch.setattr("emofair.device._cpu_has_fast_bf16", lambda: True)
                    arguments = seed_arguments(token_corpora("iemocap"), ssl_dir, folder)
                    runs[flags] = folder, train_here([*arguments, "--stack-up", "--max-epoch", "1", *flags]), seen
            finally:
                hook.remove()
        return runs[flags]

    return train


def losses(output):
    return [float(row[f"{kind}_loss"]) for kind in ("train", "valid") for row in logged(output, kind)]


def formats_of_weights(folder):
    model = safe.load(folder / "checkpoint_last.pt")["model"]
    return {value.dtype for value in model.values() if value.is_floating_point()}


def test_autocast_computes_in_bfloat16_and_keeps_weights_and_results_in_float32(trained):
    (plain_folder, plain, plain_formats), (folder, output, formats) = trained(), trained("--autocast-bf16")
    assert plain_formats == {torch.float32}
    assert formats == {torch.bfloat16}
    assert formats_of_weights(folder) == formats_of_weights(plain_folder) == {torch.float32}
    assert losses(output) != losses(plain)
    assert losses(output) == pytest.approx(losses(plain), rel=0.01)


@pytest.mark.parametrize(
    ("flags", "format"),
    [
        (("--bf16",), torch.bfloat16),
        (("--memory-efficient-fp16", "--fp16-init-scale", "4"), torch.float16),
        (("--fp16", "--fp16-no-flatten-grads", "--fp16-init-scale", "4"), torch.float16),
    ],
)
def test_short_weights_train_on_a_cpu(flags, format, trained):
    _, plain, _ = trained()
    _, output, formats = trained(*flags)
    assert formats == {format}
    assert all(math.isfinite(loss) for loss in losses(output))
    assert losses(output) == pytest.approx(losses(plain), rel=0.05)


def test_fp16_says_what_to_do_on_a_cpu(trained):
    with pytest.raises(EmofairError) as error:
        trained("--fp16")
    assert str(error.value) == ("--fp16 needs a GPU. On a CPU use --autocast-bf16 (fast), --bf16, or no flag (fp32).")


def test_bf16_in_plain_fairseq_train_is_no_longer_taken_for_a_tpu(token_corpora, ssl_dir, tmp_path):
    arguments = [*seed_arguments(token_corpora("iemocap"), ssl_dir, tmp_path / "run"), "--max-epoch", "1", "--bf16"]
    done = run("fairseq-train", "--user-dir", PACKAGE, *arguments, cwd=tmp_path)
    assert all(math.isfinite(loss) for loss in losses(done.stdout))
    assert "'bf16': True" in done.stdout and "'tpu': True" not in done.stdout
    assert (tmp_path / "run" / "checkpoint_best.pt").exists()
