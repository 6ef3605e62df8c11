"""Where a result comes from: versions, the state of the source tree, and hashes of files and data."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# Names under which a package may be installed.
DISTRIBUTIONS = {"fairseq": ("fairseq-fixed", "fairseq"), "torch": ("torch",), "numpy": ("numpy",)}
FOLD = re.compile(r"fold[-_]?(\d+)", re.IGNORECASE)


def versions() -> dict[str, str | None]:
    """Versions of emofair, Python, and the packages that decide about numbers; None where one is not known."""
    from emofair import __version__

    return {
        "emofair": __version__,
        **{name: _installed(candidates) for name, candidates in DISTRIBUTIONS.items()},
        "python": platform.python_version(),
    }


def _installed(candidates: Iterable[str]) -> str | None:
    for name in candidates:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def source_commit(package: Path = PACKAGE) -> str | None:
    """``git describe`` of the checkout that ``package`` is run from, ending in "-dirty" if files were changed.

    None where the package is not under git's control, as in site-packages.
    """
    try:
        # A virtual environment may lie inside somebody else's repository: its files are not tracked there.
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        return _git(package, "describe", "--always", "--dirty", "--tags").strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def items_sha256(ids: Iterable[str], labels: Iterable[object] | None) -> str:
    """SHA-256 of a split as a set of labelled utterances; their order and the folder's name do not matter."""
    ids = list(ids)
    pairs = zip(ids, ids if labels is None else labels, strict=True)
    return hashlib.sha256("\n".join(sorted(f"{name}\t{label}" for name, label in pairs)).encode()).hexdigest()


def fold_of(data: str | os.PathLike[str]) -> str | None:
    """The fold that a data folder's ``corpus.json`` or path names (``.../fold3/...``); None where there is none."""
    from emofair.data.manifests import read_corpus

    fold = read_corpus(data).get("fold")
    if fold is not None:
        return str(fold)
    named = [match[1] for part in Path(data).parts if (match := FOLD.fullmatch(part))]
    return named[-1] if named else None
