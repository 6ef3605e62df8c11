"""An emotion timeline as a figure: waveform, posteriors, attention and contributions over one axis of time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emofair.reports.plots import STYLE, open_pyplot, save_png

if TYPE_CHECKING:
    from emofair.inference.timeline import Timeline

# Told apart with every kind of colour vision (Okabe and Ito, 2008).
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
# The second time through the palette.
HATCH = "///"
INK = "#333333"
WIDTH = 7.2
# What a figure of this width can show.
COLUMNS = 2000


def draw_timeline(path: str | os.PathLike[str], timeline: Timeline, title: str | None = None) -> None:
    """Draw ``timeline`` as a PNG; longer recordings are shown as means over equal numbers of frames.

    Raises `MissingExtra` without matplotlib.
    """
    pyplot = open_pyplot()
    panels = {_draw_waveform: 1.0, _draw_posteriors: 1.5, _draw_attention: 0.9, _draw_contributions: 0.9}
    if timeline.clusters is not None:
        panels[_draw_clusters] = 0.9
    if timeline.cluster_posteriors is not None:
        panels[_draw_cluster_posteriors] = 0.9
    heights = list(panels.values())
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            len(heights),
            1,
            figsize=(WIDTH, 1.1 * sum(heights) + 0.9),
            sharex=True,
            height_ratios=heights,
            layout="constrained",
        )
        for draw, axis in zip(panels, axes, strict=True):
            draw(axis, timeline)
        axes[-1].set_xlabel("time (s)")
        axes[-1].set_xlim(0, timeline.seconds)
        figure.align_ylabels(axes)
        legends = [axis.get_legend_handles_labels() for axis in axes]
        patches = [patch for found, _ in legends for patch in found]
        names = [name for _, found in legends for name in found]
        rows = -(-len(names) // 6)
        figure.legend(patches, names, loc="outside upper center", ncols=-(-len(names) // rows))
        if title:
            figure.suptitle(title)
        save_png(figure, path)
        pyplot.close(figure)


def colours(n: int) -> list[dict[str, Any]]:
    """Face colour and hatch of each of ``n`` classes."""
    return [
        {"facecolor": PALETTE[i % len(PALETTE)], "hatch": HATCH * (i // len(PALETTE)) or None, "edgecolor": "white"}
        for i in range(n)
    ]


def thinned(edges: np.ndarray, values: np.ndarray, columns: int = COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """``edges`` [T + 1] and ``values`` [T, ...] as at most ``columns`` means over equal numbers of frames."""
    step = -(-len(values) // columns)
    first = np.arange(0, len(values), step)
    counts = np.diff(np.append(first, len(values)))
    means = np.add.reduceat(values, first, axis=0) / counts.reshape(-1, *[1] * (values.ndim - 1))
    return np.append(edges[first], edges[-1]), means


def envelope(samples: np.ndarray, columns: int = COLUMNS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index of the first sample, lowest and highest of at most ``columns`` equal stretches of samples [n]."""
    first = np.arange(0, len(samples), -(-len(samples) // columns))
    return first, np.minimum.reduceat(samples, first), np.maximum.reduceat(samples, first)


def _draw_waveform(axes: Any, timeline: Timeline) -> None:
    first, low, high = envelope(timeline.samples)
    seconds = first * (timeline.seconds / len(timeline.samples))
    axes.fill_between(seconds, low, high, color=INK, linewidth=0.4)
    most = 1.05 * float(np.abs(timeline.samples).max())
    strip = (1.2 * most, 0.25 * most)
    for label, style in zip(timeline.classes, colours(len(timeline.classes)), strict=True):
        bars = [(segment.start, segment.end - segment.start) for segment in timeline.segments if segment.label == label]
        axes.broken_barh(bars, strip, linewidth=0, **style)
    axes.set_ylim(-most, 1.45 * most)
    axes.set_yticks([strip[0] + strip[1] / 2], ["decision"])
    axes.tick_params(axis="y", length=0)
    axes.set_ylabel("waveform")


def _draw_posteriors(axes: Any, timeline: Timeline) -> None:
    _stack(axes, timeline.edges, timeline.posteriors, colours(len(timeline.classes)), timeline.classes)
    axes.set_ylabel("posterior")


def _draw_cluster_posteriors(axes: Any, timeline: Timeline) -> None:
    # An emotion has one colour in the whole figure; one that the model does not know comes after its own.
    every = list(dict.fromkeys((*timeline.classes, *timeline.cluster_classes)))
    styles = dict(zip(every, colours(len(every)), strict=True))
    order = [name for name in every if name in timeline.cluster_classes]
    columns = [timeline.cluster_classes.index(name) for name in order]
    unknown = [None if name in timeline.classes else name for name in order]
    _stack(axes, timeline.edges, timeline.cluster_posteriors[:, columns], [styles[name] for name in order], unknown)
    axes.set_ylabel("P(emotion |\ncluster)")


def _stack(
    axes: Any,
    edges: np.ndarray,
    shares: np.ndarray,
    styles: Sequence[dict[str, Any]],
    labels: Sequence[str | None],
) -> None:
    """Fill [T, K] ``shares`` that add up to 1, one on the other."""
    edges, shares = thinned(edges, shares)
    below = np.zeros(len(shares))
    for label, style, top in zip(labels, styles, np.cumsum(shares, axis=1).T, strict=True):
        bottom_line, top_line = (np.append(line, line[-1]) for line in (below, top))
        axes.fill_between(edges, bottom_line, top_line, step="post", linewidth=0, label=label, **style)
        below = top
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])


def _draw_attention(axes: Any, timeline: Timeline) -> None:
    edges, attention = thinned(timeline.edges, timeline.attention)
    # As a multiple of what every frame would have under mean pooling: comparable between recordings.
    share = attention * len(timeline.attention)
    axes.stairs(share, edges, color=INK, linewidth=1.0, baseline=None)
    axes.axhline(1, color="0.6", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(0, max(1.15 * float(share.max()), 1.5))
    axes.set_ylabel("attention\n(× mean)")


def _draw_contributions(axes: Any, timeline: Timeline) -> None:
    winner = int(timeline.logits.argmax())
    edges, values = thinned(timeline.edges, timeline.contributions[:, winner])
    colour = PALETTE[winner % len(PALETTE)]
    values = values * len(timeline.times)
    axes.stairs(values, edges, fill=True, color=colour, alpha=0.6, linewidth=0)
    axes.stairs(values, edges, color=colour, linewidth=1.0, baseline=None)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.margins(y=0.15)
    axes.set_ylabel("contribution\n(× frames)")
    logit = f"{timeline.logits[winner]:.2f}".replace("-", "\N{MINUS SIGN}")
    axes.set_title(f"{timeline.label}: logit {logit} = mean of the curve", loc="right", pad=2)


def _draw_clusters(axes: Any, timeline: Timeline) -> None:
    runs = timeline.cluster_runs
    axes.hlines(
        [run.cluster for run in runs], [run.start for run in runs], [run.end for run in runs], color=INK, linewidth=2.2
    )
    axes.margins(y=0.1)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("cluster")
