"""The semi-supervised form of robertaEMO, trained through fairseq's own parser and trainer."""

from __future__ import annotations

import dataclasses
import itertools
import math
import shutil

import pytest
import torch

from emofair.criterions.emotion_prediction import EmotionCriterionConfig, EmotionPredictionCriterion
from emofair.criterions.emotion_semisup import EmotionSemisupCriterion, EmotionSemisupCriterionConfig
from emofair.errors import EmofairError
from emofair.inference.checkpoint import load_checkpoint
from emofair.testing import token_corpus
from emofair.testing.commands import seed_arguments, train_here

SEMI = {
    "emotion_prediction": "emotion_semisup_prediction",
    "robertaEMO": "semiemo",
    "emotion_prediction_cri": "emotion_prediction_semisup_cri",
}


def arguments(corpus, ssl_dir, save_dir, *more, **options) -> list[str]:
    basis = seed_arguments(corpus, ssl_dir, save_dir, **options)
    return [*(SEMI.get(a, a) for a in basis), "--num-workers", "0", *more]


def with_unlabelled(labelled, folder):
    """The corpus, with further utterances that have no labels."""
    more = token_corpus(folder / "more", n={"unsup": 22}, seed=1)
    data, raw = folder / "T_data", folder / "raw"
    shutil.copytree(labelled.data, data)
    shutil.copytree(labelled.raw, raw, ignore=shutil.ignore_patterns(".emofair_cache"))
    for kind, extension in (("a", ".wav"), ("t", ".txt")):
        names = (f"new_{name}{extension}\n" for name in more.ids["unsup"])
        (data / f"unsup_{kind}.tsv").write_text("".join(names))
    for path in (more.raw / "unsup").glob("*/*.txt"):
        target = raw / "unsup" / path.parent.name / f"new_{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return dataclasses.replace(labelled, data=data, raw=raw)


@pytest.fixture
def corpus(token_corpora, tmp_path):
    return with_unlabelled(token_corpora("iemocap"), tmp_path)


def test_each_method_trains_can_be_opened_and_leads_elsewhere(corpus, ssl_dir, tmp_path):
    heads = []
    for method in ("none", "mixmatch", "uda"):
        train_here(arguments(corpus, ssl_dir, tmp_path / method, "--stack-up", "--semisup", method))
        loaded = load_checkpoint(tmp_path / method / "checkpoint_last.pt")
        assert loaded.model.semisup == method
        assert loaded.facts["updates"] == 12
        heads.append(loaded.model.classification_heads["emotion_classification_head"].out_proj.weight)
    for one, other in itertools.combinations(heads, 2):
        assert not torch.equal(one, other)


def test_supervised_loss_is_that_of_robertaemo_per_decision(token_corpora, ssl_dir, tmp_path):
    train_here([*seed_arguments(token_corpora("iemocap"), ssl_dir, tmp_path), "--max-epoch", "1"])
    loaded = load_checkpoint(tmp_path / "checkpoint_last.pt")
    loaded.task.load_dataset("valid")
    dataset = loaded.task.dataset("valid")
    batch = dataset.collater([dataset[i] for i in range(len(dataset))])
    plain = EmotionPredictionCriterion(EmotionCriterionConfig(eval_metric=False, save_predictions=None), loaded.task)
    semi = EmotionSemisupCriterion(EmotionSemisupCriterionConfig(eval_metric=False, save_predictions=None), loaded.task)
    (loss, size, output), (semi_loss, semi_size, semi_output) = plain(loaded.model, batch), semi(loaded.model, batch)
    assert size == semi_size == len(dataset)
    assert semi_loss.item() == pytest.approx(loss.item() / 4, rel=1e-6)
    # Shown in nats and not in bits.
    assert semi_output["loss"].item() == pytest.approx(output["loss"].item() * math.log(2), rel=1e-6)


def test_uda_learns_scores_too(token_corpora, ssl_dir, tmp_path):
    corpus = with_unlabelled(token_corpora("mosi"), tmp_path)
    target = ("--regression-target-mos", "--num-classes", "1")
    train_here(arguments(corpus, ssl_dir, tmp_path / "uda", "--stack-up", "--semisup", "uda", target=target))
    assert (tmp_path / "uda" / "checkpoint_best.pt").exists()
    with pytest.raises(EmofairError, match="needs classes"):
        train_here(arguments(corpus, ssl_dir, tmp_path / "mm", "--stack-up", "--semisup", "mixmatch", target=target))


def test_views_need_the_cross_attention(corpus, ssl_dir, tmp_path):
    with pytest.raises(EmofairError, match="--stack-up"):
        train_here(arguments(corpus, ssl_dir, tmp_path / "run", "--semisup", "uda"))


def test_missing_unlabelled_lists_are_named(token_corpora, ssl_dir, tmp_path):
    with pytest.raises(EmofairError, match=r"unsup_a\.tsv"):
        train_here(arguments(token_corpora("iemocap"), ssl_dir, tmp_path / "run", "--stack-up", "--semisup", "uda"))
