"""A corpus, as it was downloaded, or a list of clips -> manifests that every system of emofair reads.

Audio stays where it is. Nothing is written when rows cannot be used, counts differ from the published ones, or ids,
speakers or sounds are on both sides of a split; each of these has an option to go on. Examples:

    emofair prepare synthetic --out data/toy
    emofair prepare iemocap --root IEMOCAP_full_release --fold 1 --classes 4 --out data/iemocap/1 --check
    emofair prepare meld --root MELD.Raw --text-only --out data/meld
    emofair prepare mosi --root CMU_MOSI --label-files T_data/mosi --out data/mosi
    emofair prepare tsv --list items.tsv --out data/mine
    emofair prepare --check --out data/mine
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emofair.cli import disjoint
from emofair.cli.disjoint import MOST_SHOWN
from emofair.cli.outputs import check_folder
from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.corpora import Source

HELP = "a corpus or a list of clips -> manifests; --check verifies them"
SOURCES = ("iemocap", "meld", "mosi", "mosei", "tsv", "synthetic")

# Options that only some sources have: a wrong one is an error instead of being ignored.
_ONLY_FOR = {
    "fold": ("iemocap",),
    "classes": ("iemocap",),
    "valid": ("iemocap",),
    "allow_count_mismatch": ("iemocap", "meld", "mosi"),
    "label_files": ("mosi", "mosei"),
    "list": ("tsv",),
    "labels": ("tsv",),
    "clips": ("synthetic",),
    "seed": ("synthetic",),
    "root": ("iemocap", "meld", "mosi", "mosei", "tsv"),
    "text_only": ("iemocap", "meld", "mosi", "mosei", "tsv"),
    "resample": ("iemocap", "meld", "mosi", "mosei", "tsv"),
    "skip_bad": ("iemocap", "meld", "mosi", "mosei", "tsv"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb; those of one source only are grouped under its name."""
    parser.add_argument(
        "source", nargs="?", metavar="SOURCE", choices=SOURCES, help=f"{', '.join(SOURCES)}; none to check --out alone"
    )
    parser.add_argument("--root", metavar="DIR", help="folder of the download (tsv: what wav is relative to)")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the manifests")
    parser.add_argument("--check", action="store_true", help="decode all audio and verify the manifests in --out")
    parser.add_argument("--text-only", action="store_true", default=None, help="ignore the audio, there may be none")
    parser.add_argument("--resample", action="store_true", default=None, help="accept audio that is not at 16 kHz")
    parser.add_argument("--skip-bad", action="store_true", default=None, help="leave out rows that cannot be used")
    parser.add_argument("--allow-overlap", action="store_true", help=disjoint.HELP)
    parser.add_argument(
        "--allow-count-mismatch", action="store_true", default=None, help="accept counts that differ from the published"
    )
    group = parser.add_argument_group("iemocap")
    group.add_argument("--fold", choices=("shipped", *"12345"), help="session to test on (default: shipped, that is 5)")
    group.add_argument("--classes", type=int, choices=(4, 5), help="4 merges exc into hap (default: 5)")
    group.add_argument("--valid", choices=("next", "none"), help="session after --fold validates, or none does")
    group = parser.add_argument_group("mosi, mosei")
    group.add_argument("--label-files", metavar="PATH", help="label table or the folder with them (default: --root)")
    group = parser.add_argument_group("tsv")
    group.add_argument("--list", metavar="FILE", help="tab-separated list with a header: id wav text label split")
    group.add_argument("--labels", metavar="A,B,...", help="the labels that may occur (default: any)")
    group = parser.add_argument_group("synthetic")
    group.add_argument("--clips", type=int, metavar="N", help="how many clips to make")
    group.add_argument("--seed", type=int, metavar="S", help="same seed, same corpus")


def run(args: argparse.Namespace) -> int:
    """Prepare, check or both; 0 when all is well, 1 when `--check` found errors."""
    if args.source is None and not args.check:
        raise EmofairError(
            "prepare what?", remedy=f"name a source ({', '.join(SOURCES)}), or --check an existing --out"
        )
    for option, sources in _ONLY_FOR.items():
        if getattr(args, option) is not None and args.source not in sources:
            flag = "--" + option.replace("_", "-")
            raise EmofairError(f"{flag} does not go with {args.source or '--check alone'} (only {', '.join(sources)})")
    if args.source:
        check_folder(args.out)
    if args.source == "synthetic":
        _synthetic(args)
    elif args.source:
        _prepare(args)
    return _check(args) if args.check else 0


