"""The fold options of `emofair prepare`: how a corpus is divided, and the folders that this makes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofair.cli import disjoint
from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.corpora import Source
    from emofair.corpora.folds import Fold, FoldPlan

# Nobody published a split of these.
UNDIVIDED = ("emodb", "ravdess", "cremad")
DIVISIBLE = ("iemocap", *UNDIVIDED, "tsv", "synthetic")
SOURCES_OF_OPTION = {
    "folds": DIVISIBLE,
    "fold_count": DIVISIBLE,
    "speakers_per_fold": DIVISIBLE,
    "valid": (*DIVISIBLE, "json"),
    "valid_fraction": (*DIVISIBLE, "json"),
    "p1_valid": (*DIVISIBLE, "json"),
    "p1_by": (*DIVISIBLE, "json"),
}
_MANY = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options about folds and what is held out of the training part."""
    group = parser.add_argument_group("folds")
    group.add_argument(
        "--folds",
        choices=("session", "speaker", "none"),
        help=f"leave each session or speaker out once, into --out/fold1 ...; none: all is train "
        f"(default: speaker for {', '.join(UNDIVIDED)}; the others are divided as listed or published)",
    )
    group.add_argument("--fold-count", type=int, metavar="K", help="K groups of sessions or speakers instead")
    group.add_argument("--speakers-per-fold", type=int, metavar="N", help="groups of N speakers instead")
    group.add_argument(
        "--valid",
        choices=("none", "speaker", "random", "next"),
        help="what selects: nothing (published protocol of FT-w2v2), whole speakers or sessions after the test group "
        "(default with --folds), random clips of each class; next: the same as speaker, for iemocap --fold",
    )
    group.add_argument("--valid-fraction", type=float, metavar="F", help="share of the training part (default: 0.1)")
    group.add_argument("--p1-valid", type=float, metavar="F", help="P-TAPT: divide train into p1_train, p1_valid too")
    group.add_argument("--p1-by", choices=("random", "speaker"), help="what p1_valid holds out (default: random)")


