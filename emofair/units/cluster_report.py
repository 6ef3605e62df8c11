"""What the clusters of frames are: emotions and speakers in them, how long they last, whether another seed finds them.

The label of a clip stands for all of its frames, which is what the clusters are to refine: figures say how clusters
and emotions go together, not how right the clusters are. A high agreement with speakers is a warning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emofair.errors import EmofairError
from emofair.metrics import clusters

if TYPE_CHECKING:
    from emofair.data.audio import PathLike
    from emofair.data.manifests import Utterance

TOP_CLIPS = 3


@dataclass(frozen=True)
class Clusters:
    """Clusters of the frames of one split.

    ``table`` [k, classes] and ``speaker_table`` [k, speakers] count frames; ``transitions`` [k, k] counts steps from a
    frame's cluster (row) to the next frame's; ``top`` names for each cluster the clips of which it takes the largest
    share, with the share. A table is None where some clip has no label, or no speaker. ``silent`` [k] counts the silent
    frames of each cluster; None where nobody asked.
    """

    split: str
    n_clips: int
    counts: np.ndarray
    classes: tuple[str, ...]
    speakers: tuple[str, ...]
    table: np.ndarray | None
    speaker_table: np.ndarray | None
    transitions: np.ndarray
    top: tuple[tuple[tuple[str, float], ...], ...]
    silent: np.ndarray | None = None

    @property
    def k(self) -> int:
        """Number of clusters, dead ones included."""
        return len(self.counts)

    def summary(self) -> dict[str, Any]:
        """Figures of the whole split; None where labels or speakers are not known."""
        frames = int(self.counts.sum())
        runs = self.n_clips + int(self.transitions.sum() - np.trace(self.transitions))
        figures: dict[str, Any] = {
            "clips": self.n_clips,
            "frames": frames,
            "clusters": self.k,
            "dead": int((self.counts == 0).sum()),
            "frames_per_run": frames / runs,
            "silent": None if self.silent is None else int(self.silent.sum()) / frames,
        }
        for name, table in (("emotion", self.table), ("speaker", self.speaker_table)):
            known = table is not None
            figures[f"purity_{name}"] = clusters.purity(table) if known else None
            figures[f"majority_{name}"] = clusters.majority(table) if known else None
            figures[f"inverse_purity_{name}"] = clusters.inverse_purity(table) if known else None
            figures[f"nmi_{name}"] = clusters.nmi(table) if known else None
        return figures

    def posterior(self) -> np.ndarray:
        """P(emotion | cluster), ``[k, classes]``; nan in the row of a dead cluster."""
        return _shares(self.table, self.counts[:, None])

    def entropy(self) -> np.ndarray:
        """Entropy of that in bits, ``[k]``."""
        return clusters.entropies(self.table)

    def silent_shares(self) -> np.ndarray:
        """Share of the frames of each cluster that are silent, ``[k]``; nan for a dead one."""
        return _shares(self.silent, self.counts)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        known = {
            "classes": list(self.classes),
            "speakers": list(self.speakers),
            "frames_by_emotion": None if self.table is None else self.table.astype(int).tolist(),
            "frames_by_speaker": None if self.speaker_table is None else self.speaker_table.astype(int).tolist(),
        }
        return {
            "split": self.split,
            **self.summary(),
            "counts": self.counts.tolist(),
            **known,
            "silent_frames": None if self.silent is None else self.silent.tolist(),
            "transitions": self.transitions.tolist(),
            "top_clips": [[[name, round(share, 4)] for name, share in clips] for clips in self.top],
        }


def describe(
    units: Sequence[np.ndarray],
    items: Sequence[Utterance],
    k: int,
    split: str,
    classes: Sequence[str] = (),
    silent: Sequence[np.ndarray] | None = None,
) -> Clusters:
    """The clusters of ``units``, one array of ids [frames] per clip of ``items``.

    ``classes`` are kept in their order, with those that ``items`` have besides after them. ``silent`` says of each
    frame whether it is.
    """
    lengths = np.array([len(ids) for ids in units])
    ids = np.concatenate(units)
    found = {u.label for u in items}
    names = (*classes, *sorted(found - {None} - set(classes)))
    speakers = tuple(sorted({u.speaker for u in items} - {None}))

    def counted(values: list[str | None], known: Sequence[str]) -> np.ndarray | None:
        if None in values:
            return None
        of_clip = np.array([known.index(value) for value in values])
        return clusters.contingency(ids, np.repeat(of_clip, lengths), k, len(known))

    ends = np.cumsum(lengths)[:-1]
    inside = np.ones(max(len(ids) - 1, 0), dtype=bool)
    inside[ends - 1] = False  # from the last frame of a clip to the first of the next
    steps = ids[:-1][inside].astype(np.int64) * k + ids[1:][inside]
    return Clusters(
        split,
        len(units),
        np.bincount(ids, minlength=k),
        tuple(names),
        speakers,
        counted([u.label for u in items], names),
        counted([u.speaker for u in items], speakers),
        np.bincount(steps, minlength=k * k).reshape(k, k),
        _top(ids, lengths, [u.id for u in items], k),
        None if silent is None else np.bincount(ids[np.concatenate(silent)], minlength=k),
    )


def read_posterior(path: PathLike, k: int, kmeans_sha256: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes and P(emotion | cluster) [k, classes] of the first split in what `emofair clusters` wrote as JSON.

    A cluster that has no frame there gets the share of each emotion in all frames. Raises EmofairError for another
    file, for clusters of another k-means than ``kmeans_sha256``, and for clips without labels.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        known, first = content["kmeans_sha256"], content["splits"][0]
        classes, table = first["classes"], first["frames_by_emotion"]
        table = None if table is None else np.array(table, dtype=np.float64).reshape(-1, len(classes))
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path) from None
    except (ValueError, TypeError, LookupError):
        raise EmofairError(
            "is not what emofair clusters wrote", file=path, remedy="Give the .json beside its page"
        ) from None
    if known not in (None, kmeans_sha256) or (table is not None and len(table) != k):
        raise EmofairError(
            "describes clusters of another k-means", file=path, remedy="Run emofair clusters on labels of this one"
        )
    if table is None:
        raise EmofairError(
            "knows no emotions: some clips had no label", file=path, remedy="Describe clusters of a labelled split"
        )
    shares = _shares(table, table.sum(axis=1, keepdims=True))
    return tuple(classes), np.where(np.isnan(shares), table.sum(axis=0) / table.sum(), shares)


def check_replaceable(path: PathLike) -> None:
    """Raise `EmofairError` where something lies at ``path`` that is no JSON of `emofair clusters`."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or not content.keys() >= {"kmeans_sha256", "splits", "stability"}:
        raise EmofairError(
            "would be overwritten, and is not what emofair clusters wrote", file=path, remedy="Give another --out"
        )


