"""A fold's training and test clips as one training split, and what the guard says of stages that heard it."""

import pytest

from emofair.corpora.transductive import write_transductive
from emofair.data.fold_folders import list_folds
from emofair.data.leak_check import check_disjoint, facts_of
from emofair.data.manifests import Utterance, read_corpus, read_labels, read_split, splits_of, write_corpus
from emofair.errors import EmofairError


def clip(name, split, **facts):
    return Utterance(name, f"{name}.wav", 800, label="sad", speaker=split, votes={"sad": 2, "ang": 1}, **facts)


@pytest.fixture
def fold(tmp_path):
    splits = {split: [clip(f"{split}{n}", split) for n in range(2)] for split in ("train", "valid", "test")}
    splits["p1_train"], splits["p1_valid"] = splits["train"][:1], splits["train"][1:]
    more = {"fold": "3", "resample": True, "text_only": False, "shared_groups": ["session"], "speakers": {}}
    parts_of = {"p1_train": "train", "p1_valid": "train"}
    write_corpus(
        tmp_path / "fold3", splits, root=tmp_path / "wav", name="mine", labels=["hap"], parts_of=parts_of, **more
    )
    return tmp_path / "fold3"


def test_train_and_test_are_heard_and_valid_is_not(fold, tmp_path):
    write_transductive(fold, tmp_path / "heard")
    assert splits_of(tmp_path / "heard") == ["train", "valid"]
    assert read_split(tmp_path / "heard", "train") == read_split(fold, "train") + read_split(fold, "test")
    assert read_split(tmp_path / "heard", "valid") == read_split(fold, "valid")
    assert read_labels(tmp_path / "heard") == ["ang", "hap", "sad"]
    corpus = read_corpus(tmp_path / "heard")
    assert {name: corpus[name] for name in ("name", "fold", "resample", "shared_groups", "protocol")} == {
        "name": "mine",
        "fold": "3",
        "resample": True,
        "shared_groups": ["session"],
        "protocol": "transductive",
    }
    assert corpus["root"] == str(tmp_path / "wav") and corpus["fold_dir"] == str(fold) and "parts_of" not in corpus


def test_the_guard_knows_that_the_test_clips_were_heard(fold, tmp_path):
    write_transductive(fold, tmp_path / "heard")
    said = r"trained in fold 3 on 2 utterances that are in the test split of fold 3, .*\(test0, test1\)"
    with pytest.raises(EmofairError, match=said):
        check_disjoint(tmp_path / "heard", fold)  # of a stage that knows nothing of its data
    unlabelled = facts_of(tmp_path / "heard", uses_labels=False)
    with pytest.raises(EmofairError, match=said):
        check_disjoint(unlabelled, fold)
    assert check_disjoint(unlabelled, fold, labelled=True)  # what protocol transductive asks
    with pytest.raises(EmofairError, match=said):
        check_disjoint(facts_of(tmp_path / "heard"), fold, labelled=True)


def test_a_fold_without_validation(fold, tmp_path):
    splits = {split: read_split(fold, split) for split in ("train", "test")}
    write_corpus(tmp_path / "published", splits, root=tmp_path / "wav", name="mine", fold="1")
    write_transductive(tmp_path / "published", tmp_path / "heard")
    assert splits_of(tmp_path / "heard") == ["train"]


def test_a_fold_that_was_allowed_to_overlap(tmp_path):
    both = clip("both", "x")
    splits = {"train": [clip("a", "a"), both], "valid": [both], "test": [both, clip("b", "b")]}
    write_corpus(tmp_path / "fold", splits, root=tmp_path, name="mine", allow_overlap=True)
    with pytest.raises(EmofairError, match=r"'both' is in the splits 'train' and 'valid'.*--allow-overlap"):
        write_transductive(tmp_path / "fold", tmp_path / "heard")
    write_transductive(tmp_path / "fold", tmp_path / "heard", allow_overlap=True)
    assert [u.id for u in read_split(tmp_path / "heard", "train")] == ["a", "both", "b"]
    splits["test"] = [clip("a", "someone else")]
    write_corpus(tmp_path / "fold", splits, root=tmp_path, name="mine", allow_overlap=True)
    with pytest.raises(EmofairError, match="'a' occurs twice in the split 'train'"):
        write_transductive(tmp_path / "fold", tmp_path / "heard", allow_overlap=True)


def test_what_is_no_fold_or_would_be_lost(fold, tmp_path):
    with pytest.raises(EmofairError, match=r"nowhere: no fold: it has no train split"):
        write_transductive(tmp_path / "nowhere", tmp_path / "heard")
    with pytest.raises(EmofairError, match="the fold itself would be overwritten"):
        write_transductive(fold, fold)
    listed = {name: read_corpus(fold)[name] for name in ("name", "emofair", "command", "fold", "splits")}
    list_folds(tmp_path, [{**listed, "folds": {}}])
    with pytest.raises(EmofairError, match=r"this folder holds folds. Name one, as .*fold3"):
        write_transductive(tmp_path, tmp_path / "heard")
    with pytest.raises(EmofairError, match=r"holds the corpus mine\. choose another --out"):
        write_transductive(fold, tmp_path)
    assert read_split(fold, "test")