def makes_folds(args: argparse.Namespace) -> bool:
    """Whether the corpus is read undivided, to be divided here."""
    return args.folds is not None or args.source in UNDIVIDED


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse combinations of options in which one would have no effect."""
    divided = makes_folds(args) and args.folds != "none"
    for option in ("fold_count", "speakers_per_fold"):
        if getattr(args, option) is not None and not divided:
            raise EmofairError(f"{_flag(option)} needs folds", remedy="Add --folds speaker or --folds session")
    if args.speakers_per_fold is not None and args.folds == "session":
        raise EmofairError("--speakers-per-fold does not go with --folds session", remedy="Use --fold-count")
    if args.speakers_per_fold is not None and args.fold_count is not None:
        raise EmofairError("--speakers-per-fold and --fold-count contradict each other", remedy="Leave one out")
    if args.folds is not None and getattr(args, "fold", None) is not None:
        raise EmofairError("--fold picks one published fold, --folds makes all", remedy="Leave one of them out")
    if args.source == "synthetic" and args.folds is None:
        for option in ("valid", "valid_fraction", "p1_valid", "p1_by"):
            if getattr(args, option) is not None:
                raise EmofairError(f"{_flag(option)} needs --folds", remedy="Add --folds session")
    if args.valid == "next" and args.source != "iemocap" and not divided:
        raise EmofairError("--valid next needs folds", remedy="Use speaker, random or none")
    if args.p1_by is not None and args.p1_valid is None:
        raise EmofairError("--p1-by needs --p1-valid", remedy="Add --p1-valid 0.1")


def plan_of(args: argparse.Namespace) -> FoldPlan:
    """What the options ask for, with the defaults of the source."""
    from emofair.corpora.folds import SEED, FoldPlan

    divided = makes_folds(args) and (args.folds or "speaker")
    by = divided or "none"
    valid = {"next": "speaker", None: "none" if by == "none" else "speaker"}.get(args.valid, args.valid)
    if args.source == "iemocap" and not divided and valid == "speaker":
        valid = "none"  # the reader holds the next session out
    if valid == "none" and args.valid_fraction is not None:
        raise EmofairError("--valid-fraction has nothing to act on", remedy="Add --valid speaker or --valid random")
    return FoldPlan(
        by=by,
        count=args.fold_count,
        per_fold=args.speakers_per_fold,
        valid=valid,
        valid_fraction=0.1 if args.valid_fraction is None else args.valid_fraction,
        p1_valid=args.p1_valid,
        p1_by=args.p1_by or "random",
        seed=SEED if args.seed is None else args.seed,
    )


def divide(args: argparse.Namespace, source: Source) -> list[Fold]:
    """The folds of a source, or its own splits as a single one without a name."""
    from emofair.corpora import UNDIVIDED as WHOLE
    from emofair.corpora.folds import Fold, complete, given_folds, make_folds

    plan = plan_of(args)
    if source.given_folds:
        return given_folds(source.splits[WHOLE], source.given_folds, plan)
    if makes_folds(args):
        return make_folds(source.splits[WHOLE], plan)
    return [complete(Fold(None, source.splits), plan)]


def refuse_overlap(args: argparse.Namespace, source: Source, folds: Iterable[Fold]) -> None:
    """Check every fold as one corpus is checked; sounds are compared once for all folds."""
    from emofair.data.corpus_check import GROUPS, without_parts

    digests: dict = {}
    for fold in folds:
        splits = without_parts(fold.splits, fold.parts_of)
        shared = shared_groups(args, source)
        told = not args.check and fold.name is None  # --check tells the warnings once more
        if args.valid == "random":
            # Clips of one speaker train and select by design. The test must not share them all the same.
            disjoint.refuse_overlap(splits, allow=args.allow_overlap, shared=GROUPS, warnings=False, digests=digests)
            splits = {name: items for name, items in splits.items() if name != "valid"}
            splits["train"] = splits["train"] + fold.splits["valid"]
            shared = [column for column in shared if column != "speaker"]
        disjoint.refuse_overlap(splits, allow=args.allow_overlap, shared=shared, warnings=told, digests=digests)


def tell_unknown_speakers(source: Source, folds: Iterable[Fold]) -> None:
    """Note that splits are compared by their clips alone where nothing tells the speakers."""
    from emofair.data.corpus_check import GROUPS, without_parts

    items = [utterance for part in source.splits.values() for utterance in part]
    unknown = sum(not any(getattr(utterance, column) for column in GROUPS) for utterance in items)
    if unknown and any(len(without_parts(fold.splits, fold.parts_of)) > 1 for fold in folds):
        told = f"neither speaker nor session is known of {unknown} of {len(items)} clips"
        print(f"emofair: note: {told}: splits were compared by clips, not by speakers", file=sys.stderr)


def shared_groups(args: argparse.Namespace, source: Source) -> list[str]:
    """Columns that splits share on purpose."""
    from emofair.data.corpus_check import GROUPS

    by_design = set()
    if plan_of(args).by == "speaker":
        by_design |= {"session", "dialog"}  # these have several speakers
    if args.valid == "random":
        by_design |= set(GROUPS)
    items = [utterance for part in source.splits.values() for utterance in part]
    known = {column for column in by_design if any(getattr(u, column) for u in items)}
    return [column for column in GROUPS if column in known or column in source.shared_groups]


def write(args: argparse.Namespace, source: Source, folds: list[Fold], **facts: Any) -> None:
    """Write each fold as a corpus folder, all with the same classes, and list them in ``folds.json``."""
    from tqdm import tqdm

    from emofair.data.fold_folders import folder_of, list_folds, remove_folds
    from emofair.data.manifests import class_names, remove_corpus, write_corpus

    out = Path(args.out)
    if any(fold.name for fold in folds) and args.source != "synthetic":
        remove_corpus(out)
    remove_folds(out)
    labels = sorted({label for fold in folds for label in class_names(fold.splits)})
    # disable=None: a bar on terminals only.
    bar = tqdm(folds, desc="writing", unit="fold", disable=None if len(folds) > 1 else True)
    corpora = [
        write_corpus(
            out / folder_of(fold.name) if fold.name else out,
            fold.splits,
            root=source.root,
            name=source.name,
            allow_overlap=args.allow_overlap,
            parts_of=fold.parts_of,
            labels=labels,
            shared_groups=shared_groups(args, source),
            **{**facts, **fold.facts},
        )
        for fold in bar
    ]
    if any(fold.name for fold in folds):
        list_folds(out, corpora)


def tell_missing_classes(folds: Iterable[Fold]) -> None:
    """Warn of folds in which a class is absent: a UA of that split leaves it out."""
    from emofair.data.corpus_check import missing_classes
    from emofair.data.manifests import class_names

    folds = list(folds)
    labels = sorted({label for fold in folds for label in class_names(fold.splits)})
    for fold in folds:
        for line in missing_classes(fold.splits, labels):
            print(f"emofair: warning: {f'fold {fold.name}: ' if fold.name else ''}{line}", file=sys.stderr)


def summary_table(out: Path) -> str:
    """Clips of each fold by split, with the speakers or sessions that are tested and select."""
    from emofair.data.fold_folders import read_folds
    from emofair.data.manifests import read_corpus

    listed = read_folds(out)
    key = f"{listed.get('by')}s"
    rows = [["fold", "train", "valid", "test", f"tested {key if key in ('speakers', 'sessions') else ''}".strip()]]
    for fold in listed["folds"]:
        splits = read_corpus(out / fold["folder"]).get("splits", {})
        tested = fold.get(key, {}).get("test", [])
        rows.append(
            [
                fold["fold"],
                *(str(splits.get(split, {}).get("n", "-")) for split in ("train", "valid", "test")),
                ", ".join(tested[:8]) + (" ..." if len(tested) > 8 else ""),
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join([*(cell.rjust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in rows]
    if len(rows) - 1 > _MANY:
        lines.append(f"These are many folds to train; --fold-count 5 tests a fifth of the {key} in each of five")
    return "\n".join([f"{listed['name']} in {out}: {listed['protocol']}", *(line.rstrip() for line in lines)])


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")
