import hashlib
import shutil

import pytest

from emofair.data.leak_check import (
    Shared,
    check_disjoint,
    check_folders,
    compare_folders,
    facts_of,
    hash_id,
    leaked,
    shared_utterances,
    trained_hashes,
)
from emofair.data.manifests import Utterance, write_corpus
from emofair.errors import EmofairError


def clip(name, folder="audio", **fields):
    return Utterance(name, f"{folder}/{name}.wav", 400, speaker=name[0], **fields)


def fold(root, name, test, valid=None, everything="abcdef"):
    """A fold of clips a1, a2, b1 ... by speaker: those in ``test`` test, ``valid`` validates, the rest trains."""
    clips = [clip(f"{speaker}{n}") for speaker in everything for n in (1, 2)]
    splits = {
        "train": [u for u in clips if u.speaker not in (test, valid)],
        "valid": [u for u in clips if u.speaker == valid],
        "test": [u for u in clips if u.speaker == test],
    }
    splits = {split: items for split, items in splits.items() if items}
    write_corpus(root / f"fold{name}", splits, root=root, name="toy", fold=name)
    return root / f"fold{name}"


@pytest.fixture
def folds(tmp_path):
    return fold(tmp_path, "1", "a", "b"), fold(tmp_path, "2", "b", "c"), fold(tmp_path, "3", "c")


def test_what_a_stage_stores(folds):
    facts = facts_of(folds[0])
    assert (facts["corpus"], facts["fold"], len(facts["trained_ids"])) == ("toy", "1", 8)
    assert facts["trained_ids"] == sorted(facts["trained_ids"]) and hash_id("c1") in facts["trained_ids"]
    assert hash_id("c1") == hashlib.sha256(b"c1").hexdigest()[:16]
    assert hash_id("ü") == hashlib.sha256("ü".encode()).hexdigest()[:16]
    # Sixteen digits and quotes, comma and space: the size that is promised.
    assert len(str(facts["trained_ids"])) == 8 * 20
    assert len(facts_of(folds[0], ("train", "valid"))["trained_ids"]) == 10


def test_later_stages_inherit(folds):
    first = facts_of(folds[0])
    later = facts_of(folds[1], earlier=[first, {"fold": None}])
    assert set(later["trained_ids"]) == {*first["trained_ids"], *facts_of(folds[1])["trained_ids"]}
    with pytest.raises(EmofairError, match="in fold 2 on 2 utterances"):
        check_disjoint(later, folds[2])


def test_what_was_heard_without_labels_is_told_apart(folds):
    heard = facts_of(folds[0], ("train", "valid", "test"), uses_labels=False)
    assert (len(heard["trained_ids"]), heard["labelled_ids"]) == (12, [])
    both = facts_of(folds[0], earlier=[heard])
    assert both["labelled_ids"] == facts_of(folds[0])["trained_ids"] and both["trained_ids"] == heard["trained_ids"]
    with pytest.raises(EmofairError, match="on 2 utterances that are in the test split"):
        check_disjoint(both, folds[0])
    assert check_disjoint(both, folds[0], labelled=True) is True
    del both["labelled_ids"]  # of a checkpoint from before these were kept
    with pytest.raises(EmofairError, match="on 2 utterances that are in the test split"):
        check_disjoint(both, folds[0], labelled=True)


def test_the_same_fold_is_fine(folds):
    for folder in folds:
        assert check_disjoint(facts_of(folder), folder) is True
        assert check_disjoint(folder, folder) is True


def test_another_fold_is_refused(folds):
    with pytest.raises(EmofairError) as caught:
        check_disjoint(facts_of(folds[0]), folds[2], name="out/checkpoint_last.pt")
    assert str(caught.value).startswith(
        "out/checkpoint_last.pt: trained in fold 1 on 2 utterances that are in the test split of fold 3, "
        f"{folds[2]} (c1, c2). Take the checkpoint of the same fold"
    )
    with pytest.raises(
        EmofairError, match=r"fold1: trained in fold 1 on 2 utterances that are in the valid split of fold 2"
    ):
        check_disjoint(folds[0], folds[1])
    assert check_disjoint(folds[0], folds[1], splits=("test",)) is True  # b validated, so nothing was trained on it


