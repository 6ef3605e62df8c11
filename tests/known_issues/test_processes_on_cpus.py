"""fairseq starts as many processes as there are GPUs: on a CPU none, and it reports success without training."""

from __future__ import annotations

import pytest

import emofair
from emofair.errors import EmofairError
from emofair.testing.commands import seed_arguments, train_here


def read_for_validation(*more):
    emofair.register()
    from fairseq import options

    arguments = ["--task", "emotion_prediction", "--path", "x.pt", "--cpu", *more]
    return options.parse_args_and_arch(options.get_validation_parser(), input_args=arguments)


def test_a_number_of_processes_without_torchrun_is_refused(token_corpora, ssl_dir, tmp_path):
    arguments = seed_arguments(token_corpora("iemocap"), ssl_dir, tmp_path)
    with pytest.raises(EmofairError, match="--nproc-per-node 2"):
        train_here([*arguments, "--distributed-world-size", "2"])


def test_several_processes_cannot_validate_together(monkeypatch):
    """fairseq-validate would die in the middle: it gathers results in GPU memory."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EmofairError, match="one process"):
        read_for_validation()


def test_cpu_flag_on_a_machine_with_gpus_means_one_process(monkeypatch):
    """There the default number of processes is the number of GPUs."""
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert read_for_validation("--distributed-world-size", "4").distributed_world_size == 1
