"""Differences between fairseq and what it runs on, cured when the plugin is imported."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

import emofair
from emofair import compat
from emofair.compat import PACKAGE
from emofair.errors import EmofairError
from emofair.testing.commands import run


@pytest.fixture(autouse=True)
def registered():
    emofair.register()


def read(*arguments, parser=None):
    from fairseq import options

    words = ["--task", "emotion_prediction", "--arch", "robertaEMO", "--criterion", "emotion_prediction_cri"]
    return options.parse_args_and_arch(parser or options.get_training_parser(), input_args=[*words, *arguments])


def test_a_second_time_changes_nothing():
    from fairseq import checkpoint_utils, options
    from fairseq.distributed import utils

    compat.register_in_every_process()

    def wrapped():
        return options.parse_args_and_arch, checkpoint_utils.load_checkpoint_to_cpu, utils.call_main, sys.excepthook

    before = wrapped()
    compat.apply()
    compat.register_in_every_process()
    assert wrapped() == before


VERBS = (
    ["train", "--cpu"],
    ["validate"],
    ["predict", "--checkpoint", "absent.pt", "--text", "hello"],
    ["evaluate", "--checkpoint", "absent.pt", "--data", "absent"],
    ["convert", "absent.pt", "--to", "fairseq", "--out", "new.pt"],
    ["tokenize", "--manifest", "items.tsv", "--out", "tokens", "--ssl-dir", "absent"],
)


@pytest.mark.parametrize(
    ("absent", "remedy"), [("fairseq", "fairseq-fixed==0.12.3.1"), ("torch", "pip install torch==2.13.0")]
)
def test_what_cannot_be_imported_is_told_with_the_remedy(absent, remedy, tmp_path):
    (tmp_path / "items.tsv").write_text("id\twav\ttext\tlabel\tsplit\na\ta.wav\thello\tneu\ttrain\n")
    code = f"""
import sys
sys.path.insert(0, {str(PACKAGE.parent)!r})
sys.modules[{absent!r}] = None
from emofair.cli.main import main
print([main(words) for words in {VERBS}])
"""
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    *lines, codes = done.stdout.splitlines()
    assert codes == str([2] * len(VERBS)) and len(lines) == len(VERBS)
    for line in lines:
        assert line.startswith(f"emofair: error: {absent} cannot be imported (") and remedy in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.tsv"]


def test_an_old_fairseq_is_told_with_the_remedy(monkeypatch):
    """FairseqTask.build_criterion of 0.12.2 has no second argument."""
    from fairseq.tasks import FairseqTask

    compat._import_fairseq()
    monkeypatch.setattr(FairseqTask, "build_criterion", lambda self, cfg: None)
    with pytest.raises(EmofairError, match=r"this fairseq is too old.*fairseq-fixed==0\.12\.3\.1"):
        compat._import_fairseq()


def test_the_programs_logging_is_left_alone_and_nothing_is_printed():
    code = """
import logging, emofair
emofair.register()
root = logging.getLogger()
print(root.handlers, root.level == logging.WARNING)
"""
    assert run(sys.executable, "-c", code).stdout == "[] True\n"


def test_numpy_compat_for_sentence_breaks():
    """fairseq's masked_lm with --sample-break-mode eos."""
    import torch
    from fairseq.data import TokenBlockDataset

    lines = [torch.arange(length) for length in (5, 3, 4)]
    blocks = TokenBlockDataset(lines, [5, 3, 4], block_size=None, pad=1, eos=2, break_mode="eos")
    assert [block.tolist() for block in blocks] == [line.tolist() for line in lines]


@pytest.mark.parametrize("flags", [("--bf16",), ("--memory-efficient-bf16",)])
def test_bf16_does_not_mean_a_tpu(flags):
    parsed = read(*flags)
    assert (parsed.bf16, parsed.tpu) == (True, False)


