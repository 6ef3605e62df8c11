"""``--best-checkpoint-metric acc``, which no validation publishes, ended in a KeyError after the first epoch."""

from __future__ import annotations

import pytest

from emofair.errors import EmofairError
from emofair.testing.commands import logged, seed_arguments, train_here

FLAGS = {"iemocap": "--binary-target-iemocap", "meld": "--softmax-target-meld", "mosi": "--regression-target-mos"}


@pytest.fixture
def arguments(token_corpora, ssl_dir, tmp_path):
    def make(mode):
        basis = seed_arguments(token_corpora(mode), ssl_dir, tmp_path, target=(FLAGS[mode],))
        at = basis.index("--best-checkpoint-metric")
        return [*basis[:at], *basis[at + 2 :], "--max-update", "1", "--num-workers", "0"]

    return make


@pytest.mark.parametrize("mode", FLAGS)
def test_it_is_refused_before_training_and_what_is_offered_is_what_is_published(mode, arguments, tmp_path):
    with pytest.raises(EmofairError, match="--best-checkpoint-metric acc is not a figure") as caught:
        train_here([*arguments(mode), "--best-checkpoint-metric", "acc"])
    assert not list(tmp_path.glob("*.pt"))
    offered = str(caught.value).partition("Choose one of ")[2].rstrip(".").split(", ")
    (row,) = logged(train_here([*arguments(mode), "--best-checkpoint-metric", "num_updates"]), "valid")
    assert {f"valid_{name}" for name in offered} == row.keys() - {"epoch"}


def test_figures_of_the_target_are_taken(arguments, tmp_path):
    for mode, metric in (("iemocap", "f1_happy"), ("mosi", "corr")):
        output = train_here([*arguments(mode), "--best-checkpoint-metric", metric, "--save-dir", tmp_path / mode])
        assert f"valid_{metric}" in logged(output, "valid")[0]
        assert (tmp_path / mode / "checkpoint_best.pt").exists()


def test_without_a_validation_the_name_does_not_matter(arguments, tmp_path):
    train_here([*arguments("iemocap"), "--best-checkpoint-metric", "acc", "--disable-validation"])
    assert (tmp_path / "checkpoint_last.pt").exists()
