"""Look for the usual breakages of an installation and print the remedy of each.

Exit code 0 when everything that training needs is in order, 1 otherwise. Missing extras are notes, not failures.
"""

from __future__ import annotations

import argparse
import glob
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from typing import NamedTuple

HELP = "find what is broken in the installation, with the remedy"

OK, NOTE, BROKEN = "ok", "note", "BROKEN"
FAIRSEQ = "fairseq-fixed==0.12.3.1"
INSTALL_FAIRSEQ = f"env -u CUDA_HOME pip install --no-build-isolation --no-deps {FAIRSEQ}"
EXTRAS = {
    "espeakng_loader": ("demo", "the example corpus"),
    "matplotlib": ("plots", "pictures in reports"),
    "safetensors": ("hf", "Hugging Face folders with .safetensors"),
    "faiss": ("faiss", "emofair kmeans --backend faiss"),
    "snakemake": ("pipeline", "whole pipelines (folds x seeds)"),
    "tensorboard": ("tensorboard", "--tensorboard-logdir"),
}


class Finding(NamedTuple):
    """One line of the examination."""

    part: str
    state: str
    detail: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options: everything is looked at."""


def run(args: argparse.Namespace) -> int:
    """Print one line per part; 1 when something is broken."""
    findings = examine()
    width = max(len(f.part) for f in findings)
    for finding in findings:
        print(f"{finding.state:>6}  {finding.part:<{width}}  {finding.detail}")
        if finding.remedy:
            print(f"{'':>6}  {'':<{width}}  remedy: {finding.remedy}")
    return 1 if any(f.state == BROKEN for f in findings) else 0


def examine() -> list[Finding]:
    """All findings, in the order of installation."""
    checks = (python, torch, numpy, hydra, fairseq, compiler, plugin, audio, *EXTRAS)
    return [extra(check) if isinstance(check, str) else check() for check in checks]


def version_of(*names: str) -> str | None:
    """Version of the first of these distributions that is installed."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def python() -> Finding:
    """fairseq-fixed is tested on 3.11."""
    version, remedy = platform.python_version(), "python3.11 -m venv .venv, then install in the README's order"
    if sys.version_info[:2] != (3, 11):
        return Finding("python", NOTE, f"{version}: emofair is tested on 3.11", remedy)
    return Finding("python", OK, version)


def torch() -> Finding:
    """Presence, and whether a CUDA build meets a driver."""
    version = version_of("torch")
    if version is None:
        return Finding(
            "torch", BROKEN, "missing", "pip install torch==2.13.0 (or the CUDA build of your choice), first"
        )
    try:
        module = importlib.import_module("torch")
    except Exception as error:
        return Finding("torch", BROKEN, f"{version} cannot be imported: {first_line(error)}", "reinstall torch")
    built_for = module.version.cuda
    if built_for is None and shutil.which("nvidia-smi"):
        return Finding(
            "torch",
            NOTE,
            f"{version} is a CPU build, and this machine has an NVIDIA driver",
            "install a CUDA build of torch",
        )
    if built_for is not None and not module.cuda.is_available():
        return Finding(
            "torch",
            NOTE,
            f"{version} is built for CUDA {built_for}, and no GPU can be used: training runs on the CPU",
            "check `nvidia-smi`; the driver must be new enough for this CUDA version",
        )
    return Finding("torch", OK, f"{version}, {'CPU' if built_for is None else f'CUDA {built_for}'}")


def numpy() -> Finding:
    """numpy must be importable beside torch."""
    version = version_of("numpy")
    if version is None:
        return Finding("numpy", BROKEN, "missing", "pip install numpy")
    return Finding("numpy", OK, version)


