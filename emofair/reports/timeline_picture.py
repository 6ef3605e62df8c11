"""An emotion timeline as a figure: waveform, posteriors, attention and contributions over one axis of time."""

from __future__ import annotations

import os
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
    heights = [1.0, 1.5, 0.9, 0.9] + ([0.9] if timeline.clusters is not None else [])
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            len(heights),
            1,
            figsize=(WIDTH, 1.1 * sum(heights) + 0.9),
            sharex=True,
            height_ratios=heights,
            layout="constrained",
        )
        _draw_waveform(axes[0], timeline)
        _draw_posteriors(axes[1], timeline)
        _draw_attention(axes[2], timeline)
        _draw_contributions(axes[3], timeline)
        if timeline.clusters is not None:
            _draw_clusters(axes[4], timeline)
        axes[-1].set_xlabel("time (s)")
        axes[-1].set_xlim(0, timeline.seconds)
        figure.align_ylabels(axes)
        patches, names = axes[1].get_legend_handles_labels()
        figure.legend(patches, names, loc="outside upper center", ncols=min(len(names), 6))
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
    edges, posteriors = thinned(timeline.edges, timeline.posteriors)
    tops = np.cumsum(posteriors, axis=1)
    below = np.zeros(len(posteriors))
    for label, style, top in zip(timeline.classes, colours(len(timeline.classes)), tops.T, strict=True):
        bottom_line, top_line = (np.append(line, line[-1]) for line in (below, top))
        axes.fill_between(edges, bottom_line, top_line, step="post", linewidth=0, label=label, **style)
        below = top
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("posterior")


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
