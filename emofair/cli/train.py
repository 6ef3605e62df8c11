"""Train with fairseq-train, with the plugin imported and fairseq's CPU traps cured.

Every option of fairseq-train works here. Under torchrun on CPUs the ranks are connected through gloo:

    torchrun --nproc-per-node 2 -m emofair.cli.main train --cpu ...
"""

from __future__ import annotations

import argparse
import os
import sys

from emofair.compat import PACKAGE
from emofair.errors import EmofairError

HELP = "fairseq-train with the plugin imported (also under torchrun on CPUs)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All arguments are fairseq's."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of fairseq-train")


def run(args: argparse.Namespace) -> int:
    """Hand over to fairseq's own command-line entry point."""
    arguments = without_user_dir(args.arguments)
    import emofair
    from emofair import compat

    emofair.register()
    compat.register_in_every_process()
    from fairseq_cli.train import cli_main

    sys.argv = ["fairseq-train", *arguments]
    cli_main()
    return 0


def without_user_dir(arguments: list[str]) -> list[str]:
    """Drop ``--user-dir emofair`` (in any spelling of the path): the plugin is imported already.

    Raises `EmofairError` when the path is that of another copy of emofair.
    """
    kept, skip = [], False
    for index, argument in enumerate(arguments):
        if skip:
            skip = False
            continue
        name, _, value = argument.partition("=")
        if name == "--user-dir":
            folder = value or (arguments[index + 1] if index + 1 < len(arguments) else "")
            if os.path.basename(os.path.normpath(folder)) == PACKAGE.name:
                if os.path.isfile(os.path.join(folder, "__init__.py")) and not os.path.samefile(folder, PACKAGE):
                    raise EmofairError(
                        f"--user-dir {folder} is another copy of emofair than the one that runs, {PACKAGE}",
                        remedy="Leave --user-dir out, or use fairseq-train",
                    )
                skip = not value
                continue
        kept.append(argument)
    return kept
