"""Train with fairseq-train, with the plugin imported and fairseq's CPU traps cured.

Every option of fairseq-train works here. Under torchrun on CPUs the ranks are connected through gloo:

    torchrun --nproc-per-node 2 -m emofair.cli.main train --cpu ...
"""

from __future__ import annotations

import argparse
import os
import sys

from emofair.errors import EmofairError

HELP = "fairseq-train with the plugin imported (also under torchrun on CPUs)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All arguments are fairseq's."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of fairseq-train")


def run(args: argparse.Namespace) -> int:
    """Hand over to fairseq's own command-line entry point."""
    arguments = without_user_dir(args.arguments)
    import emofair

    emofair.register()
    import torch

    if "--cpu" in arguments or not torch.cuda.is_available():
        arguments = connect_cpu_ranks(arguments)
    from fairseq_cli.train import cli_main

    sys.argv = ["fairseq-train", *arguments]
    cli_main()
    return 0


def without_user_dir(arguments: list[str]) -> list[str]:
    """Drop ``--user-dir emofair`` (in any spelling of the path): the plugin is imported already."""
    kept, skip = [], False
    for index, argument in enumerate(arguments):
        if skip:
            skip = False
            continue
        name, _, value = argument.partition("=")
        if name == "--user-dir":
            folder = value or (arguments[index + 1] if index + 1 < len(arguments) else "")
            if os.path.basename(os.path.normpath(folder)) == "emofair":
                skip = not value
                continue
        kept.append(argument)
    return kept


def connect_cpu_ranks(arguments: list[str]) -> list[str]:
    """Add what fairseq needs to join CPU processes that torchrun started.

    fairseq takes the rank modulo the number of GPUs, and spawns as many processes as there are GPUs: on a CPU the
    first divides by zero and the second trains nothing and reports success.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    by_hand = any(a.startswith("--distributed-init-method") for a in arguments)
    if "RANK" in os.environ and world_size > 1 and not by_hand:
        arguments = _without_option(arguments, "--ddp-backend")
        return [
            *arguments,
            *("--distributed-init-method", "env://", "--distributed-world-size", str(world_size)),
            *("--distributed-rank", os.environ["RANK"], "--distributed-no-spawn"),
            *("--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"),
        ]
    asked = _value_of(arguments, "--distributed-world-size")
    if asked not in (None, "1") and "--distributed-no-spawn" not in arguments:
        raise EmofairError(
            f"--distributed-world-size {asked} starts no process on a CPU",
            remedy=f"torchrun --nproc-per-node {asked} -m emofair.cli.main train ...",
        )
    return arguments


def _value_of(arguments: list[str], option: str) -> str | None:
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == option:
            return value if equals else (arguments[index + 1] if index + 1 < len(arguments) else None)
    return None


def _without_option(arguments: list[str], option: str) -> list[str]:
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == option:
            skip = True
        elif not argument.startswith(f"{option}="):
            kept.append(argument)
    return kept
