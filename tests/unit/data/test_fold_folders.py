import json

import pytest
import soundfile

from emofair.data.fold_folders import check_folds, fold_dirs, list_folds, read_folds, remove_folds
from emofair.data.manifests import Utterance, write_corpus
from emofair.errors import EmofairError
from emofair.testing.downloads import write_noise

PLAN = {"protocol": "leave-one-speaker-out", "by": "speaker"}


@pytest.fixture
def out(tmp_path):
    """Leave one of three speakers out, a clip each."""
    clips = [
        Utterance(name, str(write_noise(tmp_path / f"{name}.wav", 1600, seed)), 1600, label="sad", speaker=name)
        for seed, name in enumerate("abc")
    ]
    corpora = []
    for number, held_out in enumerate("abc", start=1):
        splits = {
            "train": [u for u in clips if u.speaker != held_out],
            "test": [u for u in clips if u.speaker == held_out],
        }
        speakers = {split: [u.speaker for u in items] for split, items in splits.items()}
        facts = {"fold": str(number), "folds": PLAN, "speakers": speakers}
        corpora.append(write_corpus(tmp_path / "out" / f"fold{number}", splits, root=tmp_path, name="toy", **facts))
    list_folds(tmp_path / "out", corpora)
    return tmp_path / "out"


def lines(folder, **options):
    return [str(problem) for problem in check_folds(folder, **options)]


def test_the_list(out):
    listed = read_folds(out)
    assert (listed["name"], listed["protocol"], len(listed["folds"])) == ("toy", "leave-one-speaker-out", 3)
    assert listed["folds"][1]["speakers"] == {"train": ["a", "c"], "test": ["b"]}
    facts = json.loads((out / "fold2" / "corpus.json").read_text())["splits"]
    assert listed["folds"][1]["ids_sha256"] == {split: facts[split]["ids_sha256"] for split in ("train", "test")}
    assert fold_dirs(out) == {str(n): out / f"fold{n}" for n in (1, 2, 3)}
    assert fold_dirs(out / "fold1") == {}


def test_nothing_wrong(out):
    assert lines(out) == []


def test_a_damaged_clip_is_told_once(out):
    path = out.parent / "a.wav"
    path.write_bytes(path.read_bytes()[:1000])
    (line,) = lines(out)
    assert f"{out / 'fold1' / 'test.tsv'}:2: {path}: truncated" in line
    assert lines(out, audio=False) == []


def test_the_same_sound_in_two_splits_of_each_fold(out):
    soundfile.write(out.parent / "a.wav", soundfile.read(out.parent / "b.wav")[0], 16000)
    assert lines(out) == [
        "error: the same audio is in train (b) and test (a)",
        "error: the same audio is in train (a) and test (b)",
    ]
    assert all(line.startswith("warning") for line in lines(out, allow_overlap=True))


def test_every_clip_should_be_tested_once(out):
    for ending in ("tsv", "meta.tsv", "emo"):
        (out / "fold2" / f"test.{ending}").write_text((out / "fold1" / f"test.{ending}").read_text())
    found = lines(out, audio=False)
    assert f"warning: {out}: 'a' is tested in fold 1 and in fold 2" in found
    assert f"warning: {out}: 1 utterances are tested in no fold, for example b" in found


def test_a_damaged_fold_does_not_hide_the_rest(out):
    (out / "fold1" / "test.tsv").write_text("")
    (out.parent / "c.wav").unlink()
    found = lines(out)
    assert "test.tsv:1: the first line must be the root" in found[0] and any("c.wav: no such" in line for line in found)


def test_removal_keeps_what_is_not_ours(out):
    (out / "fold2" / "checkpoint.pt").write_bytes(b"mine")
    remove_folds(out)
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*")) == ["fold2", "fold2/checkpoint.pt"]
    remove_folds(out)


@pytest.mark.parametrize(("content", "told"), [("{", "not valid JSON"), ("[]", "a JSON object is expected")])
def test_a_damaged_list(out, content, told):
    (out / "folds.json").write_text(content)
    with pytest.raises(EmofairError, match=rf"folds\.json: {told}"):
        fold_dirs(out)
