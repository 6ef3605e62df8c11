"""Make tables and pictures of the results of `emofair evaluate --out`.

    emofair report results/ --out RESULTS.md --html

Runs that differ only in seed and fold are put together (mean, standard deviation, pooled confusion matrix); runs of
different data, split, target or protocol never are. The train.log of a run (fairseq-train --log-file train.log
--log-format json, in the folder of the metrics.json or above it) gives the learning curves. Pictures are written
beside the report; --html writes one more file that holds everything.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emofair.errors import EmofairError, MissingExtra

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


def run(args: argparse.Namespace) -> int:
    """Write the report."""
    out = Path(args.out)
    if out.suffix != ".md" or out.is_dir():
        raise EmofairError("the report is a Markdown file", file=out, remedy="Give --out a name that ends in .md")
    from emofair.reports.runs import find_runs

    runs = find_runs(args.runs)
    from emofair.reports import document, plots, results

    try:
        plots.require_matplotlib()
        pictures = True
    except MissingExtra as error:
        print(f"emofair: note: no pictures: {error}", file=sys.stderr)
        pictures = False
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        by = tuple(name.strip() for name in args.group_by.split(",")) if args.group_by else ()
        blocks = results.build(runs, out, title=args.title, by=by, pictures=pictures)
        out.write_text(document.markdown(blocks), encoding="utf-8")
        written = [out]
        if args.html:
            written.append(out.with_suffix(".html"))
            written[-1].write_text(document.html_page(blocks, out.parent), encoding="utf-8")
    except OSError as error:
        raise EmofairError(f"cannot be written ({error.strerror})", file=error.filename or out) from None
    print(f"{len(runs)} runs: {', '.join(map(str, written))}", file=sys.stderr)
    return 0
