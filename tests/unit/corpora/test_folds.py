import random
from collections import Counter

import pytest

from emofair.corpora.folds import FoldPlan, complete, given_folds, in_order, make_folds, stratified
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError


def corpus(n_speakers=6, labels="abc", per_label=4, without=()):
    """Two speakers a session, every speaker with every label, less the (speaker, label) pairs in ``without``."""
    return [
        Utterance(f"S{s}{label}{n}", f"{s}{label}{n}.wav", 400, label=label, speaker=f"S{s}", session=f"{(s + 1) // 2}")
        for s in range(1, n_speakers + 1)
        for label in labels
        for n in range(per_label)
        if (s, label) not in without
    ]


def who(fold, column="speaker"):
    return {split: in_order({getattr(u, column) for u in items}) for split, items in fold.splits.items()}


def ids(fold):
    return {split: sorted(u.id for u in items) for split, items in fold.splits.items()}


def test_leave_one_speaker_out():
    items = corpus()
    folds = make_folds(items, FoldPlan(by="speaker"))
    assert [fold.name for fold in folds] == list("123456")
    assert who(folds[0]) == {"train": ["S3", "S4", "S5", "S6"], "valid": ["S2"], "test": ["S1"]}
    assert who(folds[5]) == {"train": ["S2", "S3", "S4", "S5"], "valid": ["S1"], "test": ["S6"]}
    for fold in folds:
        assert sorted(u.id for part in fold.splits.values() for u in part) == sorted(u.id for u in items)
    assert sorted(u.id for fold in folds for u in fold.splits["test"]) == sorted(u.id for u in items)
    assert folds[1].facts["fold"] == "2" and folds[1].facts["speakers"]["test"] == ["S2"]
    assert folds[1].facts["folds"] == {
        "protocol": "leave-one-speaker-out",
        "n_folds": 6,
        "by": "speaker",
        "valid": "speaker",
        "valid_fraction": 0.1,
    }


def test_leave_one_session_out_holds_out_both_speakers():
    folds = make_folds(corpus(), FoldPlan(by="session"))
    assert [who(fold)["test"] for fold in folds] == [["S1", "S2"], ["S3", "S4"], ["S5", "S6"]]
    assert who(folds[2], "session") == {"train": ["2"], "valid": ["1"], "test": ["3"]}
    assert folds[2].facts["folds"]["protocol"] == "leave-one-session-out"
    assert folds[2].facts["sessions"] == {"train": ["2"], "valid": ["1"], "test": ["3"]}


def test_the_published_protocol_validates_on_nothing():
    folds = make_folds(corpus(), FoldPlan(by="session", valid="none"))
    assert list(folds[0].splits) == ["train", "test"] and len(folds[0].splits["train"]) == 48
    assert "valid_fraction" not in folds[0].facts["folds"]


@pytest.mark.parametrize(
    ("plan", "sizes"),
    [
        (FoldPlan(count=2), [3, 3]),
        (FoldPlan(count=4), [2, 2, 1, 1]),
        (FoldPlan(per_fold=4), [4, 2]),
        (FoldPlan(by="session", count=2, valid="none"), [4, 2]),
    ],
)
def test_groups(plan, sizes):
    folds = make_folds(corpus(), plan)
    assert [len(who(fold)["test"]) for fold in folds] == sizes
    assert folds[0].facts["folds"]["protocol"] == f"{len(sizes)} groups of {plan.by}s left out"
    assert folds[0].facts["speakers"]["test"] == [f"S{n}" for n in range(1, sizes[0] + 1)]


def test_folds_do_not_depend_on_the_order_of_clips():
    items = corpus()
    plan = FoldPlan(valid="random", p1_valid=0.25)
    shuffled = random.Random(1).sample(items, len(items))
    assert [ids(fold) for fold in make_folds(items, plan)] == [ids(fold) for fold in make_folds(shuffled, plan)]


def test_a_speaker_without_a_class_does_not_validate_where_another_can():
    items = corpus(without={(2, "a")})
    assert who(make_folds(items, FoldPlan())[0])["valid"] == ["S3"]
    # Nor one whose clips training needs: here only S3 has the class d.
    only_s3 = [*items, Utterance("d", "d.wav", 400, label="d", speaker="S3")]
    assert who(make_folds(only_s3, FoldPlan())[0])["valid"] == ["S2"]  # no choice is complete, so the next one


