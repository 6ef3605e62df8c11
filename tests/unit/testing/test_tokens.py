"""Throw-away token corpora have the published form, and labels that follow from the tokens."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from emofair.errors import EmofairError
from emofair.testing import token_corpus
from emofair.testing.tokens import CLASSES, FLAGS


def counts_of_tokens(corpus, split, kind, vocabulary):
    files = [corpus.raw / split / kind / f"{name}.txt" for name in corpus.ids[split]]
    tokens = [np.array(file.read_text().split(), dtype=int) for file in files]
    return np.stack([np.bincount(row, minlength=vocabulary + 4) / len(row) for row in tokens])


@pytest.mark.parametrize("mode", sorted(FLAGS))
def test_manifests_and_token_files_agree(tmp_path, mode):
    corpus = token_corpus(tmp_path, mode, n={"train": 12, "valid": 5, "test": 7}, speech_vocab=20, text_vocab=30)
    for split, count in (("train", 12), ("valid", 5), ("test", 7)):
        names = [line.removesuffix(".wav") for line in (corpus.data / f"{split}_a.tsv").read_text().splitlines()]
        assert names == corpus.ids[split] and len(set(names)) == count
        header, *rows = (corpus.data / f"label_file_{split}.csv").read_text().splitlines()
        assert header == ("FileName,Emotion" if mode in CLASSES else "FileName,sentiment_score")
        assert rows == [f"{name},{label}" for name, label in zip(names, corpus.labels[split], strict=True)]
        sizes = (corpus.data / f"{split}_size.tsv").read_text().splitlines()
        sizes = sizes if mode in CLASSES else sizes[1:]
        for name, row in zip(names, sizes, strict=True):
            lengths = []
            for kind, words in (("text", 30), ("audio_token", 20)):
                tokens = [int(t) for t in (corpus.raw / split / kind / f"{name}.txt").read_text().split()]
                assert (tokens[0], tokens[-1]) == (0, 2)
                assert all(4 <= token < words + 4 for token in tokens[1:-1])
                lengths.append(len(tokens))
            assert row == f"{name},{lengths[0]},{lengths[1]}"
    assert not set(corpus.ids["train"]) & set(corpus.ids["test"])


@pytest.mark.parametrize("kind, vocabulary", [("text", 300), ("audio_token", 64)])
def test_each_modality_tells_the_class_and_random_labels_do_not(tmp_path, kind, vocabulary):
    def accuracy(corpus):
        fitted = LogisticRegression(C=100, max_iter=500).fit(
            counts_of_tokens(corpus, "train", kind, vocabulary), corpus.labels["train"]
        )
        return fitted.score(counts_of_tokens(corpus, "test", kind, vocabulary), corpus.labels["test"])

    learnable = token_corpus(tmp_path / "yes", "meld", n=140)
    random = token_corpus(tmp_path / "no", "meld", n=140, learnable=False)
    assert accuracy(learnable) > 0.7
    assert accuracy(random) < 0.4


def test_sentiment_can_be_regressed_and_has_zeros(tmp_path):
    corpus = token_corpus(tmp_path, "mosi", n=120)
    scores = {split: np.array(corpus.labels[split], dtype=float) for split in ("train", "test")}
    fitted = Ridge(alpha=0.01).fit(counts_of_tokens(corpus, "train", "audio_token", 64), scores["train"])
    predicted = fitted.predict(counts_of_tokens(corpus, "test", "audio_token", 64))
    assert np.corrcoef(predicted, scores["test"])[0, 1] > 0.7
    assert (scores["train"] == 0).any() and abs(scores["train"]).max() <= 3


def test_one_modality_may_be_absent(tmp_path):
    corpus = token_corpus(tmp_path, "meld", n=4, audio=False)
    assert not (corpus.data / "train_a.tsv").exists()
    assert not (corpus.raw / "train" / "audio_token").exists()
    assert (corpus.data / "train_t.tsv").exists()


def test_keeps_the_line_ends_of_the_published_files(tmp_path):
    iemocap, mosi = (token_corpus(tmp_path / mode, mode, n=4).data for mode in ("iemocap", "mosi"))
    assert (iemocap / "label_file_train.csv").read_bytes().startswith(b"FileName,Emotion\r\n0_s_1_neu,neu\r\n")
    assert b"\r" not in (mosi / "label_file_train.csv").read_bytes()
    assert (mosi / "train_size.tsv").read_bytes().startswith(b"FileName,text,audio\r\n")
    assert (iemocap / "train_size.tsv").read_bytes().startswith(b"0_s_1_neu,")


def test_same_seed_same_corpus(tmp_path):
    first, again, other = (token_corpus(tmp_path / name, n=4, seed=s) for name, s in (("a", 3), ("b", 3), ("c", 4)))
    file = f"train/text/{first.ids['train'][0]}.txt"
    assert (first.raw / file).read_text() == (again.raw / file).read_text()
    assert (first.raw / file).read_text() != (other.raw / file).read_text()


def test_unknown_kind_is_named(tmp_path):
    with pytest.raises(EmofairError, match=r"emodb.*choose one of iemocap"):
        token_corpus(tmp_path, "emodb")
