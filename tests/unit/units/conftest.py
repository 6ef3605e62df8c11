"""Features on disk without an encoder: arrays of chosen numbers in the layout of `emofair features`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from emofair.units.feature_store import shard_name, shard_range


@pytest.fixture
def store(tmp_path):
    """Writes frames [n, dim] as the features of clips with so many frames each; returns the folder."""

    def write(frames, lengths, *, split="train", nshard=1, folder="features", dtype="float32", **changes):
        out = tmp_path / folder
        out.mkdir(exist_ok=True)
        starts = np.cumsum([0, *lengths])
        for rank in range(nshard):
            first, last = shard_range(len(lengths), rank, nshard)
            stem, part = shard_name(split, rank, nshard), frames[starts[first] : starts[last]]
            np.save(out / f"{stem}.npy", part.astype(dtype))
            (out / f"{stem}.len").write_text("".join(f"{n}\n" for n in lengths[first:last]))
            record = {
                "source": {"features": "numbers"},
                "split": split,
                "rank": rank,
                "nshard": nshard,
                "n_clips": last - first,
                "n_frames": len(part),
                "dim": frames.shape[1],
                "dtype": dtype,
                "frame_rate": 50.0,
                "hop": 320,
                "receptive_field": 400,
                "list_sha256": "0",
                "ids_sha256": "0",
                **changes,
            }
            (out / f"{stem}.json").write_text(json.dumps(record))
        return out

    return write


@pytest.fixture
def blobs():
    """Makes n frames [n, dim] around k centres, and the centre of each."""

    def make(n, k, dim=16, spread=0.3, seed=0):
        random = np.random.default_rng(seed)
        which = random.integers(0, k, n)
        centres = 3 * random.standard_normal((k, dim))
        return (centres[which] + spread * random.standard_normal((n, dim))).astype(np.float32), which

    return make
