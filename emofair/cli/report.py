"""Make tables and pictures of the results of `emofair evaluate --out`.

    emofair report results/ --out RESULTS.md --html

Runs that differ only in seed and fold are put together (mean, standard deviation, pooled confusion matrix); runs of
different data, split, target or protocol never are. The train.log of a run (fairseq-train --log-file train.log
--log-format json, in the folder of the metrics.json or above it) gives the learning curves. Pictures are written
beside the report; --html writes one more file that holds everything.

--compare V-FT adds how far each group is from the group V-FT, with intervals from a paired bootstrap over utterances;
it reads the predictions.tsv beside each metrics.json.

--summary-dir DIR writes, for each method (each group of classifiers, seeds times folds), DIR/METHOD.log, the statistics
log of FT-w2v2-ser, DIR/METHOD.json, every value behind it, and DIR/METHOD_confmat.png, the confusion matrix over all
folds and seeds. METHOD is the label of the group in the report (the --name of its runs, if they have one) with hyphens
for blanks and signs. The runs of a single method may be given another METHOD by --summary-name: with --summary-name
summary, DIR/summary.json is what a script finds without knowing the method.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emofair.cli.outputs import can_draw, check_folder, check_page, write_page
from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.reports.folds import Grid
    from emofair.reports.groups import Group
    from emofair.reports.runs import Run

HELP = "run folders -> tables (mean and deviation) and pictures in Markdown and HTML"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder searched for metrics.json")
    parser.add_argument("--out", metavar="FILE.md", required=True, help="the report")
    parser.add_argument("--html", action="store_true", help="also write FILE.html with the pictures inside")
    parser.add_argument("--title", default="Results", help="heading of the report (default: Results)")
    parser.add_argument(
        "--group-by",
        metavar="ENTRY[,ENTRY]",
        help="entries of metrics.json that say which runs belong together, as name or settings.lr "
        "(default: model, input and all training settings)",
    )
    parser.add_argument("--compare", metavar="GROUP", help="difference of the other groups to this one")
    parser.add_argument("--summary-dir", metavar="DIR", help="folder for METHOD.log, METHOD.json, METHOD_confmat.png")
    parser.add_argument("--summary-name", metavar="NAME", help="METHOD in these names (one method only)")


def run(args: argparse.Namespace) -> int:
    """Write the report."""
    out = check_page(args.out, "report")
    check_summary(args)
    from emofair.reports.runs import find_runs

    runs = find_runs(args.runs)
    from emofair.reports import results

    by = tuple(name.strip() for name in args.group_by.split(",")) if args.group_by else ()
    # What cannot be summarised is told before anything is written.
    told = summaries(runs, by, args.summary_name) if args.summary_dir else {}
    pictures = can_draw()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        options = {"title": args.title, "by": by, "baseline": args.compare, "pictures": pictures}
        blocks = results.build(runs, out, **options, tell=tell)
        written = write_page(out, blocks, html=args.html)
        for method, (group, grid) in told.items():
            written += write_summary(Path(args.summary_dir), method, group, grid, pictures)
    except OSError as error:
        raise EmofairError(f"cannot be written ({error.strerror})", file=error.filename or out) from None
    print(f"{len(runs)} runs: {', '.join(map(str, written))}", file=sys.stderr)
    return 0


def tell(note: str) -> None:
    """What a reader of the report alone would learn."""
    print(f"emofair: note: {note}", file=sys.stderr)


def check_summary(args: argparse.Namespace) -> None:
    """Check the options of the summary."""
    if args.summary_dir is not None:
        check_folder(args.summary_dir)
    if args.summary_name is not None:
        if args.summary_dir is None:
            raise EmofairError("--summary-name names files that only --summary-dir writes", remedy="Give both")
        if Path(args.summary_name).name != args.summary_name:
            raise EmofairError(
                f"--summary-name {args.summary_name!r} is no file name", remedy="Leave folders out of it"
            )


def summaries(runs: Sequence[Run], by: Sequence[str], name: str | None) -> dict[str, tuple[Group, Grid]]:
    """What is to be summarised, by method; says which groups are not."""
    from emofair.reports import summary_log
    from emofair.reports.folds import is_classified
    from emofair.reports.groups import group_runs, without_repeats

    groups = group_runs(without_repeats(runs)[0], by)
    told = summary_log.methods(groups, name)
    for group in groups:
        if not is_classified(group):
            tell(f"no summary of {group.label}: not one class of several")
    return told


def write_summary(folder: Path, method: str, group: Group, grid: Grid, pictures: bool) -> list[Path]:
    """Write the files of one method and return their paths."""
    from emofair.cli.evaluate import as_json
    from emofair.reports import plots, summary_log

    folder.mkdir(parents=True, exist_ok=True)
    log, record, picture = (folder / f"{method}{end}" for end in (".log", ".json", "_confmat.png"))
    told = summary_log.summary(method, group, grid)
    for note in summary_log.notes(told):
        tell(f"{group.label}: {note}")
    log.write_text(summary_log.log_text(grid), encoding="utf-8", newline="\n")
    record.write_text(as_json(told) + "\n", encoding="utf-8")
    if not pictures:
        return [log, record]
    plots.draw_confusion(picture, grid.counts().sum(axis=(0, 1)).tolist(), grid.classes)
    return [log, record, picture]
