import numpy as np
import pytest

from emofair.errors import MissingExtra
from emofair.reports import plots

pytest.importorskip("matplotlib")


def pixels(path):
    from matplotlib import image

    return np.asarray(image.imread(path))


def test_confusion(tmp_path):
    plots.draw_confusion(tmp_path / "a.png", [[10, 0], [0, 10]], ["sad", "happy"])
    plots.draw_confusion(tmp_path / "b.png", [[10, 0], [0, 10]], ["sad", "happy"])
    plots.draw_confusion(tmp_path / "c.png", [[0, 10], [10, 0]], ["sad", "happy"])
    first, mirrored = pixels(tmp_path / "a.png"), pixels(tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert first.shape == mirrored.shape and not np.array_equal(first, mirrored)


def test_colour_is_the_share_of_the_row(tmp_path):
    """A class with few items that are all right is as dark as one with many."""
    plots.draw_confusion(tmp_path / "a.png", [[100, 0], [0, 3]], ["a", "b"])
    image = (pixels(tmp_path / "a.png")[..., :3] * 255).round().astype(int)
    darkest = (image == [8, 48, 107]).all(axis=-1)  # the end of the scale
    rows = np.flatnonzero(darkest[:, : image.shape[1] * 2 // 3].sum(axis=1) > 40)
    assert rows.max() - rows.min() > image.shape[0] / 2


def test_a_class_without_items_and_long_names(tmp_path):
    plots.draw_confusion(tmp_path / "a.png", [[1, 0, 0], [0, 0, 0], [1, 1, 9999]], ["neutral", "surprised", "b"], "x")
    height, width = pixels(tmp_path / "a.png").shape[:2]
    assert 300 < height < 900 and 300 < width < 900


def test_curves(tmp_path):
    panels = [
        ("loss", {"train": [{1: 2.0, 2: 1.0}, {1: 2.2, 2: 1.2, 3: 1.0}], "valid": [{1: 2.1, 2: 1.5}, {}]}),
        ("UA (%)", {"valid": [{1: 20.0}]}),
    ]
    plots.draw_curves(tmp_path / "a.png", panels)
    plots.draw_curves(tmp_path / "b.png", panels[:1], "title")
    assert pixels(tmp_path / "a.png").shape[1] > 1.7 * pixels(tmp_path / "b.png").shape[1]


def test_mean_and_single_runs_are_drawn(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    original = Axes.plot
    monkeypatch.setattr(
        Axes,
        "plot",
        lambda self, x, y, **k: drawn.append((list(x), list(y), k.get("label"))) or original(self, x, y, **k),
    )
    plots.draw_curves(tmp_path / "a.png", [("loss", {"valid": [{1: 2.0, 2: 1.0}, {1: 4.0, 2: 2.0, 3: 9.0}, {}]})])
    # The mean stops where a run ends: one over the runs that are left would jump.
    assert drawn == [
        ([1, 2], [2.0, 1.0], None),
        ([1, 2, 3], [4.0, 2.0, 9.0], None),
        ([1, 2], [3.0, 1.5], "valid (mean of 2)"),
    ]


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"emofair\[plots\]"):
        plots.draw_confusion(tmp_path / "a.png", [[1]], ["a"])
