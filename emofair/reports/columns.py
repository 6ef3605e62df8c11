"""Which figures a table shows, what they are called in papers, and with how many digits."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Figures that are shares are shown in per cent; these are not.
IN_UNITS = ("loss", "mae", "mse", "corr", "ccc")
MINUS = "−"
# What a cell without a figure shows.
ABSENT = "–"


@dataclass(frozen=True)
class Column:
    """A figure of metrics.json and its heading."""

    figure: str
    heading: str


# By the figure that tells the kind of target; the first that is there decides.
SENTIMENT = (
    *(Column("mae", "MAE"), Column("corr", "Corr"), Column("accuracy", "Acc-7"), Column("accuracy5", "Acc-5")),
    *(Column("binary-accuracy", "Acc-2 (non-zero)"), Column("f1", "F1 (non-zero)")),
    *(Column("binary-accuracy-has0", "Acc-2 (has zero)"), Column("f1_has0", "F1 (has zero)")),
)
SCORE = (Column("mae", "MAE"), Column("mse", "MSE"), Column("corr", "Corr"), Column("ccc", "CCC"))
CLASSES = (
    *(Column("accuracy", "WA"), Column("uar", "UA")),
    *(Column("f1", "weighted F1"), Column("f1_macro", "macro F1")),
)
# The figures that learning curves follow, best known first.
CURVE = ("uar", "uar4", "f1", "accuracy", "mae", "corr")


def columns_of(figures: Iterable[str]) -> list[Column]:
    """The main columns for a set of figures, in the order of the literature."""
    names = set(figures)
    if "mae" in names:
        chosen: Sequence[Column] = SENTIMENT if "accuracy5" in names else SCORE
    elif decisions := sorted(name for name in names if re.fullmatch(r"uar\d+", name)):
        k = decisions[0].removeprefix("uar")
        chosen = [Column(f"accuracy{k}", "WA"), Column(f"uar{k}", "UA"), Column("accuracy", "yes/no accuracy")]
    elif "accuracy" in names:
        chosen = CLASSES
    else:
        # A target that is not known here: everything but the loss.
        chosen = [Column(name, name) for name in sorted(names) if name != "loss"]
    return [column for column in chosen if column.figure in names]


def curve_figure(figures: Iterable[str]) -> str | None:
    """The figure whose learning curve is drawn."""
    names = set(figures)
    return next((name for name in CURVE if name in names), None)


def per_class(figures: Iterable[str], classes: Sequence[str]) -> list[Column]:
    """Kinds of figures that exist for every class, as prefixes of their names."""
    names = set(figures)
    kinds = (
        Column("accuracy_", "Accuracy"),
        Column("f1_", "F1"),
        Column("f1pos_", "F1 of “present”"),
    )
    return [kind for kind in kinds if classes and all(kind.figure + name in names for name in classes)]


def cell(values: Sequence[float | None], figure: str) -> str:
    """Mean ± sample standard deviation of one figure over runs; shares in per cent, errors in their unit."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or len(known) < len(values):
        return ABSENT
    digits = 3 if figure in IN_UNITS else 1
    mean = number(statistics.fmean(known) * scale(figure), digits)
    return mean if len(known) == 1 else f"{mean} ± {number(statistics.stdev(known) * scale(figure), digits)}"


def scale(figure: str) -> int:
    """What a figure is multiplied with where it is shown: shares become per cent."""
    return 1 if figure in IN_UNITS else 100


def number(value: float, digits: int) -> str:
    """A number with a true minus sign, and none before a zero."""
    text = f"{value:.{digits}f}"
    if text.startswith("-"):
        text = text[1:] if not text.strip("-0.") else MINUS + text[1:]
    return text


def axis_label(figure: str) -> str:
    """What the axis of a learning curve is called."""
    names = {"uar": "UA", "uar4": "UA", "f1": "weighted F1", "mae": "MAE", "corr": "Corr"}
    return names.get(figure, figure) + ("" if figure in IN_UNITS else " (%)")
