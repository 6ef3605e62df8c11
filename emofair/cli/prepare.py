"""A corpus, as it was downloaded, or a list of clips -> manifests that every system of emofair reads.

Audio stays where it is, unless --write-audio asks for files that stock fairseq can read. Nothing is written when rows
cannot be used, counts differ from the published ones, or ids, speakers or sounds are on both sides of a split; each of
these has an option to go on. An earlier corpus in --out is replaced when it is of the same source, another one is not.
Examples:

    emofair prepare synthetic --out data/toy
    emofair prepare iemocap --root IEMOCAP_full_release --fold 1 --classes 4 --out data/iemocap/1 --check
    emofair prepare iemocap --root IEMOCAP_full_release --folds session --classes 4 --valid none --out data/iemocap
    emofair prepare emodb --root emodb --p1-valid 0.1 --out data/emodb --check
    emofair prepare cremad --root CREMA-D --fold-count 5 --out data/cremad
    emofair prepare json --labeldir labels_sess --root Audio_16k --out data/mine
    emofair prepare scp --train-src-path train.scp --valid-src-path valid.scp --test-src-path test.scp --out data/mine
    emofair prepare meld --root MELD.Raw --text-only --out data/meld
    emofair prepare mosi --root CMU_MOSI --label-files T_data/mosi --out data/mosi
    emofair prepare tsv --list items.tsv --out data/mine
    emofair prepare mosei --root CMU_MOSEI --write-audio --out data/mosei
    emofair prepare transductive --fold-dir data/iemocap/fold1 --out data/iemocap/heard1
    emofair prepare --check --out data/mine
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emofair.cli import prepare_folds
from emofair.cli.disjoint import HELP as OVERLAP_HELP
from emofair.cli.disjoint import MOST_SHOWN
from emofair.cli.outputs import check_folder
from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.corpora import Source

HELP = "a corpus or a list of clips -> manifests; --check verifies them"
_DOWNLOADS = ("iemocap", "emodb", "ravdess", "cremad", "meld", "mosi", "mosei", "json", "scp", "tsv")
SOURCES = (*_DOWNLOADS, "synthetic", "transductive")

_SCP = ("train_src_path", "valid_src_path", "test_src_path")

# Options that only some sources have: a wrong one is an error instead of being ignored.
_ONLY_FOR = {
    "fold": ("iemocap",),
    "classes": ("iemocap",),
    "song": ("ravdess",),
    "allow_count_mismatch": ("iemocap", "emodb", "ravdess", "cremad", "meld", "mosi"),
    "label_files": ("mosi", "mosei"),
    "labelpath": ("json",),
    "labeldir": ("json",),
    "list": ("tsv",),
    "labels": ("scp", "tsv"),
    **dict.fromkeys(_SCP, ("scp",)),
    "clips": ("synthetic",),
    "seed": (*prepare_folds.DIVISIBLE, "json"),
    "root": _DOWNLOADS,
    "text_only": ("iemocap", "meld", "mosi", "mosei", "tsv"),
    "resample": _DOWNLOADS,
    "skip_bad": _DOWNLOADS,
    "write_audio": _DOWNLOADS,
    "fold_dir": ("transductive",),
    **prepare_folds.SOURCES_OF_OPTION,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb; those of one source only are grouped under its name."""
    parser.add_argument(
        "source", nargs="?", metavar="SOURCE", choices=SOURCES, help=f"{', '.join(SOURCES)}; none to check --out alone"
    )
    parser.add_argument(
        "--root",
        "--datadir",
        metavar="DIR",
        help="folder of the download (json, scp, tsv: what file names are relative to)",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the manifests")
    parser.add_argument("--check", action="store_true", help="decode all audio and verify the manifests in --out")
    parser.add_argument("--text-only", action="store_true", default=None, help="ignore the audio, there may be none")
    parser.add_argument("--resample", action="store_true", default=None, help="accept audio that is not at 16 kHz")
    parser.add_argument(
        "--write-audio",
        action="store_true",
        default=None,
        help="write --out/audio/ID.flac, 16 kHz and mono, for clips that are cut from longer recordings or in another "
        "form (stock fairseq tasks read whole files at 16 kHz)",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        default=None,
        help="leave out rows that cannot be used; all audio is decoded to find them",
    )
    parser.add_argument("--allow-overlap", action="store_true", help=OVERLAP_HELP)
    parser.add_argument(
        "--allow-count-mismatch",
        "--no-check",
        action="store_true",
        default=None,
        help="accept counts that differ from the published",
    )
    parser.add_argument("--seed", type=int, metavar="S", help="of the synthetic corpus (1) and of random splits (58)")
    prepare_folds.add_arguments(parser)
    group = parser.add_argument_group("iemocap")
    group.add_argument("--fold", choices=("shipped", *"12345"), help="session to test on (default: shipped, that is 5)")
    group.add_argument("--classes", type=int, choices=(4, 5), help="4 merges exc into hap (default: 5)")
    group = parser.add_argument_group("ravdess")
    group.add_argument("--song", action="store_true", default=None, help="the sung clips too")
    group = parser.add_argument_group("mosi, mosei")
    group.add_argument("--label-files", metavar="PATH", help="label table or the folder with them (default: --root)")
    group = parser.add_argument_group("json")
    group.add_argument("--labelpath", metavar="FILE", help="label JSON: {Train: {file: emotion}, Val: {}, Test: {}}")
    group.add_argument("--labeldir", metavar="DIR", help="folder with one label JSON for each fold")
    group = parser.add_argument_group("scp")
    for option in _SCP:
        flag, split = f"--{option.replace('_', '-')}", option.partition("_")[0]
        group.add_argument(flag, metavar="FILE", help=f"{split}: name, path and label, a line each")
    group = parser.add_argument_group("tsv")
    group.add_argument("--list", metavar="FILE", help="tab-separated list with a header: id wav text label split")
    group.add_argument("--labels", metavar="A,B,...", help="labels that may occur (default: any; scp: IEMOCAP's)")
    group = parser.add_argument_group("synthetic")
    group.add_argument("--clips", type=int, metavar="N", help="how many clips to make")
    group = parser.add_argument_group(
        "transductive",
        "train and test of a fold as one training split, for pre-training without labels; a stage that is trained on "
        "it has heard the test clips and is refused under --protocol clean",
    )
    group.add_argument("--fold-dir", metavar="DIR", help="prepared fold whose clips are heard; its valid split stays")


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
    if args.write_audio and args.text_only:
        raise EmofairError("--write-audio does not go with --text-only", remedy="Leave one of them out")
    if args.source:
        check_folder(args.out)
        prepare_folds.check_arguments(args)
    # Paths in manifests are absolute.
    for option in ("root", "list", "label_files", "labelpath", "labeldir", "fold_dir", *_SCP):
        if getattr(args, option) is not None:
            setattr(args, option, os.path.abspath(getattr(args, option)))
    if args.source:
        prepare = {"synthetic": _synthetic, "transductive": _transductive}.get(args.source, _prepare)
        if replaced := prepare(args):
            _say(f"note: replaced {replaced}")
    return _check(args) if args.check else 0


def _synthetic(args: argparse.Namespace) -> str | None:
    from emofair.corpora import UNDIVIDED, Source
    from emofair.corpora.synthetic import generate
    from emofair.data.fold_folders import check_replaced, remove_folds
    from emofair.data.manifests import read_split

    replaced = check_replaced(args.out, args.source)
    chosen = {name: getattr(args, name) for name in ("clips", "seed") if getattr(args, name) is not None}
    remove_folds(args.out)
    corpus = generate(args.out, **chosen)
    if args.folds:
        items = [utterance for split in corpus["splits"] for utterance in read_split(args.out, split)]
        facts = {name: corpus[name] for name in ("seed", "clips", "espeak")}
        source = Source(corpus["name"], corpus["root"], {UNDIVIDED: items}, facts=facts)
        _divide_and_write(args, source)
    elif not args.check:
        _print_summary(args.out)
    return replaced


def _transductive(args: argparse.Namespace) -> str | None:
    from emofair.corpora.transductive import write_transductive

    if args.fold_dir is None:
        raise EmofairError("transductive needs a prepared fold", remedy="--fold-dir DIR")
    replaced = write_transductive(args.fold_dir, args.out, allow_overlap=args.allow_overlap)
    if not args.check:
        _print_summary(args.out)
    return replaced


def _prepare(args: argparse.Namespace) -> str | None:
    from emofair.corpora.measure import measure, without_audio
    from emofair.data.fold_folders import check_replaced

    replaced = check_replaced(args.out, args.source)
    source = _read(args)
    for reason, n in sorted(source.dropped.items()):
        _say(f"left out: {n} with {reason}")
    if args.text_only:
        without_audio(source)
    else:
        resample = bool(args.resample or args.write_audio)
        measure(source, resample=resample, decode=bool(args.skip_bad), progress=True)
        if not (args.skip_bad or args.check):
            source.notes.append("only the headers of the audio were read; --check decodes it")
    for note in source.notes:
        _say(f"note: {note}")
    _report(source, skip=bool(args.skip_bad))
    _compare_counts(source, go_on=bool(args.allow_count_mismatch))
    _divide_and_write(args, source)
    return replaced


def _divide_and_write(args: argparse.Namespace, source: Source) -> None:
    folds = prepare_folds.divide(args, source)
    prepare_folds.refuse_overlap(args, source, folds)
    prepare_folds.tell_unknown_speakers(source, folds)
    if args.write_audio:
        _write_audio(args, source)
    prepare_folds.write(
        args,
        source,
        folds,
        resample=bool(args.resample and not args.write_audio),
        text_only=bool(args.text_only),
        dropped=dict(source.dropped) | ({"bad rows": len(source.problems)} if source.problems else {}),
        **source.facts,
    )
    if not args.check:
        if prepare_folds.makes_folds(args) or source.given_folds:
            prepare_folds.tell_missing_classes(folds)
        _print_summary(args.out)


def _write_audio(args: argparse.Namespace, source: Source) -> None:
    from emofair.corpora.write_audio import write_audio

    # The folds have the same utterances, so that a clip is written once.
    folder = Path(args.out) / "audio"
    made, kept = write_audio(source, folder, progress=True)
    _say(f"note: {made} clips written to {folder}, {kept} were there already")


def _read(args: argparse.Namespace) -> Source:
    from emofair.corpora import cmu, cremad, emodb, iemocap, label_json, meld, ravdess, scp, tsv

    labels = None if args.labels is None else [label.strip() for label in args.labels.split(",")]
    if labels is not None and not all(labels):
        raise EmofairError(f"--labels {args.labels!r} has an empty name", remedy="--labels A,B,...")
    if args.source == "scp":
        lists = {option.partition("_")[0]: path for option in _SCP if (path := getattr(args, option)) is not None}
        if "train" not in lists:
            raise EmofairError("scp needs a training list", remedy="--train-src-path FILE, lines of name path label")
        return scp.read(lists, root=args.root, labels=labels)
    if args.source == "tsv":
        if args.list is None:
            raise EmofairError("tsv needs a list", remedy="--list items.tsv, columns id wav text label split")
        divided = not prepare_folds.makes_folds(args)
        return tsv.read(args.list, root=args.root, labels=labels, audio=not args.text_only, divided=divided)
    if args.source == "json" and (args.labelpath is None) == (args.labeldir is None):
        raise EmofairError(
            "json needs labels", remedy="--labelpath FILE, or --labeldir DIR with one file for each fold"
        )
    if args.source == "json" and args.labeldir is not None:
        return label_json.read_folder(args.labeldir, root=args.root)
    if args.source == "json":
        return label_json.read(args.labelpath, root=args.root)
    if args.root is None:
        raise EmofairError(f"{args.source} needs the folder of the download", remedy="--root DIR")
    if not Path(args.root).is_dir():
        raise EmofairError("no such folder", file=args.root, remedy="--root is the folder of the download")
    if args.source == "iemocap":
        fold = None if args.folds else args.fold or "shipped"
        valid = "none" if args.valid in ("none", "random") else "next"
        return iemocap.read(args.root, classes=args.classes or 5, fold=fold, valid=valid)
    if args.source == "ravdess":
        return ravdess.read(args.root, song=bool(args.song))
    if args.source in ("mosi", "mosei"):
        reader = cmu.read_mosi if args.source == "mosi" else cmu.read_mosei
        return reader(args.root, labels=args.label_files, audio=not args.text_only)
    return {"emodb": emodb, "cremad": cremad, "meld": meld}[args.source].read(args.root)


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
    from emofair.data.fold_folders import fold_dirs
    from emofair.data.manifests import read_corpus, read_split, splits_of

    splits = {split: read_split(out, split) for split in splits_of(out)}
    if splits:
        corpus = read_corpus(out)
        print(f"{corpus.get('name', 'corpus')} in {out}")
        print(summary_table(splits, corpus.get("parts_of")))
    if fold_dirs(out):
        print(prepare_folds.summary_table(Path(out)))


def _check(args: argparse.Namespace) -> int:
    from emofair.data.corpus_check import check_corpus
    from emofair.data.fold_folders import check_folds, fold_dirs
    from emofair.data.manifests import splits_of

    problems = []
    if splits_of(args.out) or not fold_dirs(args.out):
        problems += check_corpus(args.out, allow_overlap=args.allow_overlap, progress=True)
    problems += check_folds(args.out, allow_overlap=args.allow_overlap, progress=True)
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