def test_what_was_chosen_by_a_test_split_is_refused(folds):
    # The speaker who validates in fold 1 is the test speaker of fold 2, and trains there no more than in fold 1.
    first = facts_of(folds[0], selects=("valid", "absent"))
    assert first["selected_ids"] == first["labelled_selected_ids"] == sorted(map(hash_id, ("b1", "b2")))
    said = "chosen in fold 1 by 2 utterances that are in the test split of fold 2"
    for facts in (first, facts_of(folds[0], earlier=[first])):
        with pytest.raises(EmofairError, match=said):
            check_disjoint(facts, folds[1], splits=("test",))
        with pytest.raises(EmofairError, match=said):
            check_disjoint(facts, folds[1], splits=("test",), labelled=True)
        assert check_disjoint(facts, folds[0]) is True  # it is what valid is for
        with pytest.raises(EmofairError, match="chosen in fold 1 by 2 utterances that are in the valid split"):
            check_disjoint(facts, folds[0], validates=("other",))
    unlabelled = facts_of(folds[0], selects=("valid",), uses_labels=False)
    with pytest.raises(EmofairError, match=said):
        check_disjoint(unlabelled, folds[1], splits=("test",))
    assert check_disjoint(unlabelled, folds[1], splits=("test",), labelled=True) is True
    assert check_disjoint(facts_of(folds[0]), folds[1], splits=("test",)) is True  # nothing was chosen


def test_the_corpus_does_not_hide_a_leak(folds, tmp_path):
    # The same clips under another corpus name, root and fold number, as made by another source.
    write_corpus(tmp_path / "other", {"test": [clip("c1", "elsewhere")]}, root="/data", name="json", fold="9")
    with pytest.raises(EmofairError, match="on 1 utterances that are in the test split of fold 9"):
        check_disjoint(facts_of(folds[0]), tmp_path / "other")


def test_facts_that_say_nothing(folds):
    assert trained_hashes({"fold": "1"}) is None
    assert check_disjoint({"fold": "1"}, folds[0]) is False
    assert check_disjoint({"trained_ids": []}, folds[0]) is True
    for bad in ("0123456789abcdef", ["abc"], [1]):
        with pytest.raises(EmofairError, match="trained_ids is no list of hashes"):
            trained_hashes({"trained_ids": bad})


def test_plain_fairseq_folders_are_compared_by_file_stem(tmp_path, folds):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "train.tsv").write_text("/data\nc1.wav\t400\nz.wav\t400\n")
    with pytest.raises(
        EmofairError, match=r"plain: trained on 1 utterances that are in the test split of fold 3.*\(c1\)"
    ):
        check_disjoint(tmp_path / "plain", folds[2])


def test_leaked_names_the_utterances():
    assert leaked({hash_id("b")}, [Utterance("c", ""), Utterance("b", "")]) == ["b"]


def test_shared_utterances_by_id_and_by_file(tmp_path):
    (tmp_path / "audio").mkdir()
    for name in ("x", "y"):
        (tmp_path / "audio" / f"{name}.wav").write_bytes(name.encode())
    (tmp_path / "link.wav").symlink_to("audio/x.wav")
    left = [Utterance("x", str(tmp_path / "audio" / "x.wav"), 5), Utterance("t", "", text="only text")]
    right = [Utterance("renamed", str(tmp_path / "link.wav"), 5), Utterance("t", "", text="only text")]
    assert shared_utterances(left, right) == Shared(("t",), (str(tmp_path / "audio" / "x.wav"),))
    assert not shared_utterances(left, [Utterance("y", str(tmp_path / "audio" / "y.wav"), 5)])


def test_cuts_of_one_recording_are_different_clips():
    left, right = (
        Utterance(name, "long.wav", 5, start=start, end=start + 1) for name, start in (("a", 0.0), ("b", 1.0))
    )
    assert not shared_utterances([left], [right])
    assert shared_utterances([left], [Utterance("c", "long.wav", 5, start=0.0, end=1.0)]).paths


def test_folders_are_compared(folds, tmp_path):
    assert not compare_folders(folds[0], folds[0])
    shared = compare_folders(folds[0], folds[2])
    assert shared.ids == ("c1", "c2") and [p.rsplit("/", 1)[1] for p in shared.paths] == ["c1.wav", "c2.wav"]
    check_folders(folds[0], folds[1])
    with pytest.raises(EmofairError, match=r"fold1: train shares 2 ids \(c1, c2\) with test of .*fold3"):
        check_folders(folds[0], folds[2])
    check_folders(folds[2], folds[2], test=("valid", "test"))  # there is no valid
    # Other ids, the same files.
    shutil.copytree(folds[2], tmp_path / "renamed")
    meta = tmp_path / "renamed" / "test.meta.tsv"
    meta.write_text(meta.read_text().replace("c1", "q1").replace("c2", "q2"))
    with pytest.raises(EmofairError, match=r"shares 2 audio files \(c1\.wav, c2\.wav\)"):
        check_folders(folds[0], tmp_path / "renamed")
