"""Which utterances are listed, and when several processes are done."""

import numpy as np
import pytest

from emofair.data.manifests import Utterance
from emofair.errors import EmofairError
from emofair.units.token_jobs import SPEECH, TEXT, Problem
from emofair.units.token_manifests import Parts, gather, usable, write_manifests
from emofair.units.token_store import TokenStore


@pytest.fixture
def store(tmp_path):
    store = TokenStore(tmp_path / "raw")
    for name in ("a", "b", "c"):
        store.write("train", TEXT, name, np.array([0, 3, 5, 2]))
        if name != "c":
            store.write("train", SPEECH, name, np.array([0, *[4] * 2050, 2]))
    return store


def items(*names, **facts):
    return [("train", Utterance(name, "", **facts)) for name in names]


def test_lists_stay_aligned_and_counts_are_of_what_is_listed(store, tmp_path):
    skipped = Problem("b", "train", "", "too bad")
    result = gather(store, items("a", "b", "c", label="neu"), (TEXT, SPEECH), None, [skipped], {"speech made": 2})
    assert [(row.id, row.n_audio, row.n_text) for row in result.rows["train"]] == [("a", 2052, 4)]
    assert [(p.id, p.what) for p in result.problems] == [("b", "too bad"), ("c", "has no audio_token tokens")]
    counts = {key: value for key, value in result.counts.items() if value}
    assert counts == {
        "speech made": 2,
        "audio_token tokens": 2050,
        "audio_token long": 1,
        "text tokens": 2,
        "text unknown": 1,
    }
    write_manifests(tmp_path, result)
    assert (tmp_path / "T_data" / "train_a.tsv").read_text() == "a.wav\n"
    assert (tmp_path / "T_data" / "train_t.tsv").read_text() == "a.txt\n"
    assert (tmp_path / "problems.tsv").read_text().splitlines()[1] == "b\ttrain\t\tskipped: too bad"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["T_data", "problems.tsv", "raw"]


@pytest.mark.parametrize(
    "target, facts, label, complaint",
    [
        (None, {"label": "anything"}, "anything", None),
        (None, {"sentiment": -0.4}, -0.4, None),
        ("mos", {"label": "joy", "sentiment": 2.0}, 2.0, None),
        ("mos", {"label": "-1.5"}, -1.5, None),
        ("regression", {"label": "joy"}, "", "has 'joy' for a sentiment score"),
        ("mos", {}, "", "has no sentiment score"),
        ("iemocap", {"label": "exc"}, "exc", None),
        ("iemocap", {"label": "surprise"}, "surprise", "the label 'surprise' does not belong to --target iemocap"),
        ("meld", {"label": "surprise"}, "surprise", None),
        ("meld", {"sentiment": 1.0}, "", "has no label"),
    ],
)
def test_labels_follow_the_target(store, target, facts, label, complaint):
    result = gather(store, items("a", **facts), (TEXT,), target, [], {})
    assert result.rows["train"][0].label == label
    assert [p.what for p in result.problems] == ([complaint] if complaint else [])
    assert all(p.kept for p in result.problems)


def test_ids_lose_their_extension_and_unusable_ones_are_set_aside():
    good, problems = usable(items("a.wav", "b.c", "d.wav.wav", "e/f", "", "..", "g,h", "x" * 241, "\udce9", "a"))
    assert [utterance.id for _, utterance in good] == ["a", "b.c"]
    assert len(problems) == 8
    assert problems[-1].what == "the id occurs a second time"
    _, (labelled,) = usable(items("a", label="a,b"))
    assert labelled.what.startswith("the label 'a,b'")


def test_an_id_in_two_splits_is_refused():
    with pytest.raises(EmofairError, match="'a' is in the splits 'train' and 'test'"):
        usable([*items("a"), ("test", Utterance("a", ""))])


def test_parts_are_done_when_all_have_the_same_request(tmp_path):
    def parts(nshard=2, **request):
        return Parts.of(tmp_path, nshard, items("a", "b"), **request)

    assert parts().missing() == [0, 1]
    parts().save(1, [Problem("b", "train", "", "bad")], {"speech made": 1})
    assert parts().missing() == [0]
    parts(resample=False).save(0, [], {})
    assert parts().missing() == [0]
    parts().save(0, [], {"speech made": 2})
    assert parts().missing() == []
    problems, counts = parts().collect()
    assert (problems, counts["speech made"]) == ([Problem("b", "train", "", "bad")], 3)
    assert parts(nshard=3).missing() == [0, 1, 2]
    (tmp_path / ".parts" / "0-of-2.json").write_text("{")
    assert parts().missing() == [0]


def test_nothing_to_list_is_an_error_with_its_first_reason(store, tmp_path):
    result = gather(store, items("z", label="neu"), (TEXT,), None, [], {})
    with pytest.raises(EmofairError, match=r"no utterance could be tokenised .the first: z: has no text tokens"):
        write_manifests(tmp_path, result)
    assert "z\ttrain\t\tskipped: has no text tokens" in (tmp_path / "problems.tsv").read_text()
