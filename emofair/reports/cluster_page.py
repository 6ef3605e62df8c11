"""The page of `emofair clusters`: tables and pictures of what clusters of frames are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emofair.reports.document import Block, Heading, Picture, Table, Text
from emofair.reports.plots import STYLE, open_pyplot, save_png

if TYPE_CHECKING:
    from emofair.units.cluster_report import Clusters

READING = (
    "Every frame counts with the label of its clip. Purity is the share of frames whose label is the most frequent one "
    "of their cluster (in brackets: what a single cluster has), inverse purity the share that lies in the largest "
    "cluster of their label, NMI the normalised mutual information: 0 independent, 1 the same partition. Clusters that "
    "go with speakers more than with emotions have learned voices."
)
STABILITY = "Adjusted Rand index between labellings of the same frames: 1 the same clusters, 0 no more than chance."


def build(
    splits: Sequence[Clusters], agreement: Sequence[tuple[str, str, float]], out: Path, title: str, pictures: bool
) -> list[Block]:
    """The page; draws its pictures beside ``out`` unless ``pictures`` is off. The first of ``splits`` is described."""
    first = splits[0]
    blocks: list[Block] = [Heading(1, title), Text(READING), _summary(splits)]
    if agreement:
        rows = [[a, b, f"{index:.3f}"] for a, b, index in agreement]
        blocks += [Heading(2, "Stability"), Text(STABILITY), Table(["labels", "and", "ARI"], rows, numeric=1)]
    blocks += [Heading(2, f"Clusters of {first.split}"), _clusters(first)]
    if pictures:
        draw = {"transitions": draw_transitions}
        if first.table is not None:
            draw = {"emotions": draw_posterior, **draw}
        for name, function in draw.items():
            path = out.with_name(f"{out.stem}_{name}.png")
            function(path, first)
            blocks.append(Picture(path.name, f"{name} of the clusters", 640))
    return blocks


def order(clusters: Clusters) -> np.ndarray:
    """Clusters by their most frequent emotion, then by its share; dead ones last."""
    if clusters.table is None:
        return np.argsort(-clusters.counts, kind="stable")
    shares = np.nan_to_num(clusters.posterior(), nan=-1.0)
    best = np.where(clusters.counts > 0, shares.argmax(axis=1), len(clusters.classes))
    return np.lexsort((-shares.max(axis=1), best))


def draw_posterior(path: str | os.PathLike[str], clusters: Clusters) -> None:
    """P(emotion | cluster) as a heat map, over the number of frames of each cluster."""
    pyplot = open_pyplot()
    chosen = order(clusters)
    shares = clusters.posterior()[chosen]
    width = min(max(4.0, 0.14 * clusters.k + 1.5), 12.0)
    with pyplot.rc_context(STYLE):
        figure, (above, below) = pyplot.subplots(
            2, 1, figsize=(width, 0.32 * len(clusters.classes) + 2.2), sharex=True, height_ratios=[1, 2],
            layout="constrained",
        )  # fmt: skip
        above.bar(range(clusters.k), clusters.counts[chosen] / clusters.counts.sum(), color="#777777", width=0.9)
        above.set_ylabel("share of\nframes")
        image = below.imshow(shares.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        below.set_yticks(range(len(clusters.classes)), clusters.classes)
        below.set_xlabel(f"{clusters.k} clusters, by their most frequent emotion")
        below.set_xticks([])
        below.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=below, aspect=12)
        bar.set_label("P(emotion | cluster)")
        bar.outline.set_visible(False)
        save_png(figure, path)
        pyplot.close(figure)


def draw_transitions(path: str | os.PathLike[str], clusters: Clusters) -> None:
    """Where a frame's successor is, as a heat map in the same order of clusters; staying is left out."""
    pyplot = open_pyplot()
    chosen = order(clusters)
    steps = clusters.transitions[np.ix_(chosen, chosen)].astype(float)
    np.fill_diagonal(steps, 0)
    shares = steps / np.maximum(steps.sum(axis=1, keepdims=True), 1)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(4.6, 3.8), layout="constrained")
        image = axes.imshow(shares, cmap="Blues", vmin=0, interpolation="nearest")
        axes.set_xlabel("next cluster")
        axes.set_ylabel("cluster")
        axes.set_xticks([])
        axes.set_yticks([])
        bar = figure.colorbar(image, ax=axes, shrink=0.9)
        bar.set_label("share of the steps that leave")
        bar.outline.set_visible(False)
        save_png(figure, path)
        pyplot.close(figure)


def _summary(splits: Sequence[Clusters]) -> Table:
    header = ["split", "clips", "frames", "dead", "frames per run"]
    header += ["purity", "inverse purity", "NMI emotion", "NMI speaker"]
    listened = any(clusters.silent is not None for clusters in splits)
    header += ["silent"] if listened else []
    rows = []
    for clusters in splits:
        found = clusters.summary()
        purity, majority = found["purity_emotion"], found["majority_emotion"]
        rows.append(
            [
                clusters.split,
                f"{found['clips']:,}",
                f"{found['frames']:,}",
                f"{found['dead']} of {found['clusters']}",
                f"{found['frames_per_run']:.1f}",
                "–" if purity is None else f"{purity:.3f} ({majority:.3f})",
                *(_figure(found[name]) for name in ("inverse_purity_emotion", "nmi_emotion", "nmi_speaker")),
                *([_figure(found["silent"], 2)] if listened else ()),
            ]
        )
    return Table(header, rows, numeric=len(header) - 1)


def _clusters(clusters: Clusters) -> Table:
    known, listened = clusters.table is not None, clusters.silent is not None
    header = ["cluster", "frames", *((*clusters.classes, "bits") if known else ()), *(["silent"] if listened else ())]
    shares, bits = (clusters.posterior(), clusters.entropy()) if known else (None, None)
    silent = clusters.silent_shares() if listened else None
    rows = []
    for index in order(clusters):
        row = [str(index), f"{clusters.counts[index]:,}"]
        if known:
            row += [_figure(share, 2) for share in shares[index]] + [_figure(bits[index], 2)]
        if listened:
            row.append(_figure(silent[index], 2))
        clips = ", ".join(f"{name} {share:.0%}" for name, share in clusters.top[index])
        rows.append([*row, clips or "–"])
    return Table([*header, "clips"], rows)


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}"
