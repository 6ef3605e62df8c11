from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from emofair.inference.smoothing import Smoothing
from emofair.inference.timeline import ClusterRun, Timeline, segments_of
from emofair.reports import timeline_picture

pytest.importorskip("matplotlib")


def example(n=120, k=3, clusters=True, seed=0):
    random = np.random.default_rng(seed)
    scores = random.standard_normal((n, k)).cumsum(axis=0) / 3
    log_posteriors = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    edges = np.append(0.02 * np.arange(n), 0.02 * n + 0.01)
    classes = tuple(f"class{i}" for i in range(k))
    decisions, posteriors = Smoothing().decide(log_posteriors), np.exp(log_posteriors)
    attention = random.dirichlet(np.ones(n))
    return Timeline(
        samples=random.standard_normal(int(edges[-1] * 16000)).astype(np.float32),
        classes=classes,
        logits=(attention[:, None] * scores).sum(axis=0),
        probabilities=np.full(k, 1 / k),
        times=edges[:-1] + 0.01,
        edges=edges,
        attention=attention,
        contributions=attention[:, None] * scores,
        posteriors=posteriors,
        decisions=decisions,
        segments=segments_of(decisions, posteriors, edges, classes),
        clusters=np.zeros(n, dtype=int) if clusters else None,
        cluster_runs=[ClusterRun(0.0, 0.5, 3), ClusterRun(0.5, float(edges[-1]), 40)] if clusters else None,
        facts={},
    )


def pixels(path):
    from matplotlib import image

    return (np.asarray(image.imread(path))[..., :3] * 255).round().astype(int)


def drawn(image, colour):
    """Pixels of a colour."""
    return int((image == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1).sum())


def test_the_picture_has_the_colours_of_the_classes_and_is_the_same_each_time(tmp_path):
    timeline_picture.draw_timeline(tmp_path / "a.png", example())
    timeline_picture.draw_timeline(tmp_path / "b.png", example())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    image = pixels(tmp_path / "a.png")
    for colour in timeline_picture.PALETTE[:3]:
        assert drawn(image, colour) > 500
    timeline_picture.draw_timeline(tmp_path / "c.png", example(clusters=False), "a title")
    assert pixels(tmp_path / "c.png").shape[0] < image.shape[0] and 900 < image.shape[1] < 1200


def test_the_emotions_of_clusters_have_the_colours_of_the_classes(tmp_path):
    made = example()
    # In another order, with one that the model does not know; every frame is class 2 alone.
    shares = np.tile([0.0, 1.0, 0.0, 0.0], (120, 1))
    known = replace(made, cluster_classes=("other", "class2", "class0", "class1"), cluster_posteriors=shares)
    timeline_picture.draw_timeline(tmp_path / "a.png", known)
    timeline_picture.draw_timeline(tmp_path / "b.png", made)
    more, before = pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png")
    assert more.shape[0] > before.shape[0]
    grown = [drawn(more, colour) - drawn(before, colour) for colour in timeline_picture.PALETTE[:4]]
    assert grown[2] > 20000 and max(grown[0], grown[1]) < 5000 and 0 < grown[3] < 2000  # in the legend


def test_one_frame_many_classes_and_an_hour(tmp_path):
    for name, made in (("one", example(n=1)), ("many", example(k=11)), ("hour", example(n=20000))):
        timeline_picture.draw_timeline(tmp_path / f"{name}.png", made)
        assert pixels(tmp_path / f"{name}.png").std() > 10
    looks = [tuple(style.values()) for style in timeline_picture.colours(16)]
    assert len(set(looks)) == 16


@pytest.mark.parametrize("n", [1, 7, 10, 11, 25])
def test_thinning_keeps_means_and_edges(n):
    values, edges = np.random.default_rng(0).random((n, 2)), np.arange(n + 1.0)
    thin_edges, thin = timeline_picture.thinned(edges, values, columns=10)
    assert len(thin) <= 10 and len(thin_edges) == len(thin) + 1
    assert (thin_edges[0], thin_edges[-1]) == (0, n)
    np.testing.assert_allclose((thin * np.diff(thin_edges)[:, None]).sum(axis=0), values.sum(axis=0))


def test_envelope_keeps_the_peaks():
    samples = np.random.default_rng(0).standard_normal(1003)
    first, low, high = timeline_picture.envelope(samples, columns=10)
    assert len(first) <= 10 and low.min() == samples.min() and high.max() == samples.max()


def test_without_matplotlib(tmp_path, monkeypatch):
    from emofair.errors import MissingExtra
    from emofair.reports import plots

    def missing():
        raise MissingExtra("no matplotlib")

    monkeypatch.setattr(plots, "require_matplotlib", missing)
    with pytest.raises(MissingExtra):
        timeline_picture.draw_timeline(tmp_path / "a.png", SimpleNamespace())