def stability(runs: Mapping[str, Sequence[np.ndarray]]) -> list[tuple[str, str, float]]:
    """Adjusted Rand index of every two labellings of the same frames: 1 the same clusters, 0 as chance has it.

    ``runs`` has the labels of each by name. Raises `EmofairError` for labels of other clips or another frame rate.
    """
    from sklearn.metrics import adjusted_rand_score

    names = list(runs)
    lengths = {name: [len(ids) for ids in runs[name]] for name in names}
    for name in names[1:]:
        if lengths[name] != lengths[names[0]]:
            raise EmofairError(f"has other numbers of frames than {names[0]}", file=name)
    flat = {name: np.concatenate(runs[name]) for name in names}
    return [
        (first, second, float(adjusted_rand_score(flat[first], flat[second])))
        for i, first in enumerate(names)
        for second in names[i + 1 :]
    ]


def _shares(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """``counts`` as shares of ``totals``; nan where there is nothing to share."""
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def _top(
    ids: np.ndarray, lengths: np.ndarray, names: Sequence[str], k: int
) -> tuple[tuple[tuple[str, float], ...], ...]:
    of_clip = np.repeat(np.arange(len(lengths)), lengths)
    shares = clusters.contingency(of_clip, ids, len(lengths), k) / lengths[:, None]
    best = np.argsort(-shares, axis=0, kind="stable")[:TOP_CLIPS]
    return tuple(
        tuple((names[clip], float(shares[clip, c])) for clip in best[:, c] if shares[clip, c] > 0) for c in range(k)
    )