def _synthetic(args: argparse.Namespace) -> None:
    from emofair.corpora.synthetic import generate

    chosen = {name: getattr(args, name) for name in ("clips", "seed") if getattr(args, name) is not None}
    generate(args.out, **chosen)
    if not args.check:
        _print_summary(args.out)


def _prepare(args: argparse.Namespace) -> None:
    from emofair.corpora.measure import measure, without_audio
    from emofair.data.manifests import write_corpus

    source = _read(args)
    for reason, n in sorted(source.dropped.items()):
        _say(f"left out: {n} with {reason}")
    for note in source.notes:
        _say(f"note: {note}")
    if args.text_only:
        without_audio(source)
    else:
        measure(source, resample=bool(args.resample), progress=True)
    _report(source, skip=bool(args.skip_bad))
    _compare_counts(source, go_on=bool(args.allow_count_mismatch))
    # --check tells the warnings once more.
    disjoint.refuse_overlap(
        source.splits, allow=args.allow_overlap, shared=source.shared_groups, warnings=not args.check
    )
    write_corpus(
        args.out,
        source.splits,
        root=source.root,
        name=source.name,
        allow_overlap=args.allow_overlap,
        resample=bool(args.resample),
        text_only=bool(args.text_only),
        shared_groups=list(source.shared_groups),
        dropped=dict(source.dropped) | ({"bad rows": len(source.problems)} if source.problems else {}),
        **source.facts,
    )
    if not args.check:
        _print_summary(args.out)


def _read(args: argparse.Namespace) -> Source:
    from emofair.corpora import cmu, iemocap, meld, tsv

    if args.source == "tsv":
        if args.list is None:
            raise EmofairError("tsv needs a list", remedy="--list items.tsv, columns id wav text label split")
        labels = [label.strip() for label in args.labels.split(",")] if args.labels else None
        return tsv.read(args.list, root=args.root, labels=labels, audio=not args.text_only)
    if args.root is None:
        raise EmofairError(f"{args.source} needs the folder of the download", remedy="--root DIR")
    if not Path(args.root).is_dir():
        raise EmofairError("no such folder", file=args.root, remedy="--root is the folder of the download")
    if args.source == "iemocap":
        return iemocap.read(
            args.root, classes=args.classes or 5, fold=args.fold or "shipped", valid=args.valid or "next"
        )
    if args.source == "meld":
        return meld.read(args.root)
    reader = cmu.read_mosi if args.source == "mosi" else cmu.read_mosei
    return reader(args.root, labels=args.label_files, audio=not args.text_only)


def _report(source: Source, skip: bool) -> None:
    problems = source.problems
    for problem in problems[:MOST_SHOWN]:
        _say(f"{'left out' if skip else 'error'}: {problem}")
    if len(problems) > MOST_SHOWN:
        _say(f"... and {len(problems) - MOST_SHOWN} more")
    if problems and not skip:
        raise EmofairError(
            f"{len(problems)} rows or clips cannot be used", remedy="correct them, or leave them out with --skip-bad"
        )
    empty = [split for split, items in source.splits.items() if not items]
    if empty or not source.splits:
        raise EmofairError(f"nothing usable is left in {', '.join(empty) or 'any split'}", file=source.root)


def _compare_counts(source: Source, go_on: bool) -> None:
    for mismatch in source.mismatches[:MOST_SHOWN]:
        _say(f"{'note' if go_on else 'error'}: {mismatch}")
    if source.mismatches and not go_on:
        raise EmofairError(
            f"the counts of {source.name} are not the published ones",
            file=source.root,
            remedy="complete the download, or go on with --allow-count-mismatch",
        )


def _print_summary(out: str) -> None:
    from emofair.data.corpus_check import summary_table
    from emofair.data.manifests import read_corpus, read_split, splits_of

    splits = {split: read_split(out, split) for split in splits_of(out)}
    if splits:
        print(f"{read_corpus(out).get('name', 'corpus')} in {out}")
        print(summary_table(splits))


def _check(args: argparse.Namespace) -> int:
    from emofair.data.corpus_check import check_corpus

    problems = check_corpus(args.out, allow_overlap=args.allow_overlap, progress=True)
    # A split that cannot be read has its line among the problems.
    with contextlib.suppress(EmofairError):
        _print_summary(args.out)
    for problem in problems:
        _say(str(problem))
    errors = sum(not problem.warning for problem in problems)
    print(f"check: {errors} errors, {len(problems) - errors} warnings")
    return 1 if errors else 0


def _say(line: str) -> None:
    print(f"emofair: {line}", file=sys.stderr)
