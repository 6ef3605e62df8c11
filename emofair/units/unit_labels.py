"""Frame labels as HuBERT's pre-training reads them: ids of the nearest centroids, one line per clip.

Beside the clips of a split, in the manifest's order: ``{split}.km{K}`` (ids with spaces between), ``dict.km{K}.txt``
(fairseq's dictionary ``id count``, ids in order, so that label k is entry k) and ``{split}.km{K}.json``, which says
which k-means and which features the labels are from, and the hash of the labels themselves. The counts are those of
the fit, the same beside every split.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emofair.data.audio import SAMPLE_RATE
from emofair.data.manifests import ids_hash
from emofair.errors import EmofairError
from emofair.inference.provenance import file_sha256
from emofair.metrics import clusters
from emofair.units import records
from emofair.units.feature_store import list_hash, n_frames
from emofair.units.nearest import NearestCentroid

if TYPE_CHECKING:
    from emofair.data.audio import PathLike
    from emofair.data.manifests import Utterance
    from emofair.units.feature_store import Features
    from emofair.units.kmeans import KMeans

REMEDY = "Make the labels of this list with emofair units"
# Frames that may be missing at the end of a clip: each kind of frames has its own way to end.
_TOLERANCE = 3


def check_manifest(features: Features, items: Sequence[Utterance], manifest: PathLike) -> None:
    """Raise EmofairError unless ``features`` are of exactly these clips, with exactly the frames they must have."""
    if features.record["list_sha256"] != list_hash(items):
        same = features.record.get("ids_sha256") == ids_hash(list(items))
        how = "another order or other lengths" if same else f"other clips ({len(features.lengths)}, here {len(items)})"
        raise EmofairError(
            f"the features are of a list with {how} than split {features.split!r} of {os.fspath(manifest)}",
            file=features.folder,
            remedy="Dump the features of this manifest, or name theirs with --manifest",
        )
    field, hop = features.record["receptive_field"], features.record["hop"]
    expected = np.array([n_frames(u.n_samples, field, hop) for u in items])
    for index in np.flatnonzero(expected != features.lengths):
        raise EmofairError(
            f"{items[index].id} has {features.lengths[index]} frames, its {items[index].n_samples} samples "
            f"make {expected[index]}",
            file=features.folder,
            remedy="Dump the features again",
        )


def assign(features: Features, kmeans: KMeans, device: str = "cpu") -> tuple[np.ndarray, float]:
    """Id int32 [frames] of the nearest centroid of every frame, and the mean squared distance to it."""
    from tqdm import tqdm

    nearest = NearestCentroid(kmeans.centroids, device)
    ids = np.empty(features.n_frames, dtype=np.int32)
    total, done = 0.0, 0
    # disable=None: a bar on terminals only.
    with tqdm(total=len(ids), desc=f"km{kmeans.k}", unit="frame", unit_scale=True, disable=None) as bar:
        for block in features.blocks(nearest.block):
            found, distances = nearest(block)
            ids[done : done + len(block)] = found
            total += float(distances.sum())
            done += len(block)
            bar.update(len(block))
    return ids, total / done


def label_report(ids: np.ndarray, features: Features, items: Sequence[Utterance], k: int) -> dict[str, Any]:
    """How many clusters are in use and, where every clip has a label, how clusters and labels go together."""
    counts = np.bincount(ids, minlength=k)
    report: dict[str, Any] = {"n_used": int((counts > 0).sum())}
    if any(u.label is None for u in items):
        return report
    names = sorted({u.label for u in items})
    of_clip = np.array([names.index(u.label) for u in items])
    table = clusters.contingency(ids, np.repeat(of_clip, features.lengths), k, len(names))
    figures = {"purity": clusters.purity(table), "majority": clusters.majority(table), "nmi": clusters.nmi(table)}
    return {**report, "labels": names, **figures}


def write_labels(
    out: Path, split: str, ids: np.ndarray, lengths: np.ndarray, kmeans: KMeans, facts: dict[str, Any]
) -> None:
    """Write labels, dictionary and record into ``out``.

    Raises EmofairError when labels of another k-means with as many clusters are there for another split.
    """
    name = f"km{kmeans.k}"
    refuse_mixture(out, split, name, kmeans.sha256)
    out.mkdir(parents=True, exist_ok=True)
    record = out / f"{split}.{name}.json"
    # The record goes first and comes back last, so an interrupted run never looks finished.
    record.unlink(missing_ok=True)
    counts = np.ones(kmeans.k, dtype=np.int64) if kmeans.counts is None else kmeans.counts
    _write(out / f"dict.{name}.txt", (f"{i} {count}" for i, count in enumerate(counts.tolist())))
    labels = out / f"{split}.{name}"
    _write(labels, (" ".join(words) for words in _words(ids, lengths, kmeans.k)))
    made = {"k": kmeans.k, "kmeans_sha256": kmeans.sha256, "labels_sha256": file_sha256(labels)}
    _write(record, [json.dumps({**made, **facts}, indent=1)])


def read_frame_labels(
    path: PathLike,
    record: dict[str, Any],
    items: Sequence[Utterance],
    known: Collection[str],
    dictionary: str,
    *,
    rate: float | None = None,
    sample_rate: int = SAMPLE_RATE,
    remedy: str = REMEDY,
) -> list[str]:
    """The labels of every clip of ``items``, with spaces between; ``record`` is what `read_record` found beside them.

    Raises EmofairError unless the record is theirs (`check_record`), every clip has a line with as many labels as it
    has frames at ``rate`` a second, and all of these are ``known``, in ``dictionary``. Without ``rate`` the clips must
    agree on one. ``remedy`` is for another number of frames.
    """
    check_record(record, items, path)
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path, remedy=REMEDY) from None
    if len(lines) != len(items):
        name = f"{Path(path).name.partition('.')[0]}.tsv"
        raise EmofairError(
            f"has labels of {len(lines)} clips, the list {name} has {len(items)}", file=path, remedy=REMEDY
        )
    _check_counts(np.array([len(line.split()) for line in lines]), items, path, rate, sample_rate, remedy)
    known = set(known)
    for row, line in enumerate(lines, start=1):
        if unknown := set(line.split()) - known:
            raise EmofairError(
                f"label {min(unknown)} is not one of the {len(known)} of {dictionary}",
                file=path,
                row=row,
                remedy="They are of different k-means: make them again with emofair units",
            )
    return lines


def _check_counts(
    counts: np.ndarray,
    items: Sequence[Utterance],
    path: PathLike,
    rate: float | None,
    sample_rate: int,
    remedy: str,
) -> None:
    """Raise EmofairError for the clip with the worst number of labels, where it is none of its number of frames."""
    seconds = np.array([max(u.n_samples, 1) for u in items]) / sample_rate
    if rate is None:
        rate = _common((counts - 1) / seconds, (counts + _TOLERANCE) / seconds)
    frames = seconds * rate
    beyond = np.where(counts > 0, np.maximum(counts - 1 - frames, frames - _TOLERANCE - counts), np.inf)
    worst = int(beyond.argmax())
    if beyond[worst] > 1e-6:
        raise EmofairError(
            f"{counts[worst]} labels for {os.path.basename(items[worst].path)}, which has {int(frames[worst])} frames "
            f"at {rate:.4g} a second",
            file=path,
            row=worst + 1,
            remedy=remedy,
        )


def _common(least: np.ndarray, most: np.ndarray) -> float:
    """A number that lies within as many of the spans from ``least`` to ``most`` as any."""
    bounds = np.concatenate([least, most])
    order = bounds.argsort(kind="stable")
    within = np.repeat([1, -1], len(least))[order].cumsum().argmax()
    return float(bounds[order[within : within + 2]].mean())


def read_record(path: PathLike) -> dict[str, Any]:
    """What is known of the labels ``{split}.km{K}`` at ``path``; empty for labels of other programs."""
    record = records.read_record(
        Path(f"{os.fspath(path)}.json"), "frame labels", ("kmeans_sha256",), "Make the labels again with emofair units"
    )
    return record or {}


def check_record(record: dict[str, Any], items: Sequence[Utterance], path: PathLike) -> None:
    """Raise EmofairError where the record tells of other labels than are at ``path``, or of other clips than ``items``.

    Other labels are of another number of clusters than the name says, or have other ids or lines.
    """
    named = re.search(r"\.km(\d+)$", os.fspath(path))
    if named and record.get("k") not in (None, int(named[1])):
        raise EmofairError(
            f"the record beside it is of {record['k']} clusters", file=path, remedy="Give the labels their name again"
        )
    clips, labels = record.get("features", {}).get("list_sha256"), record.get("labels_sha256")
    if clips is not None and clips != list_hash(items):
        raise EmofairError(
            "the labels were made for another list of clips",
            file=path,
            remedy="Name the labels of this list, or make them again with emofair units",
        )
    if labels is not None and labels != _sha256(path):
        raise EmofairError(
            "the labels are not those that its record tells of",
            file=path,
            remedy=f"Make them again with emofair units, or remove {os.path.basename(path)}.json if they are right",
        )


def write_upstream_json(
    out: Path, items: Sequence[Utterance], lengths: np.ndarray, found: dict[int, np.ndarray]
) -> list[Path]:
    """The files of FT-w2v2-ser's clustering, for ``found`` (ids of all frames by number of clusters, in order).

    ``{K}-clus.json`` maps a clip's file name to its ids, ``all-clus.json`` to one such list per K. A clip whose file
    name is not its own (cut from a longer recording, or in a folder of its own) goes by its id.
    """
    names = _file_names(items)
    lists = {k: dict(zip(names, _per_clip(ids, lengths), strict=True)) for k, ids in found.items()}
    lists["all"] = {name: [lists[k][name] for k in found] for name in names}
    paths = []
    for k, content in lists.items():
        paths.append(out / f"{k}-clus.json")
        _write(paths[-1], [json.dumps(content, ensure_ascii=False)])
    return paths


def refuse_mixture(out: Path, split: str, name: str, sha256: str) -> None:
    """Raise EmofairError where the labels ``name`` of another split in ``out`` are not of the k-means ``sha256``."""
    for path in sorted(out.glob(f"*.{name}.json")):
        if path.name == f"{split}.{name}.json":
            continue
        if read_record(path.with_suffix(""))["kmeans_sha256"] != sha256:
            raise EmofairError(
                f"labels of another k-means with as many clusters are here ({path.name})",
                file=out,
                remedy="Label every split with one k-means: give another --out, or delete these labels",
            )


def _sha256(path: PathLike) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path, remedy=REMEDY) from None


def _per_clip(ids: np.ndarray, lengths: np.ndarray) -> Iterator[list[int]]:
    for part in np.split(ids, np.cumsum(lengths)[:-1]):
        yield part.tolist()


def _words(ids: np.ndarray, lengths: np.ndarray, k: int) -> Iterator[list[str]]:
    names = [str(i) for i in range(k)]
    for clip in _per_clip(ids, lengths):
        yield [names[i] for i in clip]


def _file_names(items: Sequence[Utterance]) -> list[str]:
    names = [os.path.basename(u.path) for u in items]
    return names if len(set(names)) == len(names) else [u.id for u in items]


def _write(path: Path, lines: Iterator[str] | list[str]) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
    part.replace(path)
