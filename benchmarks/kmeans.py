"""k-means of ours beside scikit-learn and faiss on many frames. Writes a section of benchmarks/RESULTS.md.

    python benchmarks/kmeans.py [--frames 1000000] [--dim 768] [-k 50,500] [--quick]

The frames are a mixture of Gaussians, written as the shards that `emofair features` writes. Each side is a process of
its own. Ours reads the shards from disk as it goes; the others read all of them into memory first, which their seconds
include. faiss is left out where it is not installed. ``--quick`` prints, and writes nothing unless ``--out`` is given.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np

SHARDS = 4
CLIP = 300  # frames
BLOCK = 20000
BATCH = 10000
TEXT = (
    "{args.frames:,} x {args.dim} frames, float32, a mixture of 400 Gaussians on disk. Ours is `emofair kmeans` (a "
    "mini-batch pass, then passes over all frames); scikit-learn has its defaults with batches of {batch}{faiss}. "
    "*inertia*: mean squared distance over all frames, measured for all sides by the same code. *GB*: peak resident "
    "memory of the side's process, and what of it is its own; the rest are files that it has mapped."
)


def write_frames(folder: Path, n: int, dim: int, centres: int = 400) -> None:
    """Frames around ``centres`` points of unequal weight; neighbours overlap, as those of speech do."""
    from tqdm import tqdm

    from emofair.units.feature_store import shard_name

    rng = np.random.default_rng(0)
    means = rng.standard_normal((centres, dim), dtype=np.float32)
    weights = rng.dirichlet(np.full(centres, 2.0))
    sizes = [len(part) for part in np.array_split(np.arange(n), SHARDS)]
    with tqdm(total=n, desc="frames", unit="frame", unit_scale=True, disable=None, leave=False) as bar:
        for rank, size in enumerate(sizes):
            stem = folder / shard_name("train", rank, SHARDS)
            array = np.lib.format.open_memmap(f"{stem}.npy", "w+", np.float32, (size, dim))
            for start in range(0, size, BLOCK):
                count = min(BLOCK, size - start)
                block = rng.standard_normal((count, dim), dtype=np.float32)
                array[start : start + count] = block + means[rng.choice(centres, count, p=weights)]
                bar.update(count)
            array.flush()
            lengths = [min(CLIP, size - start) for start in range(0, size, CLIP)]
            Path(f"{stem}.len").write_text("".join(f"{length}\n" for length in lengths))
            record = {
                "source": {"features": "mixture"},
                "split": "train",
                "rank": rank,
                "nshard": SHARDS,
                "dim": dim,
                "dtype": "float32",
                "n_frames": size,
                "n_clips": len(lengths),
                "list_sha256": "",
                "hop": 320,
                "receptive_field": 400,
                "frame_rate": 50.0,
            }
            Path(f"{stem}.json").write_text(json.dumps(record))


def in_memory(folder: str) -> np.ndarray:
    """All frames as one array."""
    return np.concatenate([np.load(path) for path in sorted(Path(folder).glob("*.npy"))])


def ours(folder: str, k: int, device: str) -> Callable:
    """`emofair kmeans`."""
    import sklearn.cluster  # noqa: F401  (not counted in the seconds: they are the first turn's)
    import torch  # noqa: F401

    from emofair.units.feature_store import Features
    from emofair.units.kmeans_fit import fit

    return lambda _: fit(Features(folder, "train"), k).centroids


def plain(folder: str, k: int, device: str) -> Callable:
    """scikit-learn with its defaults, but for batches of the size of ours."""
    from sklearn.cluster import MiniBatchKMeans

    return lambda _: MiniBatchKMeans(k, batch_size=BATCH, random_state=0).fit(in_memory(folder)).cluster_centers_


def faiss_side(folder: str, k: int, device: str) -> Callable:
    """faiss with its defaults, but on all frames."""
    import faiss

    def turn(_: Any) -> np.ndarray:
        frames = in_memory(folder)
        model = faiss.Kmeans(frames.shape[1], k, seed=1, max_points_per_centroid=len(frames))
        model.train(frames)
        return model.centroids.reshape(k, -1)

    return turn


SIDES = {"ours": ours, "scikit-learn MiniBatchKMeans": plain, "faiss": faiss_side}


def main() -> None:
    """Fit with every side and every k, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("-k", "--num-clusters", default="50,500")
    parser.add_argument("--quick", action="store_true", help="smoke test: few frames, nothing written")
    parser.add_argument("--out", help=f"page of results (default: {common.RESULTS.name} beside this script)")
    args = parser.parse_args()
    if args.quick:
        args.frames, args.dim, args.num_clusters = 20000, 32, "5,20"
    elif args.out is None:
        args.out = common.RESULTS
    from emofair.units.feature_store import Features
    from emofair.units.kmeans_fit import measure

    has_faiss = importlib.util.find_spec("faiss") is not None
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder), args.frames, args.dim)
        for k in map(int, args.num_clusters.split(",")):
            reference = None
            for name, build in SIDES.items():
                if name == "faiss" and not has_faiss:
                    continue
                side = common.Side(build, folder=folder, k=k)
                took, centroids = side.turn()
                peak = [f"{gigabytes:.2f}" for gigabytes in side.close()]
                found = measure(Features(folder, "train"), np.asarray(centroids, dtype=np.float32))
                reference = reference or took
                ratio = "" if name == "ours" else f"**{took / reference:.2f}**"
                rows.append([str(k), name, f"{took:.1f}", ratio, f"{found.inertia:.2f}", str(found.n_dead), *peak])
                print(" | ".join(rows[-1]), flush=True)
                common.write_section(
                    args.out,
                    "k-means",
                    common.written_by(),
                    TEXT.format(args=args, batch=BATCH, faiss="" if has_faiss else "; faiss is not installed here"),
                    common.table(
                        ["k", "side", "s", "ours is faster by", "inertia", "dead clusters", "GB", "GB of its own"], rows
                    ),
                )


if __name__ == "__main__":
    main()
