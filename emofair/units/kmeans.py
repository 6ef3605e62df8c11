"""A k-means of frame features as a file: read and written here and nowhere else.

``km{K}.npz`` holds ``centroids`` (float32 [K, D]), ``counts`` (int64 [K], frames nearest to each), ``inertia`` (mean
squared distance of a frame to its centroid), ``seed``, ``sha256`` (of the centroids) and ``facts`` (JSON: the features
that it was fitted on, and how). Nothing in it is a pickle.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emofair.errors import EmofairError
from emofair.units import records

if TYPE_CHECKING:
    from emofair.data.audio import PathLike
    from emofair.units.feature_store import Features

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".joblib")


@dataclass(frozen=True)
class KMeans:
    """Centroids float32 [K, D] with what is known about them; see the module for the units.

    ``facts["features"]`` is what `Features.facts` said of the frames, ``facts["fit"]`` the options of the fit. Bare
    centroids have no facts, counts, inertia and seed.
    """

    centroids: np.ndarray
    counts: np.ndarray | None = None
    inertia: float | None = None
    seed: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.centroids)

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.centroids.shape[1]

    @property
    def sha256(self) -> str:
        """Hash of the centroids: whoever stores labels stores it with them."""
        shape = f"{self.k} {self.dim} float32\n".encode()
        return hashlib.sha256(shape + self.centroids.astype("<f4").tobytes()).hexdigest()

    def save(self, path: PathLike) -> None:
        """Write the ``.npz``; it appears under its name only when it is complete."""
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.savez(
                file,
                centroids=self.centroids,
                counts=self.counts,
                inertia=np.float64(self.inertia),
                seed=np.int64(self.seed),
                sha256=np.array(self.sha256),
                facts=np.array(json.dumps(self.facts, sort_keys=True)),
            )
        part.replace(path)

    def check_fits(self, features: Features, name: PathLike) -> None:
        """Raise EmofairError when ``features`` have another width than those of the fit, or another source."""
        self.check_source(features.dim, features.record["source"], f"in {features.folder}", name)

    def check_source(
        self,
        dim: int,
        source: dict[str, Any],
        where: str,
        name: PathLike,
        remedy: str = "Use features of the same checkpoint and layer, or fit again",
    ) -> None:
        """`check_fits` for features of width ``dim`` and of this ``source`` (see `Extractor`), found ``where``."""
        if self.dim != dim:
            raise EmofairError(
                f"its centroids have {self.dim} dimensions, the features {where} have {dim}",
                file=name,
                remedy="Use a k-means that was fitted on the same encoder and layer",
            )
        fitted = self.facts.get("features", {}).get("source")
        if fitted is not None and fitted != source:
            differing = [key for key in {**fitted, **source} if fitted.get(key) != source.get(key)]
            told = ", ".join(f"{key} {_short(fitted.get(key))}, here {_short(source.get(key))}" for key in differing)
            raise EmofairError(f"was fitted on other features than those {where} ({told})", file=name, remedy=remedy)


def load_kmeans(path: PathLike, *, allow_pickle: bool = False) -> KMeans:
    """Read a ``.npz`` of `KMeans.save`, or bare centroids [K, D] from ``.npy``.

    With ``allow_pickle`` also scikit-learn's, pickled or in a joblib file, of which the centroids alone are read.
    Raises EmofairError for anything else.
    """
    path = Path(path)
    if path.suffix.lower() in _PICKLES:
        if not allow_pickle:
            raise EmofairError(
                "is a pickle, not made by emofair kmeans",
                file=path,
                remedy="emofair units reads its centroids with --allow-pickle, emofair convert --to npy rewrites them",
            )
        from emofair.checkpoints.pickled_kmeans import read_centres

        return KMeans(_centroids(read_centres(path), path))
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return KMeans(_centroids(loaded, path))
        with loaded as archive:
            return _from_archive({name: archive[name] for name in archive.files}, path)
    except FileNotFoundError:
        raise EmofairError("no such k-means", file=path, remedy="Fit it with emofair kmeans") from None
    except EmofairError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, TypeError) as error:
        raise EmofairError(f"is not a k-means that can be read ({error})", file=path) from None


def _from_archive(values: dict[str, np.ndarray], path: Path) -> KMeans:
    facts = records.check_record(json.loads(str(values["facts"])), "a k-means", (), path, "Fit it again")
    kmeans = KMeans(
        _centroids(values["centroids"], path),
        np.asarray(values["counts"], dtype=np.int64),
        float(values["inertia"]),
        int(values["seed"]),
        facts,
    )
    if kmeans.counts.shape != (kmeans.k,):
        raise EmofairError(
            f"holds counts {list(kmeans.counts.shape)} of {kmeans.k} clusters", file=path, remedy="Fit it again"
        )
    if kmeans.sha256 != str(values["sha256"]):
        raise EmofairError("its centroids are not those of its hash", file=path, remedy="Fit it again")
    return kmeans


def _centroids(values: np.ndarray, path: Path) -> np.ndarray:
    with np.errstate(over="ignore"):
        centroids = np.ascontiguousarray(values, dtype=np.float32) if values.dtype.kind == "f" else None
    if centroids is None or values.ndim != 2 or not values.size or not np.isfinite(centroids).all():
        raise EmofairError(
            f"holds {values.dtype} {list(values.shape)}, expected centroids [clusters, dimensions] that are finite in "
            "float32",
            file=path,
        )
    return centroids


def _short(value: Any) -> str:
    return str(value)[:12]
