"""Each breakage of an installation is found, with the remedy that cures it; a whole one passes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
import types
from collections import namedtuple

import pytest

from emofair.cli import doctor
from emofair.cli.doctor import BROKEN, NOTE, OK
from emofair.testing.commands import run

Version = namedtuple("Version", "major minor micro releaselevel serial")


@pytest.fixture
def installed(monkeypatch):
    """Pretend that distributions are installed in given versions; None: not installed."""

    def pretend(**versions):
        real = importlib.metadata.version

        def version(name):
            key = name.replace("-", "_")
            if key not in versions:
                return real(name)
            if versions[key] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[key]

        monkeypatch.setattr(importlib.metadata, "version", version)

    return pretend


@pytest.fixture
def absent(monkeypatch):
    """Pretend that modules cannot be found."""

    def pretend(*modules):
        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *more: None if name in modules else real(name, *more)
        )

    return pretend


@pytest.fixture
def torch_build(monkeypatch):
    """Pretend a build of torch (CUDA version or None), a usable GPU, and a driver."""

    def pretend(cuda, gpu, driver):
        module = types.SimpleNamespace(
            version=types.SimpleNamespace(cuda=cuda), cuda=types.SimpleNamespace(is_available=lambda: gpu)
        )
        monkeypatch.setitem(sys.modules, "torch", module)
        monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi" if driver else None)

    return pretend


def test_whole_environment_is_in_order():
    lines = [line.split() for line in run("emofair", "doctor").stdout.splitlines()]
    states = {words[1]: words[0] for words in lines if words[0] in (OK, NOTE, BROKEN)}
    # A CPU build of torch beside a GPU, or another Python, is worth a note and no failure.
    assert states.pop("torch") in (OK, NOTE) and states.pop("python") in (OK, NOTE)
    assert states == dict.fromkeys(("numpy", "hydra", "fairseq", "build", "emofair", "audio", *doctor.EXTRAS), OK)


def test_missing_fairseq(absent, installed):
    absent("fairseq")
    installed(fairseq=None, fairseq_fixed=None)
    found = doctor.fairseq()
    assert (found.state, found.detail) == (BROKEN, "missing")
    assert "--no-build-isolation --no-deps fairseq-fixed==0.12.3.1" in found.remedy


@pytest.mark.parametrize("python", [(3, 10), (3, 11)])
def test_official_fairseq_that_cannot_be_used(installed, monkeypatch, python):
    installed(fairseq="0.12.2", fairseq_fixed=None)
    monkeypatch.setattr(sys, "version_info", Version(*python, 4, "final", 0))
    found = doctor.fairseq()
    assert found.state == BROKEN and "0.12.2" in found.detail
    assert found.remedy.startswith("pip uninstall -y fairseq && ") and "fairseq-fixed" in found.remedy


def test_fairseq_that_fails_on_import(monkeypatch):
    monkeypatch.setattr(doctor, "import_error", lambda module: "ImportError: libtorch.so: cannot open")
    found = doctor.fairseq()
    assert found.state == BROKEN and "libtorch.so" in found.detail and found.remedy


def test_fairseq_without_its_compiled_parts(monkeypatch):
    monkeypatch.setattr(doctor, "import_error", lambda module: None)
    assert doctor.fairseq().state == OK
    monkeypatch.setattr(doctor.glob, "glob", lambda pattern: [])
    found = doctor.fairseq()
    assert found.state == NOTE and "compiled parts" in found.detail and "--force-reinstall" in found.remedy


@pytest.mark.parametrize("versions", [("1.0.7", "2.0.6"), ("1.3.2", "2.0.6"), ("1.2.0", "2.3.0"), (None, "2.3.0")])
def test_wrong_pins_of_hydra_and_omegaconf(versions, installed):
    installed(hydra_core=versions[0], omegaconf=versions[1])
    found = doctor.hydra()
    assert found.state == BROKEN and str(versions[0]) in found.detail and versions[1] in found.detail
    assert found.remedy == "pip install hydra-core==1.3.2 omegaconf==2.3.0"


@pytest.mark.parametrize("module", doctor.EXTRAS)
def test_missing_extra(module, absent):
    assert doctor.extra(module).state == OK
    absent(module)
    found = doctor.extra(module)
    assert found.state == NOTE
    assert found.remedy == f"pip install 'emofair[{doctor.EXTRAS[module][0]}]'"


def test_missing_torch(installed):
    installed(torch=None)
    found = doctor.torch()
    assert found.state == BROKEN and found.remedy.startswith("pip install torch==2.13.0")


def test_torch_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = doctor.torch()
    assert found.state == BROKEN and "cannot be imported" in found.detail and found.remedy == "reinstall torch"


@pytest.mark.parametrize(
    ("cuda", "gpu", "driver", "state", "said", "remedy"),
    [
        (None, False, True, NOTE, "CPU build, and this machine has an NVIDIA driver", "install a CUDA build"),
        ("12.8", False, False, NOTE, "no GPU can be used", "nvidia-smi"),
        ("12.8", False, True, NOTE, "no GPU can be used", "driver must be new enough"),
        (None, False, False, OK, "CPU", ""),
        ("12.8", True, True, OK, "CUDA 12.8", ""),
    ],
)
def test_torch_and_gpu_that_do_not_meet(cuda, gpu, driver, state, said, remedy, torch_build):
    torch_build(cuda, gpu, driver)
    found = doctor.torch()
    assert found.state == state and said in found.detail and remedy in found.remedy


def test_cuda_home_in_the_way_of_the_build(monkeypatch, absent):
    monkeypatch.setenv("CUDA_HOME", "/usr/local/cuda")
    assert doctor.compiler().state == OK
    absent("fairseq")
    found = doctor.compiler()
    assert found.state == BROKEN and "CUDA_HOME" in found.detail and found.remedy.startswith("env -u CUDA_HOME pip")
    monkeypatch.delenv("CUDA_HOME")
    assert doctor.compiler().state == OK


def test_another_python(monkeypatch):
    assert doctor.python().state == OK
    monkeypatch.setattr(sys, "version_info", Version(3, 13, 0, "final", 0))
    monkeypatch.setattr(platform, "python_version", lambda: "3.13.0")
    found = doctor.python()
    assert found.state == NOTE and "3.13.0" in found.detail and "python3.11" in found.remedy


def test_plugin_that_cannot_be_registered(monkeypatch):
    monkeypatch.setattr(sys, "executable", os.path.realpath(sys.executable))  # outside the environment: no torch there
    found = doctor.plugin()
    assert found.state == BROKEN and "cannot be registered" in found.detail


def test_audio_library_missing(monkeypatch):
    monkeypatch.setattr(doctor, "import_error", lambda module: f"No module named {module!r}")
    found = doctor.audio()
    assert (found.state, found.remedy) == (BROKEN, "pip install soundfile soxr")


def test_exit_code_and_remedies_in_the_output(monkeypatch, capsys):
    findings = [doctor.Finding("torch", OK, "fine"), doctor.Finding("matplotlib", NOTE, "missing", "pip install it")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    assert doctor.run(None) == 0
    assert "remedy: pip install it" in capsys.readouterr().out
    findings.append(doctor.Finding("fairseq", BROKEN, "missing", "pip install that"))
    assert doctor.run(None) == 1
    output = capsys.readouterr().out
    assert "BROKEN  fairseq" in output and "remedy: pip install that" in output
