"""The check of ``--device``, alike in every command that has one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emofair import device as device_module
from emofair.cli.main import main
from emofair.device import autocast_pays, find_device, has_fast_bf16
from emofair.errors import EmofairError
from emofair.units.vq_wav2vec import SpeechTokenizer


def test_the_cpu_is_always_there():
    assert find_device("cpu") == find_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "tpu", "cuda:x", "cuda:", "CUDA", "mps"])
def test_unknown_names(name):
    with pytest.raises(EmofairError, match=rf"^--device {name} is not known\. Use cpu, cuda or cuda:<n>\.$"):
        find_device(name)


def test_an_absent_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name in ("cuda", "cuda:0"):
        with pytest.raises(EmofairError, match=rf"--device {name}, and torch sees no GPU here\. Use --device cpu"):
            find_device(name)


def test_a_gpu_beyond_the_last(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert find_device("cuda") == torch.device("cuda") and find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(EmofairError, match=r"--device cuda:2, and there are 2 GPUs, counted from 0"):
        find_device("cuda:2")


@pytest.mark.parametrize(("device", "said"), [("cuda", "no GPU here"), ("gpu", "--device gpu is not known")])
def test_every_command_says_so_before_it_reads_anything(device, said, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for command in (["predict", "--text", "hello"], ["evaluate", "--data", "absent"]):
        assert main([*command, "--checkpoint", "absent.pt", "--device", device]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("emofair: error: --device") and said in line
    with pytest.raises(EmofairError, match=said):
        SpeechTokenizer("absent.pt", None, device=device)


def test_a_cpu_has_fast_bf16_where_it_has_instructions_for_it():
    assert has_fast_bf16(torch.device("cuda"))
    info = Path("/proc/cpuinfo")
    if not info.exists() or "flags" not in info.read_text():
        pytest.skip("the processor does not tell its features here")
    flags = info.read_text().split()
    assert has_fast_bf16(torch.device("cpu")) == bool({"avx512_bf16", "amx_bf16"} & set(flags))


SLOW = "autocast would double the time, and fp32 is used instead"


@pytest.mark.parametrize("fast", [False, True])
def test_autocast_is_left_out_and_said_so_where_bf16_is_emulated(fast, monkeypatch, caplog):
    monkeypatch.setattr(device_module, "_cpu_has_fast_bf16", lambda: fast)
    device_module._warn_of_slow_bf16.cache_clear()
    cpu = torch.device("cpu")
    assert [autocast_pays(cpu, asked) for asked in (False, True, True)] == [False, fast, fast]
    assert autocast_pays(torch.device("cuda"), True)
    assert [record.message for record in caplog.records if "bfloat16" in record.message] == (
        [] if fast else [f"this CPU has no bfloat16 instructions: {SLOW}"]
    )
