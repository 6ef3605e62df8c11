"""Makes sure that a training goes on only from its own checkpoints: what it was started with lies beside them.

    python examples/fresh_run.py RUN INPUT ... -- OPTION ...

RUN/started_with.json holds the options and the SHA-256 of every input: of a file, of the files in a folder, and of the
checkpoints beside a marker called ``trained``. Where it says what is said now, a training was killed, and fairseq goes
on with it. Where it says something else, or is not there, the checkpoints, logs and scores in RUN are of another
training, which fairseq would go on with all the same: they are removed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from emofair.inference.provenance import file_sha256

STAMP = "started_with.json"


def contents(path: Path) -> str | dict[str, str]:
    """The SHA-256 of what an input stands for; by name, where these are several files."""
    if path.name == "trained":
        return {file.name: file_sha256(file) for file in sorted(path.parent.glob("checkpoint*.pt"))}
    if path.is_dir():
        return {file.name: file_sha256(file) for file in sorted(path.glob("[!.]*")) if file.is_file()}
    return file_sha256(path)


def left_behind(run: Path) -> list[Path]:
    """Checkpoints, logs and scores of an earlier training."""
    return sorted([*run.glob("*.pt"), *run.glob("*.log"), *run.glob("test")])


def prepare(run: Path, inputs: list[Path], options: list[str]) -> str:
    """Leave in ``run`` only what was started with these inputs and options; returns what was removed, in a line."""
    here = os.getcwd() + os.sep  # a folder may be moved with all that is in it
    asked = {
        "options": [option.replace(here, "") for option in options],
        "inputs": {str(path).replace(here, ""): contents(path) for path in inputs},
    }
    stamp = run / STAMP
    before = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else None
    if before == asked:
        return ""
    run.mkdir(parents=True, exist_ok=True)
    # Without a stamp, whatever is left by a kill in the midst of this is removed the next time.
    stamp.unlink(missing_ok=True)
    removed = left_behind(run)
    for path in removed:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    unfinished = stamp.with_suffix(".part")
    unfinished.write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(stamp)
    if not removed:
        return ""
    why = "started with other inputs or options" if before else "not known what it was started with"
    return f"{run}: {why}, starts anew without {', '.join(path.name for path in removed)}"


def main() -> None:
    """Prepare a folder for the training that follows."""
    run, *rest = sys.argv[1:]
    end = rest.index("--")
    told = prepare(Path(run), [Path(path) for path in rest[:end]], rest[end + 1 :])
    if told:
        print(told, file=sys.stderr)


if __name__ == "__main__":
    main()
