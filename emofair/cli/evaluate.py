"""Score a checkpoint on a split: figures, confusion matrix, predictions, and where they come from.

    emofair evaluate --checkpoint checkpoint_best.pt --data T_data/example --split test --out results/seed1

One JSON object goes to stdout, messages to stderr. With --out the folder gets metrics.json (the same object),
predictions.tsv and confusion.png; `emofair report` makes tables of such folders. The figures are those of
fairseq-validate. "majority" holds those of a system that always gives the most frequent answer: the floor.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import shlex
import sys
import warnings
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from emofair.cli.outputs import check_folder
from emofair.errors import EmofairError, MissingExtra
from emofair.inference.evaluation import PREDICTIONS
from emofair.protocol import PROTOCOLS

HELP = "checkpoint + split -> metrics as JSON, predictions, confusion matrix"

METRICS, CONFUSION = "metrics.json", "confusion.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--checkpoint", metavar="CKPT", required=True, help="fine-tuned checkpoint")
    parser.add_argument("--data", metavar="DIR", required=True, help="folder of the manifests")
    parser.add_argument("--data-raw", metavar="DIR", help="root of the token files (default: that of the training)")
    parser.add_argument("--split", metavar="S", default="test", help="split to score (default: test)")
    parser.add_argument("--batch-size", metavar="N", type=int, help="items per batch (default: as in training)")
    parser.add_argument("--max-tokens", metavar="N", type=int, help="tokens or samples per batch")
    parser.add_argument("--num-workers", metavar="N", type=int, default=0, help="processes that read data (default: 0)")
    parser.add_argument(
        "--window-seconds",
        metavar="S",
        type=float,
        help="waveform models: judge longer clips in overlapping windows (default: as in training)",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--out", metavar="DIR", help=f"folder for {METRICS}, predictions.tsv and {CONFUSION}")
    parser.add_argument("--name", help="name of this run in reports (see `emofair report --group-by name`)")
    parser.add_argument("--fold", help="fold of this run (default: what corpus.json or a folder named fold<k> says)")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="clean: nothing of the test set was used before; transductive: its audio was, without labels; paper: "
        "published habits (default: as in training)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the result as JSON; write the folder if one is asked for."""
    logging.basicConfig(format="%(levelname)s | %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("emofair").setLevel(logging.INFO)
    # fairseq always asks for pinned memory, and torch warns where there is no GPU.
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    from emofair.inference.evaluation import evaluate, summary

    with nullcontext() if args.out is None else new_folder(args.out) as new:
        # stdout belongs to the JSON object; whatever libraries print goes to stderr.
        with redirect_stdout(sys.stderr):
            result = evaluate(
                args.checkpoint,
                args.data,
                args.split,
                data_raw=args.data_raw,
                batch_size=args.batch_size,
                max_tokens=args.max_tokens,
                device=args.device,
                protocol=args.protocol,
                fold=args.fold,
                num_workers=args.num_workers,
                window_seconds=args.window_seconds,
                out_dir=new,
            )
        result = {"name": args.name, **result, "command": command(args)}
        text = as_json(result)
        if new is not None:
            write_folder(Path(args.out), Path(new), result, text)
    print(summary(result), file=sys.stderr)
    print(text)
    return 0


def as_json(result: dict) -> str:
    """JSON text with one line per entry, and rows of a matrix on one line each."""
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    # Line breaks in strings are escaped: every real one stands between two values.
    innermost = re.compile(r"\[\n\s+([^\[\]{}]*?)\n\s+\]")
    return innermost.sub(lambda row: "[" + re.sub(r"\n\s+", " ", row[1]) + "]", text)


def command(args: argparse.Namespace) -> str:
    """The command line that gives this result again."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["emofair", "evaluate"]
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.dest != "help" and value is not None and value != action.default:
            words += [action.option_strings[0], str(value)]
    return shlex.join(words)


def new_folder(out: str) -> TemporaryDirectory[str]:
    """A folder in ``out`` for what belongs to a result before it is one: an earlier result stays if this one fails."""
    folder = check_folder(out)
    for path in (folder / METRICS, folder / PREDICTIONS, folder / CONFUSION):
        if path.is_dir():
            raise EmofairError("is a folder, and a file is to take its place", file=path, remedy="Give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    return TemporaryDirectory(prefix=".new-", dir=out)


def write_folder(folder: Path, new: Path, result: dict, text: str) -> None:
    """Put the predictions in ``new`` and a picture in the place of an earlier result's, and the metrics last.

    That these are there says that the folder is complete.
    """
    if result["confusion"] is not None:
        from emofair.reports import plots

        try:
            plots.draw_confusion(new / CONFUSION, result["confusion"], result["confusion_classes"])
        except MissingExtra as error:
            print(f"emofair: note: no {CONFUSION}: {error}", file=sys.stderr)
    (folder / METRICS).unlink(missing_ok=True)
    for name in (PREDICTIONS, CONFUSION):
        (folder / name).unlink(missing_ok=True)
        if (new / name).exists():
            (new / name).rename(folder / name)
    (folder / METRICS).write_text(text + "\n", encoding="utf-8")