def hydra() -> Finding:
    """fairseq-fixed wants hydra 1.3 with omegaconf 2.3; official fairseq hydra < 1.1 with omegaconf < 2.1."""
    found = version_of("hydra-core"), version_of("omegaconf")
    remedy = "pip install hydra-core==1.3.2 omegaconf==2.3.0"
    if None in found:
        return Finding("hydra", BROKEN, f"hydra-core {found[0]}, omegaconf {found[1]}", remedy)
    minor = tuple(".".join(v.split(".")[:2]) for v in found)
    detail = f"hydra-core {found[0]}, omegaconf {found[1]}"
    if sys.version_info >= (3, 11) and minor != ("1.3", "2.3"):
        return Finding("hydra", BROKEN, f"{detail}: fairseq-fixed is made for 1.3 and 2.3", remedy)
    return Finding("hydra", OK, detail)


def fairseq() -> Finding:
    """The fork that imports on Python 3.11 and later, with its compiled parts."""
    official, fork = version_of("fairseq"), version_of("fairseq-fixed")
    if importlib.util.find_spec("fairseq") is None:
        return Finding("fairseq", BROKEN, "missing", INSTALL_FAIRSEQ)
    remedy = f"pip uninstall -y fairseq && {INSTALL_FAIRSEQ}"
    if official is not None and fork is None and sys.version_info >= (3, 11):
        return Finding("fairseq", BROKEN, f"official fairseq {official} cannot be imported on Python 3.11", remedy)
    if official == "0.12.2" and fork is None:
        return Finding(
            "fairseq", BROKEN, "official fairseq 0.12.2 is older than the one that emofair builds on", remedy
        )
    error = import_error("fairseq")
    if error:
        return Finding("fairseq", BROKEN, f"cannot be imported: {error}", INSTALL_FAIRSEQ)
    name = f"fairseq-fixed {fork}" if fork else f"fairseq {official or 'from source'}"
    # Looked for on disk: asking Python for the module would import all of fairseq once more.
    folders = importlib.util.find_spec("fairseq").submodule_search_locations or []
    if not any(glob.glob(os.path.join(folder, "data", "data_utils_fast*")) for folder in folders):
        detail = f"{name} without its compiled parts: emofair's tasks work, stock tasks such as masked_lm do not"
        return Finding("fairseq", NOTE, detail, f"{INSTALL_FAIRSEQ} --force-reinstall")
    return Finding("fairseq", OK, name)


def compiler() -> Finding:
    """CUDA_HOME makes the fairseq build try to compile sources that its archive lacks."""
    if os.environ.get("CUDA_HOME") and importlib.util.find_spec("fairseq") is None:
        return Finding("build", BROKEN, "CUDA_HOME is set, and with it fairseq does not build", INSTALL_FAIRSEQ)
    return Finding("build", OK, "nothing in the way")


def plugin() -> Finding:
    """emofair's registration, in a process of its own: exactly what ``--user-dir emofair`` does."""
    code = "import emofair; emofair.register()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding("emofair", BROKEN, f"cannot be registered with fairseq: {last}", "see the lines above")
    import emofair

    return Finding("emofair", OK, f"{emofair.__version__}, --user-dir {os.path.dirname(emofair.__file__)}")


def audio() -> Finding:
    """soundfile carries libsndfile in its wheel; a source build may miss it."""
    error = import_error("soundfile") or import_error("soxr")
    if error:
        return Finding("audio", BROKEN, error, "pip install soundfile soxr")
    return Finding("audio", OK, f"soundfile {version_of('soundfile')}, soxr {version_of('soxr')}")


def extra(module: str) -> Finding:
    """An optional dependency."""
    name, purpose = EXTRAS[module]
    if importlib.util.find_spec(module) is None:
        return Finding(module, NOTE, f"missing: needed for {purpose}", f"pip install 'emofair[{name}]'")
    return Finding(module, OK, version_of(module, module.replace("_", "-")) or "present")


def import_error(module: str) -> str | None:
    """First line of what goes wrong when ``module`` is imported in a fresh process, or None."""
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
    return (done.stderr.strip().splitlines() or ["no message"])[-1] if done.returncode else None


def first_line(error: Exception) -> str:
    """An error's message on one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
