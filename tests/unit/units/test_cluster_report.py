"""The figures of clusters, by hand and against scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from emofair.data.manifests import Utterance
from emofair.errors import EmofairError
from emofair.units.cluster_report import describe, read_posterior, stability

ITEMS = [
    Utterance("a", "a.wav", label="sad", speaker="x"),
    Utterance("b", "b.wav", label="angry", speaker="x"),
    Utterance("c", "c.wav", label="sad", speaker="y"),
]
UNITS = [np.array(ids, dtype=np.int32) for ids in ([0, 0, 1], [1, 1, 1, 3], [0, 0])]


def test_by_hand():
    found = describe(UNITS, ITEMS, 5, "train")
    assert (found.classes, found.speakers) == (("angry", "sad"), ("x", "y"))
    assert found.counts.tolist() == [4, 4, 0, 1, 0]
    assert found.table.tolist() == [[0, 4], [3, 1], [0, 0], [1, 0], [0, 0]]
    assert found.speaker_table.tolist() == [[2, 2], [4, 0], [0, 0], [1, 0], [0, 0]]
    np.testing.assert_array_equal(found.posterior()[:2], [[0, 1], [0.75, 0.25]])
    assert np.isnan(found.posterior()[[2, 4]]).all()
    np.testing.assert_allclose(found.entropy(), [0, 0.811278, np.nan, 0, np.nan], atol=1e-6)
    # No step leads from one clip into the next.
    assert found.transitions[0].tolist() == [2, 1, 0, 0, 0] and found.transitions[1].tolist() == [0, 2, 0, 1, 0]
    assert found.transitions.sum() == 9 - 3
    summary = found.summary()
    assert summary["dead"] == 2 and summary["clips"] == 3
    assert summary["frames_per_run"] == 9 / 5
    assert summary["purity_emotion"] == 8 / 9 and summary["majority_emotion"] == 5 / 9
    assert summary["inverse_purity_emotion"] == 7 / 9
    assert found.top[0] == (("c", 1.0), ("a", 2 / 3)) and found.top[2] == ()


def test_a_cluster_that_nobody_saw_has_the_emotions_of_all_frames(tmp_path):
    found = describe(UNITS, ITEMS, 5, "train").as_json()
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"kmeans_sha256": "x", "splits": [found]}))
    classes, shares = read_posterior(path, 5, "x")
    assert classes == ("angry", "sad")
    np.testing.assert_allclose(shares, [[0, 1], [0.75, 0.25], [4 / 9, 5 / 9], [1, 0], [4 / 9, 5 / 9]])
    for k, known in ((5, "y"), (6, "x")):
        with pytest.raises(EmofairError, match="another k-means"):
            read_posterior(path, k, known)
    path.write_text(json.dumps({"kmeans_sha256": None, "splits": [{**found, "frames_by_emotion": None}]}))
    with pytest.raises(EmofairError, match="knows no emotions"):
        read_posterior(path, 5, "x")


def test_mutual_information_is_scikit_learns():
    random = np.random.default_rng(0)
    units = [random.integers(0, 7, n) for n in (30, 50, 20)]
    found = describe(units, ITEMS, 7, "train").summary()
    ids = np.concatenate(units)
    for name, of_clip in (("emotion", ["sad", "angry", "sad"]), ("speaker", ["x", "x", "y"])):
        expected = normalized_mutual_info_score(np.repeat(of_clip, [30, 50, 20]), ids)
        assert found[f"nmi_{name}"] == pytest.approx(expected, abs=1e-12)


def test_classes_of_the_corpus_keep_their_order_and_their_place():
    found = describe(UNITS, ITEMS, 5, "train", ("sad", "happy", "angry"))
    assert found.classes == ("sad", "happy", "angry")
    assert found.table[1].tolist() == [1, 0, 3]


def test_what_is_not_known_is_left_out():
    items = [Utterance("a", "a.wav", label="sad"), Utterance("b", "b.wav"), Utterance("c", "c.wav", label="sad")]
    found = describe(UNITS, items, 5, "train")
    assert found.table is None and found.speaker_table is None
    assert found.summary()["nmi_emotion"] is None and found.summary()["frames"] == 9


def test_stability_is_the_adjusted_rand_index():
    random = np.random.default_rng(0)
    first = [random.integers(0, 4, n) for n in (30, 50)]
    renamed = [(ids + 1) % 4 for ids in first]
    other = [random.integers(0, 4, n) for n in (30, 50)]
    found = stability({"a": first, "b": renamed, "c": other})
    assert [pair[:2] for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found[0][2] == 1
    assert found[1][2] == adjusted_rand_score(np.concatenate(first), np.concatenate(other))
    with pytest.raises(EmofairError, match=r"^b: has other numbers of frames than a$"):
        stability({"a": first, "b": first[::-1]})
