import pytest

from emofair.metrics import binary, classification, regression
from emofair.reports.columns import cell, columns_of, curve_figure, number, per_class

K4 = ("neutral", "sad", "angry", "happy")
FIGURES = {
    "softmax": classification.figures(K4),
    "binary": binary.figures(K4),
    "sentiment": regression.figures(regression.SENTIMENT_CLASSES),
    "score": regression.figures(),
}


@pytest.mark.parametrize(
    ("kind", "headings", "curve"),
    [
        ("softmax", ["WA", "UA", "weighted F1", "macro F1"], "uar"),
        ("binary", ["WA", "UA", "yes/no accuracy"], "uar4"),
        ("sentiment", ["MAE", "Corr", "Acc-7", "Acc-5", "Acc-2 (non-zero)", "F1 (non-zero)"], "f1"),
        ("score", ["MAE", "MSE", "Corr", "CCC"], "f1"),
    ],
)
def test_columns_of_every_target(kind, headings, curve):
    shown = columns_of([*FIGURES[kind], "loss"])
    assert [column.heading for column in shown][: len(headings)] == headings
    assert all(column.figure in FIGURES[kind] for column in shown)
    assert curve_figure([*FIGURES[kind], "loss"]) == curve


def test_a_target_that_is_not_known_shows_what_it_has():
    assert [column.heading for column in columns_of(["loss", "jga", "bleu"])] == ["bleu", "jga"]
    assert curve_figure(["loss", "jga"]) is None


def test_figures_by_class():
    assert [kind.heading for kind in per_class(FIGURES["binary"], K4)] == ["Accuracy", "F1", "F1 of “present”"]
    assert [kind.heading for kind in per_class(FIGURES["softmax"], K4)] == ["F1"]
    assert per_class(FIGURES["softmax"], ("sad", "proud")) == per_class(FIGURES["score"], ()) == []


@pytest.mark.parametrize(
    ("values", "figure", "text"),
    [
        ([0.7], "uar", "70.0"),
        ([0.7, 0.8], "uar", "75.0 ± 7.1"),  # sample deviation: 10 / sqrt(2)
        ([0.5, 0.5, 0.5], "f1", "50.0 ± 0.0"),
        ([0.71249], "mae", "0.712"),
        ([-0.25, -0.35], "corr", "−0.300 ± 0.071"),
        ([-0.0001], "corr", "0.000"),
        ([None], "f1", "–"),
        ([0.5, None], "f1", "–"),  # a mean over some of the runs would pass for one over all
        ([], "f1", "–"),
    ],
)
def test_cells(values, figure, text):
    assert cell(values, figure) == text


def test_minus_zero_has_no_sign():
    assert (number(-0.04, 1), number(-0.06, 1)) == ("0.0", "−0.1")
