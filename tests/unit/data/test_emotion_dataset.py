"""Labels of clips: one class, votes, distributions, weights of classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emofair.data.emotion_dataset import SpeechEmotionDataset, class_list, inverse_frequency, label_distributions
from emofair.data.manifests import Utterance, read_split
from emofair.errors import EmofairError
from emofair.testing.clips import CLASSES, tone_corpus

ANGRY, NEUTRAL, SAD = range(3)


def clip(name, label=None, votes=None):
    return Utterance(name, f"{name}.wav", n_samples=400, label=label, votes=votes)


def shares(*items, mode="soft_ce"):
    return label_distributions(items, CLASSES, "train", "corpus", mode).tolist()


def test_class_names_come_from_the_corpus_or_the_user(tmp_path):
    (tmp_path / "labels.txt").write_text("angry\nsad\n")
    assert class_list(tmp_path, None) == ("angry", "sad")
    assert class_list(tmp_path, "sad, happy,angry") == ("sad", "happy", "angry")
    for given in ("sad", "sad,sad", "sad,"):
        with pytest.raises(EmofairError, match="--class-list"):
            class_list(tmp_path, given)
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(EmofairError, match="0 class names"):
        class_list(tmp_path, None)


def test_hard_labels_are_the_label_or_the_most_votes():
    both = clip("a", "sad", {"angry": 3})
    assert shares(both, mode="hard") == [[0, 0, 1]]
    assert shares(clip("b", votes={"sad": 2, "angry": 1, "happy": 9}), mode="hard") == [[0, 0, 1]]
    assert shares(clip("c", votes={"sad": 2, "neutral": 2}), mode="hard") == [[0, 1, 0]]


def test_soft_labels_are_the_votes_for_known_classes():
    assert shares(clip("a", "sad", {"angry": 1, "sad": 3, "other": 4})) == [[0.25, 0, 0.75]]
    assert shares(clip("b", "sad")) == [[0, 0, 1]]
    assert shares(clip("c", "sad", {"other": 2})) == [[0, 0, 1]]


@pytest.mark.parametrize("mode", ["hard", "soft_ce", "soft_sample"])
def test_a_label_that_is_not_there_is_told_by_row(mode):
    with pytest.raises(EmofairError, match=r"train.emo:2: the label 'bored' of b is none of angry, neutral, sad"):
        shares(clip("a", "sad"), clip("b", "bored"), mode=mode)
    with pytest.raises(EmofairError, match=r"train.emo:1: a has no label"):
        shares(clip("a"), mode=mode)
    with pytest.raises(EmofairError, match=r"train.emo:1: a has no label"):
        shares(clip("a", votes={"other": 2}), mode=mode)


def test_class_weights_are_the_published_ones():
    counts = np.array([[1, 0, 0]] * 6 + [[0, 1, 0]] * 3 + [[0, 0, 1]], dtype=np.float32)
    inverse = np.array([10 / 6, 10 / 3, 10 / 1])
    assert inverse_frequency(counts) == pytest.approx((inverse / inverse.sum()).tolist())
    assert inverse_frequency(counts[:9]) == pytest.approx([1 / 3, 2 / 3, 0])


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    return read_split(tone_corpus(tmp_path_factory.mktemp("tones"), {"train": 6}, votes=True), "train")


def targets(items, mode, training=True, epoch=1):
    votes = label_distributions(items, CLASSES, "train", "corpus", mode)
    dataset = SpeechEmotionDataset(items, "train", votes, mode, training=training)
    dataset.set_epoch(epoch)
    return dataset.collater([dataset[i] for i in range(len(items))])["target"]


def test_targets_of_each_label_mode(items):
    assert targets(items, "hard").tolist() == [0, 1, 2, 0, 1, 2]
    soft = targets(items, "soft_ce")
    assert soft.dtype == torch.float32
    torch.testing.assert_close(soft[0], torch.tensor([0.6, 0.4, 0.0]))
    drawn = torch.stack([targets(items, "soft_sample", epoch=epoch) for epoch in range(200)])
    assert (drawn[:, 0] == ANGRY).float().mean() == pytest.approx(0.6, abs=0.1)
    assert (drawn[:, 0] != SAD).all()
    assert torch.equal(drawn[7], targets(items, "soft_sample", epoch=7))
    for mode in ("soft_ce", "soft_sample"):
        assert targets(items, mode, training=False).tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("order", ["length", "bucket", "random"])
def test_resampling_makes_classes_equally_likely_and_follows_seed_and_epoch(items, order):
    few = [items[0], *items[1::3], *items[2::3]]  # 1 angry, 2 neutral, 2 sad
    votes = label_distributions(few, CLASSES, "train", "corpus", "hard")

    def drawn(epoch, seed=1, training=True):
        options = {"order": order, "n_buckets": 2, "seed": seed, "training": training}
        dataset = SpeechEmotionDataset(few, "train", votes, "hard", "resample", **options)
        dataset.set_epoch(epoch)
        return dataset, dataset.ordered_indices()

    dataset, first = drawn(1)
    assert len(first) == 5
    assert np.array_equal(first, drawn(1)[1])
    assert not all(np.array_equal(drawn(epoch)[1], drawn(epoch, seed=2)[1]) for epoch in range(1, 5))
    counts = sum(np.bincount(dataset.labels[drawn(epoch)[1]], minlength=3) for epoch in range(1, 401))
    assert counts / 2000 == pytest.approx([1 / 3] * 3, abs=0.05)
    if order == "length":
        assert (np.diff(dataset.sizes[first]) >= 0).all()
    assert sorted(drawn(1, training=False)[1]) == [0, 1, 2, 3, 4]


def test_without_labels_there_is_no_target(items):
    dataset = SpeechEmotionDataset(items, "train", None)
    assert "target" not in dataset.collater([dataset[0]])
