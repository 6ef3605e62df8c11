"""Pictures of a report: confusion matrices and learning curves, as PNG files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from emofair.errors import require

DPI = 150
FONT_SIZE = 10
STYLE = {
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "legend.fontsize": FONT_SIZE - 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def require_matplotlib() -> Any:
    """The drawing library; raises `MissingExtra` where it is not installed."""
    return require("matplotlib", "plots", "drawing pictures")


def open_pyplot() -> Any:
    """matplotlib's pyplot, set up to draw into files; raises `MissingExtra` where it is not installed."""
    require_matplotlib().use("Agg")  # no screen
    from matplotlib import pyplot

    return pyplot


def save_png(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure; the same numbers give the same bytes."""
    # That needs the version of matplotlib left out of the file.
    figure.savefig(path, dpi=DPI, bbox_inches="tight", pad_inches=0.08, metadata={"Software": None})


def draw_confusion(
    path: str | os.PathLike[str], counts: Sequence[Sequence[int]], classes: Sequence[str], title: str | None = None
) -> None:
    """Draw a confusion matrix: the true class in the row, counts as text, the share of the row as colour.

    ``counts`` is ``[k, k]``. Raises `MissingExtra` without matplotlib.
    """
    pyplot = open_pyplot()
    matrix = np.asarray(counts, dtype=float)
    k = len(classes)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = max(2.6, 0.62 * k + 0.8)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(side + 0.9, side), layout="constrained")
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(k, k):
            colour = "white" if share[row, column] > 0.55 else "black" if matrix[row, column] else "0.7"
            axes.text(column, row, f"{int(matrix[row, column])}", ha="center", va="center", color=colour)
        slanted = max(map(len, classes)) > 5
        axes.set_xticks(range(k), classes, rotation=40 if slanted else 0, ha="right" if slanted else "center")
        axes.set_yticks(range(k), classes)
        if slanted:
            for label in axes.get_xticklabels():
                label.set_rotation_mode("anchor")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if title:
            axes.set_title(title, loc="left")
        bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=18, ticks=[0, 0.5, 1])
        bar.outline.set_visible(False)
        bar.ax.set_yticklabels(["0 %", "50 %", "100 %"])
        bar.set_label("of the true class")
        save_png(figure, path)
        pyplot.close(figure)


def draw_curves(
    path: str | os.PathLike[str],
    panels: Sequence[tuple[str, dict[str, list[dict[int, float]]]]],
    title: str | None = None,
) -> None:
    """Draw learning curves: one panel per figure, one colour per subset, a thin line per run and their mean.

    ``panels`` are (axis label, {subset: [{epoch: value} per run]}). The mean is drawn over the epochs that all runs
    have. Raises `MissingExtra` without matplotlib.
    """
    pyplot = open_pyplot()
    from matplotlib.ticker import MaxNLocator

    colours = ("#1f77b4", "#d95f02", "#4d4d4d", "#7570b3")
    with pyplot.rc_context(STYLE):
        figure, every = pyplot.subplots(
            1, len(panels), figsize=(3.7 * len(panels), 2.9), layout="constrained", squeeze=False
        )
        for axes, (label, subsets) in zip(every[0], panels, strict=True):
            for colour, (subset, runs) in zip(colours, subsets.items(), strict=False):
                runs = [run for run in runs if run]
                for run in runs if len(runs) > 1 else ():
                    axes.plot(sorted(run), [run[e] for e in sorted(run)], color=colour, alpha=0.3, linewidth=0.8)
                common = sorted(set.intersection(*(set(run) for run in runs)))
                means = [float(np.mean([run[epoch] for run in runs])) for epoch in common]
                name = subset if len(runs) == 1 else f"{subset} (mean of {len(runs)})"
                marker = "o" if len(common) <= 20 else None
                axes.plot(common, means, color=colour, linewidth=1.6, marker=marker, markersize=3.5, label=name)
            axes.set_xlabel("epoch")
            axes.set_ylabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
        if title:
            figure.suptitle(title, fontsize=FONT_SIZE, x=0.01, ha="left")
        save_png(figure, path)
        pyplot.close(figure)
