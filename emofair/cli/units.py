"""Frame features and k-means -> a label for every frame, as HuBERT's pre-training and P-TAPT read them.

OUT gets {split}.km{K} (one line of ids per clip, in the manifest's order), dict.km{K}.txt (fairseq's dictionary) and
{split}.km{K}.json (hash of the k-means, features, purity and NMI against the emotion labels where there are any).

    emofair units --features features --split train --kmeans kmeans/km64.npz,kmeans/km512.npz --out corpus
"""

from __future__ import annotations

import argparse
import os

from emofair.cli.outputs import check_folder
from emofair.errors import EmofairError

HELP = "frame features and k-means -> frame labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``emofair units``."""
    parser.add_argument("--features", required=True, metavar="DIR", help="what emofair features wrote")
    parser.add_argument("--split", required=True, metavar="S", help="which split of it, all shards")
    parser.add_argument(
        "--kmeans", required=True, metavar="FILE[,FILE...]", help="what emofair kmeans wrote, or centroids as .npy"
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="take scikit-learn's k-means too, as HuBERT's .bin: nothing in it is run, its centroids are read",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="gets the labels")
    parser.add_argument("--manifest", metavar="DIR", help="prepared corpus (default: the one that was dumped)")
    parser.add_argument(
        "--label-json", action="store_true", help="also {K}-clus.json and all-clus.json, the forms of FT-w2v2-ser"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Label; 0 when all is written."""
    out = check_folder(args.out)
    from emofair.data.manifests import read_split
    from emofair.units import unit_labels
    from emofair.units.feature_store import Features
    from emofair.units.kmeans import load_kmeans

    features = Features(args.features, args.split)
    models = {path: load_kmeans(path, allow_pickle=args.allow_pickle) for path in file_names("--kmeans", args.kmeans)}
    if len({kmeans.k for kmeans in models.values()}) < len(models):
        raise EmofairError("two of --kmeans have as many clusters: their labels would have one name")
    for path, kmeans in models.items():
        kmeans.check_fits(features, path)
    manifest = args.manifest or features.record.get("manifest")
    if manifest is None or not os.path.isdir(manifest):
        raise EmofairError(
            f"the manifest of these features is not there any more ({manifest})",
            file=args.features,
            remedy="Name it with --manifest",
        )
    items = read_split(manifest, args.split)
    unit_labels.check_manifest(features, items, manifest)
    found = {}
    for path, kmeans in models.items():
        ids, inertia = unit_labels.assign(features, kmeans, args.device)
        report = unit_labels.label_report(ids, features, items, kmeans.k)
        # A k-means of these features has seen what their encoder has.
        seen = kmeans.facts.get("trained_on") or features.record.get("trained_on")
        facts = {
            "kmeans": os.fspath(path),
            "n_clips": len(items),
            "inertia": inertia,
            "features": features.facts(),
            "trained_on": seen,
        }
        unit_labels.write_labels(out, args.split, ids, features.lengths, kmeans, {**facts, **report})
        found[kmeans.k] = ids
        print(_told(args.split, kmeans.k, len(ids), len(items), inertia, report))
    if args.label_json:
        paths = unit_labels.write_upstream_json(out, items, features.lengths, found)
        print(f"emofair units: {', '.join(path.name for path in paths)} written")
    return 0


def file_names(option: str, text: str) -> list[str]:
    """The file names in the value of an option, which commas part."""
    names = text.split(",")
    if not all(names):
        raise EmofairError(f"{option} {text}: one of the names is empty", remedy="Give FILE[,FILE...]")
    return names


def _told(split: str, k: int, n_frames: int, n_clips: int, inertia: float, report: dict) -> str:
    line = (
        f"emofair units: {split}.km{k}: {n_frames} frames of {n_clips} clips, {report['n_used']} of {k} clusters "
        f"in use, inertia {inertia:.6g} per frame"
    )
    if "purity" in report:
        line += (
            f"; against {len(report['labels'])} labels: purity {report['purity']:.4f} "
            f"(one cluster: {report['majority']:.4f})"
        )
        line += "" if report["nmi"] is None else f", NMI {report['nmi']:.4f}"
    return line
