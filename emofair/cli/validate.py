"""Validate with fairseq-validate, with the plugin imported. Every option of fairseq-validate works here."""

from __future__ import annotations

import argparse
import sys

from emofair.cli.train import without_user_dir

HELP = "fairseq-validate with the plugin imported"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All arguments are fairseq's."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of fairseq-validate")


def run(args: argparse.Namespace) -> int:
    """Hand over to fairseq's own command-line entry point."""
    import emofair
    from emofair import compat

    emofair.register()
    compat.register_in_every_process()
    from fairseq_cli.validate import cli_main

    sys.argv = ["fairseq-validate", *without_user_dir(args.arguments)]
    cli_main()
    return 0
