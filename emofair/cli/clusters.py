"""What the clusters behind frame labels are: emotions, speakers, how long they last, whether another seed finds them.

    emofair clusters units/train.km50 units/test.km50 --manifest fold1 --out clusters.md
    emofair clusters units/train.km50 --manifest fold1 --out clusters.md --others seed2/train.km50,seed3/train.km50

LABELS are files {split}.km{K}, as `emofair units` writes them, of one k-means; the first is described cluster by
cluster. --others are labels of the same split by the k-means of other seeds: the adjusted Rand index of every two says
how stable the clusters are. --silence-db 40 reads the audio, too: how many frames of each cluster are 40 dB below the
loudest of their clip. clusters.json holds every count, for `emofair timeline --clusters` too; clusters_emotions.png is
P(emotion | cluster) and clusters_transitions.png where the next frame is.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from emofair.cli.outputs import can_draw, check_page, write_page
from emofair.cli.units import file_names
from emofair.errors import EmofairError

HELP = "frame labels -> what the clusters are: emotions, speakers, stability"
# The page has a row for each, and steps are counted between every two.
MOST_CLUSTERS = 1 << 14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("labels", nargs="+", metavar="LABELS", help="{split}.km{K} files of one k-means")
    parser.add_argument("--manifest", required=True, metavar="DIR", help="the prepared corpus that was labelled")
    parser.add_argument("--out", required=True, metavar="FILE.md", help="the page")
    parser.add_argument("--others", metavar="FILE[,FILE]", help="labels of the first one's split by other k-means")
    parser.add_argument(
        "--silence-db", metavar="DB", type=float, help="count frames this far below the loudest of their clip, too"
    )
    parser.add_argument("--resample", action="store_true", help="with --silence-db, accept audio that is not at 16 kHz")
    parser.add_argument("--html", action="store_true", help="also write FILE.html with the pictures inside")
    parser.add_argument("--title", default="Clusters of frames", help="heading of the page")


def run(args: argparse.Namespace) -> int:
    """Write the page, its pictures and the JSON."""
    out = check_page(args.out, "page")
    named = [_split_and_k(path) for path in args.labels]
    others = file_names("--others", args.others) if args.others is not None else []
    if len({k for _, k in named}) > 1:
        raise EmofairError("labels of several numbers of clusters", remedy="Describe one k-means at a time")
    import numpy as np

    from emofair.data.manifests import read_corpus, read_labels, read_split
    from emofair.reports import cluster_page
    from emofair.units import cluster_report
    from emofair.units.silence import silence_of
    from emofair.units.unit_labels import read_frame_labels, read_record

    cluster_report.check_replaceable(out.with_suffix(".json"))
    items = {split: read_split(args.manifest, split) for split, _ in named}

    def read(path: str, record: dict, split: str, k: int) -> list:
        rate = record.get("features", {}).get("frame_rate")
        lines = read_frame_labels(path, record, items[split], [str(i) for i in range(k)], f"km{k}", rate=rate)
        return [np.array(line.split(), dtype=np.int32) for line in lines]

    records = [read_record(path) for path in args.labels]
    hashes = {record.get("kmeans_sha256") for record in records} - {None}
    if len(hashes) > 1:
        raise EmofairError(
            "the labels are of several k-means", remedy="Name one k-means' labels; those of others go to --others"
        )
    units = [read(path, record, *each) for path, record, each in zip(args.labels, records, named, strict=True)]
    classes = read_labels(args.manifest)
    resample = args.resample or bool(read_corpus(args.manifest).get("resample"))
    splits = []
    for path, record, each, (split, k) in zip(args.labels, records, units, named, strict=True):
        silent = None
        if args.silence_db is not None:
            silent = silence_of(items[split], each, record, path, args.silence_db, resample=resample)
        splits.append(cluster_report.describe(each, items[split], k, split, classes, silent))
    agreement = []
    if others:
        labelled = {args.labels[0]: units[0]}
        for path in others:
            labelled[path] = read(path, read_record(path), *_split_and_k(path, named[0][0]))
        agreement = cluster_report.stability(labelled)
    pictures = can_draw()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        blocks = cluster_page.build(splits, agreement, out, args.title, pictures)
        write_page(out, blocks, html=args.html)
        record = {
            "kmeans_sha256": next(iter(hashes), None),
            "splits": [each.as_json() for each in splits],
            "stability": agreement,
        }
        out.with_suffix(".json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    except OSError as error:
        raise EmofairError(f"cannot be written ({error.strerror})", file=error.filename or out) from None
    for each in splits:
        print(f"emofair clusters: {out}: {_told(each.split, each.summary())}")
    return 0


def _split_and_k(path: str, expected: str | None = None) -> tuple[str, int]:
    match = re.fullmatch(r"(.+)\.km(\d+)", Path(path).name)
    if match is None:
        raise EmofairError(
            "not the name of frame labels", file=path, remedy="Name files {split}.km{K} of emofair units"
        )
    if expected not in (None, match[1]):
        raise EmofairError(f"labels of split {match[1]}, not of {expected}", file=path)
    if not 1 <= int(match[2]) <= MOST_CLUSTERS:
        raise EmofairError(f"{match[2]} clusters are not from 1 to {MOST_CLUSTERS}", file=path)
    return match[1], int(match[2])


def _told(split: str, found: dict) -> str:
    line = f"{split}: {found['frames']} frames, {found['dead']} of {found['clusters']} clusters dead"
    if found["purity_emotion"] is not None:
        line += f", purity {found['purity_emotion']:.4f} (one cluster: {found['majority_emotion']:.4f})"
    nmi = {name: found[f"nmi_{name}"] for name in ("emotion", "speaker")}
    told = [f"with {name} {value:.4f}" for name, value in nmi.items() if value is not None]
    return line + (f", NMI {', '.join(told)}" if told else "")
