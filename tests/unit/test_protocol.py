"""Names of splits and what they may share, without any data set."""

from __future__ import annotations

import logging

import pytest
from omegaconf import OmegaConf

from emofair.errors import EmofairError
from emofair.protocol import Subsets, check_overlap, is_test

ITEMS = {"fit": {"a", "b", "c"}, "dev": {"c", "d"}, "test": {"d", "e"}, "mine": {"a", "b"}}


def test_names_come_from_the_configuration():
    dataset = {"train_subset": "fit", "valid_subset": "dev,extra", "disable_validation": False}
    assert Subsets.of(OmegaConf.create({"dataset": dataset})) == Subsets("fit", ("dev", "extra"))
    assert Subsets.of(OmegaConf.create({"dataset": {**dataset, "disable_validation": True}})) == Subsets("fit", ())
    assert Subsets.of(None) == Subsets.of(OmegaConf.create({})) == Subsets("train", ("valid",))


@pytest.mark.parametrize(
    ("name", "answer"),
    [("test", True), ("test2", True), ("test_s5", True), ("./test", True), ("valid", False), ("latest", False)],
)
def test_test_sets_are_known_by_their_name(name, answer):
    assert is_test(name) is answer


@pytest.mark.parametrize(
    ("train", "valid", "said"),
    [
        ("test", "valid", "--train-subset test would train on the test set"),
        ("fit", "test", "--valid-subset test would show the test set"),
        ("fit", "valid,test1", "--valid-subset valid,test1 would show the test set"),
        ("valid", "valid", "--valid-subset valid would select by the items that are trained on"),
    ],
)
def test_what_the_clean_protocol_refuses(train, valid, said):
    with pytest.raises(EmofairError, match=f"{said}.*--protocol paper"):
        Subsets(train, tuple(valid.split(","))).check()


@pytest.mark.parametrize(("train", "valid"), [("train", "valid"), ("fit", "dev"), ("train", "valid,train")])
def test_what_it_allows(train, valid):
    Subsets(train, tuple(valid.split(","))).check()


def test_pairs_that_must_not_share_items():
    assert Subsets().apart() == [("train", "valid"), ("train", "test"), ("valid", "test")]
    assert Subsets("fit", ("dev",)).apart("mine") == [
        *(("fit", "dev"), ("fit", "mine"), ("fit", "test")),
        *(("dev", "mine"), ("dev", "test")),
    ]
    assert Subsets("train", ("valid", "train")).apart("test") == [
        *(("train", "valid"), ("train", "test"), ("valid", "test")),
    ]


def test_shared_items_are_an_error_under_clean():
    check_overlap("clean", [("mine", "test"), ("fit", "absent")], ITEMS.get, "lists")
    with pytest.raises(EmofairError, match=r"^lists: splits fit and mine share 2 items \(a, b\)\. Take them out"):
        check_overlap("clean", [("fit", "mine"), ("fit", "dev")], ITEMS.get, "lists")


def test_and_one_line_with_the_counts_under_paper(caplog):
    pairs = [("fit", "mine"), ("fit", "test"), ("fit", "dev"), ("dev", "test")]
    with caplog.at_level(logging.INFO):
        check_overlap("paper", pairs, ITEMS.get, "lists", quiet=True)
        check_overlap("paper", [("fit", "test")], ITEMS.get, "lists")
        assert not caplog.records
        check_overlap("paper", pairs, ITEMS.get, "lists")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "lists: protocol paper: items that two splits share: fit and mine: 2, fit and dev: 1, dev and test: 1"
    )
