"""Entry point of the `emofair` command: finds the verb, shows one-line errors, returns the exit code."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys

from emofair import __version__
from emofair.errors import EmofairError

# In the order of use. A verb's module is imported when its help is needed: all of them are light.
VERBS = (
    "prepare",
    "tokenize",
    "features",
    "kmeans",
    "units",
    "clusters",
    "train",
    "validate",
    "evaluate",
    "predict",
    "timeline",
    "convert",
    "report",
    "doctor",
)
PASS_THROUGH = ("train", "validate")


def build_parser() -> argparse.ArgumentParser:
    """The whole command-line grammar."""
    parser = argparse.ArgumentParser(
        prog="emofair", description="Emotion and turn-taking in speech: prepare, train, evaluate, predict."
    )
    parser.add_argument("--version", action="version", version=f"emofair {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in VERBS:
        module = importlib.import_module(f"emofair.cli.{name}")
        sub = verbs.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=name not in PASS_THROUGH,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Returns 0 on success, 1 when it ran and found problems, 2 on a usage or input error."""
    argv = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files need not be text in any encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = build_parser()
    if argv and argv[0] in PASS_THROUGH:
        # fairseq's own parser reads these; argparse would swallow options such as --help or -m.
        args = argparse.Namespace(verb=argv[0], arguments=argv[1:])
        run = importlib.import_module(f"emofair.cli.{argv[0]}").run
    else:
        args = parser.parse_args(argv)
        run = args.run
    try:
        return run(args)
    except EmofairError as error:
        if os.environ.get("EMOFAIR_TRACEBACK"):
            raise
        print(f"emofair: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A file or folder of the wrong kind, a full disk: none of our doing, wherever it came up.
        if error.errno is None or os.environ.get("EMOFAIR_TRACEBACK"):
            raise
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"emofair: error: {place}{error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("emofair: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
