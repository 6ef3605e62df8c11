"""Selecting a model on the test set: refused, unless the published habit is asked for by name; then it is marked."""

from __future__ import annotations

import pytest

from emofair.checkpoints import safe
from emofair.errors import EmofairError
from emofair.testing.commands import logged, seed_arguments, train_here


@pytest.fixture
def arguments(token_corpora, ssl_dir, tmp_path):
    return [*seed_arguments(token_corpora("iemocap"), ssl_dir, tmp_path / "run"), "--max-epoch", "1"]


@pytest.mark.parametrize("subsets", ["test", "valid,test"])
def test_clean_protocol_refuses_to_look_at_the_test_set_in_training(subsets, arguments, tmp_path):
    with pytest.raises(EmofairError, match=f"--valid-subset {subsets} would show the test set") as error:
        train_here([*arguments, "--valid-subset", subsets])
    assert "--protocol paper" in str(error.value)
    assert not list((tmp_path / "run").glob("*.pt"))


def test_clean_is_the_default_and_stored(arguments, tmp_path):
    train_here(arguments)
    assert safe.load(tmp_path / "run" / "checkpoint_best.pt")["task_state"]["protocol"] == "clean"


def test_paper_protocol_allows_it_and_marks_every_checkpoint(arguments, tmp_path):
    output = train_here([*arguments, "--valid-subset", "test", "--protocol", "paper"])
    assert len(logged(output, "test")) == 1
    for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
        assert safe.load(tmp_path / "run" / name)["task_state"]["protocol"] == "paper"
