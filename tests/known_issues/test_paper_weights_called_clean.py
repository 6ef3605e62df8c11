"""Weights chosen on the test set became "clean" by training on from them without ``--protocol paper``."""

from __future__ import annotations

import pytest
import torch

from emofair.checkpoints import safe
from emofair.errors import EmofairError
from emofair.testing.commands import continuing, seed_arguments, train_here


@pytest.fixture(scope="module")
def arguments(token_corpora, ssl_dir):
    def make(save_dir, *more):
        basis = continuing(seed_arguments(token_corpora("iemocap"), ssl_dir, save_dir))
        return [*basis, "--num-workers", "0", "--max-update", "2", *more]

    return make


@pytest.fixture(scope="module")
def paper(arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    train_here(arguments(folder, "--protocol", "paper", "--valid-subset", "test", "--max-update", "1"))
    return folder / "checkpoint_best.pt"


@pytest.mark.parametrize("option", ["--restore-file", "--finetune-from-model"])
def test_going_on_from_it_must_say_so(option, arguments, paper, tmp_path):
    with pytest.raises(EmofairError, match=r"cannot be called clean.*Add --protocol paper") as caught:
        train_here(arguments(tmp_path, option, paper))
    assert str(caught.value).startswith(f"{paper}: trained under the paper protocol")
    assert not list(tmp_path.glob("*.pt"))
    train_here(arguments(tmp_path, option, paper, "--protocol", "paper"))
    assert safe.load(tmp_path / "checkpoint_best.pt")["task_state"]["protocol"] == "paper"


def test_so_must_resuming_the_run_itself(arguments, paper):
    before = paper.with_name("checkpoint_last.pt").read_bytes()
    with pytest.raises(EmofairError, match="Add --protocol paper"):
        train_here(arguments(paper.parent))
    assert paper.with_name("checkpoint_last.pt").read_bytes() == before


def test_files_of_old_torch_are_read_too(arguments, paper, tmp_path):
    """They cannot be read in parts."""
    old = tmp_path / "old.pt"
    torch.save(safe.load(paper), old, _use_new_zipfile_serialization=False)
    with pytest.raises(EmofairError, match="Add --protocol paper"):
        train_here(arguments(tmp_path, "--finetune-from-model", old))


def test_clean_weights_may_be_used_under_either(arguments, tmp_path):
    train_here(arguments(tmp_path / "first", "--max-update", "1"))
    clean = tmp_path / "first" / "checkpoint_best.pt"
    for protocol in ("clean", "paper"):
        train_here(arguments(tmp_path / protocol, "--finetune-from-model", clean, "--protocol", protocol))
        assert safe.load(tmp_path / protocol / "checkpoint_best.pt")["task_state"]["protocol"] == protocol