def test_random_validation_is_stratified_and_follows_the_seed():
    items = corpus(per_label=10)
    rest, held = stratified(items, 0.1, "58")
    assert Counter(u.label for u in held) == {"a": 6, "b": 6, "c": 6} and len(rest) + len(held) == len(items)
    assert [u.id for u in stratified(items, 0.1, "58")[1]] == [u.id for u in held]
    assert [u.id for u in stratified(items, 0.1, "59")[1]] != [u.id for u in held]
    # Each class with two clips gives one; one with a single clip gives none.
    rare = [Utterance("x", "x.wav", 400, label="x"), *(Utterance(f"y{n}", "y.wav", 400, label="y") for n in range(2))]
    assert [u.label for u in stratified(rare, 0.01, "58")[1]] == ["y"]


def test_parts_of_training_for_p_tapt():
    (fold, *_) = make_folds(corpus(), FoldPlan(p1_valid=0.25))
    found = ids(fold)
    assert list(found) == ["train", "valid", "test", "p1_train", "p1_valid"]
    assert sorted(found["p1_train"] + found["p1_valid"]) == found["train"]
    assert Counter(u.label for u in fold.splits["p1_valid"]) == {"a": 4, "b": 4, "c": 4}
    assert fold.parts_of == {"p1_train": "train", "p1_valid": "train"}
    assert fold.facts["folds"]["p1_by"] == "random" and fold.facts["folds"]["seed"] == 58


def test_a_speaker_validates_p_tapt_on_request():
    (fold, *_) = make_folds(corpus(), FoldPlan(p1_valid=0.25, p1_by="speaker"))
    assert who(fold)["p1_valid"] == ["S3"] and who(fold)["p1_train"] == ["S4", "S5", "S6"]


def test_all_for_training():
    (fold,) = make_folds(corpus(), FoldPlan(by="none", valid="none"))
    assert fold.name is None and list(fold.splits) == ["train"] and len(fold.splits["train"]) == 72
    (fold,) = make_folds(corpus(), FoldPlan(by="none", valid="speaker", valid_fraction=0.34))
    assert who(fold) == {"train": ["S3", "S4", "S5", "S6"], "valid": ["S1", "S2"]}


def test_listed_folds():
    items = corpus(n_speakers=1, labels="a", per_label=3)
    listed = {"1": {"S1a0": "train", "S1a1": "test"}, "2": {"S1a1": "train", "S1a2": "train", "gone": "test"}}
    folds = given_folds(items, listed, FoldPlan(by="none", valid="none"))
    assert [ids(fold) for fold in folds] == [{"train": ["S1a0"], "test": ["S1a1"]}, {"train": ["S1a1", "S1a2"]}]
    assert folds[0].facts["folds"]["protocol"] == "as listed"
    with pytest.raises(EmofairError, match="nothing usable is left in train of fold 1"):
        given_folds(items[2:], listed, FoldPlan(by="none", valid="none"))


def test_names_sort_as_people_do():
    assert in_order({"label_10.json", "label_9.json", "b", "2", "10", "a"}) == [
        "2",
        "10",
        "a",
        "b",
        "label_9.json",
        "label_10.json",
    ]


@pytest.mark.parametrize(
    ("items", "plan", "message"),
    [
        (corpus(n_speakers=1), {}, "1 speakers cannot make 1 folds. Ask for 2 to 1"),
        (corpus(), {"count": 7}, "6 speakers cannot make 7 folds. Ask for 2 to 6"),
        (corpus(), {"per_fold": 6}, "6 speakers cannot make 1 folds"),
        (corpus(n_speakers=2), {}, "fold 1: 1 training speakers are too few to hold out 1 of them"),
        (corpus(n_speakers=2, per_label=1), {"valid": "random"}, "fold 1: no class has two training clips"),
        ([*corpus(), Utterance("z", "z.wav", 5)], {}, "1 utterances have no speaker, for example z"),
        ([*corpus(), Utterance("z", "z.wav", 5, speaker="S1")], {"by": "session"}, "1 utterances have no session"),
    ],
)
def test_what_cannot_be_divided(items, plan, message):
    with pytest.raises(EmofairError, match=message):
        make_folds(items, FoldPlan(**plan))


@pytest.mark.parametrize("plan", [{"valid_fraction": 1.0}, {"p1_valid": 0.0}, {"count": 2, "per_fold": 2}])
def test_plans_that_make_no_sense(plan):
    with pytest.raises(EmofairError):
        FoldPlan(**plan)


def test_a_second_validation_set():
    (fold, *_) = make_folds(corpus(), FoldPlan())
    with pytest.raises(EmofairError, match="fold 1: there is a validation set already"):
        complete(fold, FoldPlan(valid="random"))
