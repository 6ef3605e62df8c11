from collections import Counter

import pytest

from emofair.corpora import iemocap
from emofair.corpora.folds import FoldPlan, make_folds
from emofair.data.manifests import ids_hash
from emofair.errors import EmofairError
from emofair.testing.downloads import fake_iemocap

# Well-known counts per session; hap and exc apart.
FULL = {
    "1": {"neu": 384, "sad": 194, "ang": 229, "hap": 135, "exc": 143},
    "2": {"neu": 362, "sad": 197, "ang": 137, "hap": 117, "exc": 210},
    "3": {"neu": 320, "sad": 305, "ang": 240, "hap": 135, "exc": 151},
    "4": {"neu": 258, "sad": 143, "ang": 327, "hap": 65, "exc": 238},
    "5": {"neu": 384, "sad": 245, "ang": 170, "hap": 143, "exc": 299},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return fake_iemocap(tmp_path_factory.mktemp("iemocap"), audio=False)


def by_id(source):
    return {u.id: u for items in source.splits.values() for u in items}


def test_fields(root):
    source = iemocap.read(root)
    utterance = by_id(source)["Ses02F_impro01_M001"]
    assert (utterance.label, utterance.speaker, utterance.session) == ("sad", "Ses02M", "2")
    assert utterance.dialog == "Ses02F_impro01" and utterance.text == "Utterance 1, café."
    assert utterance.path == str(root / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_M001.wav")
    assert utterance.start is None and utterance.end is None  # the wav is the utterance, not the dialog
    assert utterance.extra["valence"] == "2.5000" and utterance.extra["dialog_end"] == "3.7500"
    scripted = by_id(source)["Ses02M_script01_1_F000"]
    assert (scripted.dialog, scripted.speaker) == ("Ses02M_script01_1", "Ses02F")


def test_votes_are_those_of_outside_annotators(root):
    source = iemocap.read(root)
    # Two for the label (one of them also ticked Other), one "Neutral state"; the actor's own C-F1 does not count.
    assert by_id(source)["Ses02F_impro01_M001"].votes == {"neu": 1, "sad": 2}


def test_an_annotator_of_both_merged_labels_has_one_vote(root, tmp_path):
    fake_iemocap(tmp_path, audio=False)
    for file in tmp_path.glob("Session*/dialog/EmoEvaluation/Ses*.txt"):
        file.write_text(file.read_text().replace("Happiness; Other;", "Happiness; Excited;"))
    happy = [u for u in by_id(iemocap.read(tmp_path, classes=4)).values() if u.extra and u.label == "hap"]
    assert {tuple(u.votes.items()) for u in happy} == {(("hap", 2), ("neu", 1))}


def test_labels_and_what_is_left_out(root):
    five, four = iemocap.read(root), iemocap.read(root, classes=4)
    assert {u.label for u in by_id(five).values()} == {"neu", "sad", "ang", "hap", "exc"}
    assert {u.label for u in by_id(four).values()} == {"neu", "sad", "ang", "hap"}
    assert five.dropped == Counter({"label fru": 5})


@pytest.mark.parametrize(
    ("fold", "valid", "expected"),
    [
        ("shipped", "next", {"train": "123", "valid": "4", "test": "5"}),
        ("1", "next", {"train": "345", "valid": "2", "test": "1"}),
        ("5", "next", {"train": "234", "valid": "1", "test": "5"}),
        ("3", "none", {"train": "1245", "test": "3"}),
    ],
)
def test_folds_are_by_session(root, fold, valid, expected):
    source = iemocap.read(root, fold=fold, valid=valid)
    assert {s: "".join(sorted({u.session for u in items})) for s, items in source.splits.items()} == expected
    assert list(source.splits) == list(expected)


def test_folds_of_all_sessions_are_those_of_the_single_ones(root):
    whole = iemocap.read(root, classes=4, fold=None)
    assert list(whole.splits) == ["all"] and whole.facts == {"classes": 4}
    for number, fold in enumerate(make_folds(whole.splits["all"], FoldPlan(by="session")), start=1):
        single = iemocap.read(root, classes=4, fold=str(number))
        assert {s: ids_hash(items) for s, items in fold.splits.items()} == {
            s: ids_hash(items) for s, items in single.splits.items()
        }


def test_unknown_fold(root):
    with pytest.raises(EmofairError, match="--fold 1 to 5"):
        iemocap.read(root, fold="6")


def test_published_counts(tmp_path):
    source = iemocap.read(fake_iemocap(tmp_path, FULL, audio=False), classes=4)
    assert source.mismatches == [] and source.problems == []
    assert Counter(u.label for u in by_id(source).values()) == {"ang": 1103, "hap": 1636, "neu": 1708, "sad": 1084}
    assert sum(map(len, source.splits.values())) == 5531
    # The published lists: sessions 1 to 3, 4, 5; the lists of training and validation lack a few utterances of these.
    assert {split: len(items) for split, items in source.splits.items()} == {"train": 3259, "valid": 1031, "test": 1241}


def test_a_difference_from_the_published_counts_is_told(root):
    assert "session 1 has 2 hap + exc, 278 are published" in iemocap.read(root).mismatches


def edit(root, old, new):
    file = next(iter(sorted(root.glob("Session1/dialog/EmoEvaluation/Ses*.txt"))))
    file.write_text(file.read_text().replace(old, new, 1))
    return file


@pytest.mark.parametrize(
    ("old", "new", "row", "message"),
    [
        ("\tneu\t", "\tnue\t", 3, "unknown label 'nue'"),
        ("\tneu\t", " neu ", 3, "tab separated"),
        ("F_impro01_M001", "F_impro01_F000", 10, "Ses01F_impro01_F000 occurs twice"),
    ],
)
def test_bad_rows_are_named(tmp_path, old, new, row, message):
    file = edit(fake_iemocap(tmp_path, audio=False), old, new)
    (problem,) = iemocap.read(tmp_path).problems
    assert message in str(problem) and str(problem).startswith(f"{file}:{row}: ")


def test_root_of_something_else(tmp_path):
    with pytest.raises(EmofairError, match="Session1 to Session5"):
        iemocap.read(tmp_path)


def test_root_above_the_release(tmp_path):
    fake_iemocap(tmp_path / "IEMOCAP_full_release", audio=False)
    assert len(by_id(iemocap.read(tmp_path))) == 30
