"""fairseq drops a last batch that is no multiple of 8 long, without a word: 16 of 22 items were evaluated."""

from __future__ import annotations

import pytest

from emofair.compat import PACKAGE
from emofair.testing import token_corpus
from emofair.testing.commands import logged, seed_arguments, train_here, validate_here


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return token_corpus(tmp_path_factory.mktemp("tail"), n={"train": 22, "valid": 22, "test": 3})


@pytest.fixture(scope="module")
def trained(corpus, ssl_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tail_run")
    more = ("--batch-size", "8", "--update-freq", "1", "--max-epoch", "1", "--save-predictions", folder / "valid.tsv")
    return folder, train_here([*seed_arguments(corpus, ssl_dir, folder), *more])


def test_training_and_its_validation_count_every_item(trained, corpus):
    folder, output = trained
    assert "'required_batch_size_multiple': 8" in output
    (train,), (valid,) = logged(output, "train"), logged(output, "valid")
    # Sizes are logged as means per batch, rounded: 22 items in 3 batches.
    assert (train["train_num_updates"], train["train_bsz"]) == ("3", "7.3")
    assert valid["valid_bsz"] == "7.3"
    assert len((folder / "valid.tsv").read_text().splitlines()) == 1 + 22


@pytest.mark.parametrize("split", ["valid", "test"])
def test_fairseq_validate_counts_every_item(split, trained, corpus):
    """The test split has 3 items, less than any batch that fairseq would keep."""
    folder, _ = trained
    table = folder / f"validate_{split}.tsv"
    arguments = [
        *("--user-dir", PACKAGE, "--task", "emotion_prediction", "--data", corpus.data, "--valid-subset", split),
        *("--path", folder / "checkpoint_last.pt", "--batch-size", "8", "--cpu", "--save-predictions", table),
    ]
    assert f"valid on '{split}' subset" in validate_here(arguments)
    assert sorted(row.split("\t")[0] for row in table.read_text().splitlines()[1:]) == sorted(corpus.ids[split])