def test_a_tpu_that_was_asked_for_stays(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fairseq-train", "--tpu", "--bf16"])
    assert read("--tpu", "--bf16").tpu is True


def common(**options):
    names = ("fp16", "memory_efficient_fp16", "fp16_no_flatten_grads", "amp")
    flags = {**dict.fromkeys(names, False), "cpu": True}
    return types.SimpleNamespace(**{**flags, **options})


def test_plain_fp16_on_a_cpu_is_refused():
    with pytest.raises(EmofairError, match="--autocast-bf16"):
        compat.check_precision(common(fp16=True))


@pytest.mark.parametrize(
    "options",
    [{}, {"fp16": True, "memory_efficient_fp16": True}, {"fp16": True, "fp16_no_flatten_grads": True}],
)
def test_formats_that_work_on_a_cpu_pass(options):
    compat.check_precision(common(**options))


def test_fp16_with_a_gpu_passes(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    compat.check_precision(common(fp16=True, cpu=False))
    with pytest.raises(EmofairError):
        compat.check_precision(common(fp16=True, cpu=True))


def test_automatic_precision_on_a_cpu_is_refused(monkeypatch):
    """fairseq accepted it and trained in float32."""
    import torch

    with pytest.raises(EmofairError, match=r"--amp needs a GPU.*--autocast-bf16"):
        compat.check_precision(common(amp=True))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    compat.check_precision(common(amp=True, cpu=False))


def test_autocast_for_cpus_is_told_to_do_nothing_on_a_gpu(monkeypatch, caplog):
    import torch

    compat.check_precision(common(), autocast_bf16=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    compat.check_precision(common(cpu=False))
    assert not caplog.records
    compat.check_precision(common(cpu=False), autocast_bf16=True)
    assert "--autocast-bf16 does nothing on a GPU" in caplog.text


def test_ranks_of_torchrun_on_a_cpu_are_connected(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    parsed = read("--cpu", "--ddp-backend", "pytorch_ddp")
    assert (parsed.distributed_rank, parsed.distributed_world_size) == (1, 3)
    assert (parsed.distributed_init_method, parsed.distributed_no_spawn) == ("env://", True)
    assert (parsed.distributed_backend, parsed.ddp_backend) == ("gloo", "legacy_ddp")


def test_ranks_connected_by_hand_are_left_alone(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    by_hand = ("--distributed-init-method", "tcp://127.0.0.1:5", "--distributed-rank", "2", "--distributed-no-spawn")
    parsed = read("--cpu", "--distributed-world-size", "4", *by_hand)
    assert (parsed.distributed_rank, parsed.distributed_init_method) == (2, "tcp://127.0.0.1:5")


def test_a_single_process_of_torchrun_is_a_plain_training(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    parsed = read("--cpu")
    assert (parsed.distributed_init_method, parsed.distributed_no_spawn) == (None, False)


def test_a_criterion_of_other_tasks_is_refused_by_ours():
    with pytest.raises(EmofairError, match=r"--criterion cross_entropy does not fit.*emotion_prediction_cri"):
        read("--criterion", "cross_entropy")


@pytest.mark.parametrize(
    ("parser", "words", "said"),
    [
        ("training", [], "no model is chosen. Add --arch"),
        ("training", ["--arch", "robertaEMO"], "no task is chosen. Add --task"),
        ("training", ["--arch", "robertaEMO", "data"], "no task is chosen. Add --task"),
        ("training", ["--task", "emotion_prediction"], "no model is chosen. Add --arch"),
        ("training", ["TASK", "CRITERION"], "no batch size is given. Add --batch-size N, or --max-tokens N"),
        ("training", ["TASK", "CRITERION", "--batch-size", "4"], "no optimizer is chosen. Add --optimizer"),
        ("validation", [], "no task is chosen. Add --task"),
        ("validation", ["--task", "emotion_prediction"], "no batch size is given"),
    ],
)
def test_a_forgotten_option_of_a_command_is_asked_for(parser, words, said, monkeypatch):
    from fairseq import options

    rest = {
        "TASK": ["--task", "emotion_prediction", "--arch", "robertaEMO"],
        "CRITERION": ["--criterion", "emotion_prediction_cri"],
    }
    words = [each for word in words for each in rest.get(word, [word])]
    monkeypatch.setattr(sys, "argv", ["fairseq", *words])
    with pytest.raises(EmofairError, match=re.escape(said)):
        options.parse_args_and_arch(getattr(options, f"get_{parser}_parser")())


def test_other_tasks_keep_their_criterions():
    assert (
        read("--task", "masked_lm", "--arch", "roberta", "--criterion", "masked_lm", "folder").criterion == "masked_lm"
    )


def test_forgotten_arch():
    from fairseq import options

    with pytest.raises(EmofairError, match="--arch robertaEMO"):
        options.parse_args_and_arch(options.get_training_parser(), input_args=["--task", "emotion_prediction"])


@pytest.mark.parametrize(("path", "said"), [(None, "Add --path FILE"), ("gone.pt", "gone.pt: no such checkpoint")])
def test_missing_checkpoint_of_a_validation(path, said):
    from fairseq import checkpoint_utils

    with pytest.raises(EmofairError, match=said):
        checkpoint_utils.load_model_ensemble_and_task([path])


def test_state_of_a_previous_job_is_forgotten(monkeypatch):
    from fairseq import checkpoint_utils
    from fairseq_cli import train

    for holder in (checkpoint_utils.save_checkpoint, train.should_stop_early):
        monkeypatch.setattr(holder, "best", 1.0, raising=False)
    monkeypatch.setattr(train.should_stop_early, "num_runs", 3, raising=False)
    compat.forget_previous_job()
    assert not hasattr(checkpoint_utils.save_checkpoint, "best")
    assert not hasattr(train.should_stop_early, "best") and not hasattr(train.should_stop_early, "num_runs")
    compat.forget_previous_job()
    # For monkeypatch to find what it has set.
    checkpoint_utils.save_checkpoint.best = train.should_stop_early.best = train.should_stop_early.num_runs = None


def test_paths_are_seen_from_where_the_program_was_started(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert compat.original_path("a/b") == str(tmp_path / "a" / "b")
    assert compat.original_path("/a/b") == "/a/b"
    assert compat.original_path("~/b") == str(Path.home() / "b")


@pytest.mark.parametrize("spelling", ["emofair", str(PACKAGE)])
def test_user_dir_of_an_imported_plugin_passes(spelling, monkeypatch, tmp_path):
    """Also the bare name from a folder without the plugin, as after `emofair.register()`."""
    from fairseq import utils

    monkeypatch.chdir(tmp_path)
    utils.import_user_module(types.SimpleNamespace(user_dir=spelling))
