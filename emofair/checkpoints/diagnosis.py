"""What is wrong with a file that cannot be read as a checkpoint or pickle, and what to do about it."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from pathlib import Path

from emofair.errors import EmofairError

TRUST_VARIABLE = "EMOFAIR_TRUST_CHECKPOINTS"
TRUST_REMEDY = (
    f"If you trust whoever made this file, set {TRUST_VARIABLE}=1 and try again; "
    "the file can then run any code on this computer"
)
FETCH_AGAIN = "Download or copy it again"
NOT_ALLOWED = re.compile(r"GLOBAL (\S+) (?:was not an allowed global|whose module)")


def check_file(path: str | os.PathLike[str]) -> Path:
    """``path`` as a `Path`, or an `EmofairError` when it is missing, a folder, or plainly not a binary checkpoint."""
    path = Path(path)
    if path.is_dir():
        raise EmofairError("is a folder, a checkpoint file is needed", file=path, remedy="Name the .pt file inside it")
    if not path.exists():
        raise EmofairError("no such file", file=path)
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path) from None
    if not head:
        raise EmofairError("is empty", file=path, remedy=way_back(path))
    if not head.strip(b"\0"):  # what a crash of the machine leaves of a file that was being written
        raise EmofairError("is damaged: it begins with nothing but zeros", file=path, remedy=way_back(path))
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        raise EmofairError(
            "is a Git-LFS pointer, not the file itself", file=path, remedy="Run git lfs pull in its repository"
        )
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise EmofairError(
            "is a web page that was saved under this name", file=path, remedy="Download the file behind the link"
        )
    return path


def explain_failure(path: str | os.PathLike[str], error: BaseException, not_allowed: list[str]) -> EmofairError:
    """The one-line error for ``error``, raised while reading ``path``; ``not_allowed`` are names it may not use."""
    if isinstance(error, EmofairError):
        return error
    try:
        path = check_file(path)
    except EmofairError as found:
        return found
    message = " ".join(str(error).split())
    # torch wraps the cause in three sentences of general advice.
    if cause := re.search(
        r"WeightsUnpickler error: (.*?)(?: Check the documentation| Please file an issue|$)", message
    ):
        message = cause[1]
    with path.open("rb") as stream:
        zipped = stream.read(4) == b"PK\x03\x04"
    if zipped and not zipfile.is_zipfile(path):
        return EmofairError("is truncated: its end is missing", file=path, remedy=way_back(path))
    not_allowed = sorted(not_allowed) or NOT_ALLOWED.findall(message)
    if not_allowed:
        return EmofairError(
            f"asks for code that is not on the allow-list: {', '.join(not_allowed)}", file=path, remedy=TRUST_REMEDY
        )
    if isinstance(error, (EOFError, struct.error)) or re.search(r"\bEOF\b|truncated|Ran out of input", message):
        return EmofairError("is truncated: its end is missing", file=path, remedy=way_back(path))
    if "TorchScript" in message or ".tar format" in message:
        return EmofairError(
            f"is not a weights-only checkpoint ({'TorchScript' if 'TorchScript' in message else 'old tar format'})",
            file=path,
            remedy=TRUST_REMEDY,
        )
    if "PytorchStreamReader" in message or isinstance(error, zipfile.BadZipFile):
        return EmofairError("is damaged", file=path, remedy=way_back(path))
    if "call reduce" in message or "an only build" in message or "an only create" in message:
        return EmofairError("is built to run code when it is loaded", file=path, remedy=TRUST_REMEDY)
    # What an unpickler says of a text or a recording is about its own workings.
    told = zipped or isinstance(error, (AttributeError, ImportError))
    return EmofairError(
        "is not a checkpoint" + (f" ({type(error).__name__}: {message[:160]})" if told else ""), file=path
    )


def way_back(path: Path) -> str:
    """What to do about a broken file: for a training's checkpoint, which older one to continue from."""
    if not path.name.startswith("checkpoint"):
        return FETCH_AGAIN
    others = [p for p in path.parent.glob("checkpoint*.pt") if p != path and zipfile.is_zipfile(p)]
    if not others:
        return "Delete it and start the training again: there is no older checkpoint beside it"
    newest = max(others, key=lambda p: p.stat().st_mtime)
    return f"Go on from the newest whole one beside it: --restore-file {newest}"
