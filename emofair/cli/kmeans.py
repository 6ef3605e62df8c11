"""Frame features -> k-means, on more frames than fit into memory.

Reads all shards of a split, mapped from disk. Starts with k-means++ and one pass of scikit-learn's mini-batch k-means,
and then passes over all frames until these gain less than 0.01 %. OUT/km{K}.npz gets centroids, counts, inertia, seed,
and what the features were. With --backend faiss, faiss fits (in memory).

    emofair kmeans --features features --split train -k 64,512,4096 --out kmeans
"""

from __future__ import annotations

import argparse
import sys

from emofair.cli.outputs import check_folder
from emofair.errors import EmofairError

HELP = "frame features -> k-means"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``emofair kmeans``."""
    parser.add_argument("--features", required=True, metavar="DIR", help="what emofair features wrote")
    parser.add_argument("--split", required=True, metavar="S", help="which split of it, all shards")
    parser.add_argument(
        "-k", "--num-clusters", required=True, metavar="K[,K...]", help="numbers of clusters, one k-means for each"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="gets km{K}.npz")
    parser.add_argument(
        "--percent",
        type=float,
        default=-1,
        metavar="P",
        help="share of the frames to use, drawn at random, from 0 to 1 as in the HuBERT recipe (default: -1, all)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same centroids (default: 0)")
    parser.add_argument("--batch-frames", type=int, default=10000, metavar="N", help="frames in a mini-batch")
    parser.add_argument(
        "--passes", "--max-iter", type=int, default=20, metavar="N", help="most passes over all frames (default: 20)"
    )
    parser.add_argument("--backend", choices=("sklearn", "faiss"), default="sklearn", help="default: sklearn")


def run(args: argparse.Namespace) -> int:
    """Fit; 0 when all are written."""
    wanted = _numbers(args.num_clusters)
    if args.percent != -1 and not 0 < args.percent <= 1:
        raise EmofairError(
            f"--percent {args.percent:g} is not a share of the frames",
            remedy="Give a number from 0 to 1, or -1 for all",
        )
    for name in ("batch_frames", "passes"):
        if getattr(args, name) < 1:
            raise EmofairError(f"--{name.replace('_', '-')} {getattr(args, name)} is not a positive number")
    if args.seed < 0:
        raise EmofairError(f"--seed {args.seed} is negative")
    out = check_folder(args.out)
    from emofair.units.feature_store import Features
    from emofair.units.kmeans import load_kmeans
    from emofair.units.kmeans_fit import FitOptions, fit

    features = Features(args.features, args.split)
    share = 1.0 if args.percent == -1 else args.percent
    options = FitOptions(args.seed, share, args.batch_frames, args.passes, args.backend)
    for k in wanted:
        path = out / f"km{k}.npz"
        if path.exists():
            earlier = load_kmeans(path)
            if differing := _differences(earlier.facts, {"features": features.facts(), "fit": options.__dict__}):
                raise EmofairError(
                    f"holds a k-means with another {', '.join(differing)}",
                    file=path,
                    remedy="Labels made with it would lose their meaning: give a new --out, or delete the file",
                )
            kmeans, done = earlier, "was there already"
        else:
            kmeans = fit(features, k, options, lambda line: print(f"emofair kmeans: {line}", file=sys.stderr))
            kmeans.save(path)
            done = "written"
        print(
            f"emofair kmeans: {path}: {k} centroids of {kmeans.dim} numbers from {kmeans.counts.sum()} "
            f"frames, inertia {kmeans.inertia:.6g} per frame, sha256 {kmeans.sha256[:12]}: {done}"
        )
    return 0


def _differences(earlier: dict, asked: dict) -> list[str]:
    """What a k-means that is there was made with, and would not be now."""
    features = ("source", "split", "list_sha256", "audio_sha256", "dtype", "autocast_bf16")
    decisive = {"features": features, "fit": tuple(asked["fit"])}
    return [
        {"list_sha256": "list of clips", "audio_sha256": "audio", "share": "--percent"}.get(name, name)
        for part, names in decisive.items()
        for name in names
        if earlier.get(part, {}).get(name) != asked[part][name]
    ]


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words) or len(set(words)) < len(words):
        raise EmofairError(f"-k {text} is not a list of numbers of clusters", remedy="Give for example -k 64,512")
    return [int(word) for word in words]
