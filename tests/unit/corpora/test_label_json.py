import json

import pytest

from emofair.corpora import label_json
from emofair.corpora.label_json import to_label_json
from emofair.corpora.measure import measure
from emofair.data.manifests import Utterance, class_names, read_labels, write_corpus
from emofair.errors import EmofairError
from emofair.testing.downloads import fake_label_json

PARTS = {
    "Test": {"t1.wav": "angry"},
    "Train": {"b.wav": "sad", "a.wav": {"sad": 1, "angry": 2, "calm": 0}, "deep/er/ü.wav": "angry"},
    "Val": {},
}


def read(tmp_path, parts=PARTS, **options):
    path = fake_label_json(tmp_path, parts)
    return label_json.read(path, root=tmp_path / "audio", **options)


def prepared(tmp_path, source, out="out"):
    measure(source)
    assert source.problems == []
    write_corpus(tmp_path / out, source.splits, root=source.root, name="json")
    return tmp_path / out


def test_fields(tmp_path):
    source = read(tmp_path)
    assert list(source.splits) == ["train", "test"]  # an empty Val is no split
    b, a, deep = source.splits["train"]
    assert (b.id, b.label, b.votes) == ("b", "sad", None)
    assert (a.id, a.label, a.votes) == ("a", "angry", {"sad": 1, "angry": 2, "calm": 0})
    assert deep.id == "ü" and deep.path == str(tmp_path / "audio" / "deep" / "er" / "ü.wav")
    assert source.facts == {"label_file": "label_1.json"}


@pytest.mark.parametrize(
    "parts",
    [
        PARTS,
        {"Train": {"a.wav": "x"}, "Val": {"b.wav": "y"}, "Test": {"c.wav": {"x": 0.5, "y": 1.25}}},
        {"Train": {"z.wav": "x", "./a.wav": "x", "sub//b.wav": "y"}, "Val": {}, "Test": {}},
    ],
)
def test_round_trip(tmp_path, parts):
    source = read(tmp_path, parts)
    back = to_label_json(prepared(tmp_path, source))
    assert back == parts
    assert list(back["Train"]) == list(parts["Train"])
    # And once more, from what was written.
    (tmp_path / "again").mkdir()
    (tmp_path / "again.json").write_text(json.dumps(back))
    again = label_json.read(tmp_path / "again.json", root=tmp_path / "audio")
    assert to_label_json(prepared(tmp_path, again, "out2")) == back


def test_labels_that_only_have_votes_are_classes(tmp_path):
    source = read(tmp_path, {"Train": {"a.wav": {"sad": 2, "fear": 1, "calm": 0}}})
    assert read_labels(prepared(tmp_path, source)) == ["fear", "sad"] == class_names(source.splits)


def test_a_flat_map_is_all_training(tmp_path):
    flat = {"a.wav": "sad", "b.wav": {"sad": 1, "angry": 1}}
    path = fake_label_json(tmp_path, {"Train": flat})
    path.write_text(json.dumps(flat))
    source = label_json.read(path, root=tmp_path / "audio")
    assert {split: [u.label for u in items] for split, items in source.splits.items()} == {"train": ["sad", "angry"]}
    assert to_label_json(prepared(tmp_path, source)) == {"Train": flat, "Val": {}, "Test": {}}


def test_ids_are_stems_unless_these_repeat(tmp_path):
    source = read(tmp_path, {"Train": {"1/a.wav": "x", "2/b.wav": "x"}})
    assert [u.id for u in source.splits["train"]] == ["a", "b"]
    parts = {"Train": {"1/a.wav": "x", "2/b.wav": "x"}, "Test": {"2/a.wav": "x"}}
    source = read(tmp_path, parts)
    assert [[u.id for u in items] for items in source.splits.values()] == [["1_a", "2_b"], ["2_a"]]
    assert to_label_json(prepared(tmp_path, source)) == {**parts, "Val": {}}


def test_names_are_relative_to_the_file_by_default(tmp_path):
    path = fake_label_json(tmp_path, {"Train": {"a.wav": "sad"}})
    path = path.rename(tmp_path / "audio" / "labels.json")
    assert label_json.read(path).splits["train"][0].path == str(tmp_path / "audio" / "a.wav")


def test_one_file_for_each_fold(tmp_path):
    for number in (1, 2, 10):
        parts = {"Train": {"a.wav": "x", "b.wav": "y"}, "Test": {f"{number}.wav": "x"}}
        fake_label_json(tmp_path, parts, f"label_{number}.json")
    source = label_json.read_folder(tmp_path, root=tmp_path / "audio")
    assert source.facts == {"label_files": ["label_1.json", "label_2.json", "label_10.json"]}
    assert source.given_folds["3"] == {"a": "train", "b": "train", "10": "test"}
    assert [u.id for u in source.splits["all"]] == ["a", "b", "1", "2", "10"] and source.problems == []


def test_folds_that_contradict_each_other(tmp_path):
    fake_label_json(tmp_path, {"Train": {"a.wav": "x"}}, "label_1.json")
    fake_label_json(tmp_path, {"Train": {"a.wav": "y"}}, "label_2.json")
    (problem,) = label_json.read_folder(tmp_path, root=tmp_path / "audio").problems
    assert "label_2.json: " in str(problem) and "a.wav is 'y' here, 'x' in a fold before" in str(problem)


def rows_of(path, key):
    return [row for row, line in enumerate(path.read_text().splitlines(), 1) if f'"{key}":' in line]


@pytest.mark.parametrize(
    ("parts", "key", "message"),
    [
        ({"Train": {"a.wav": "x"}, "Test": {"a.wav": "x"}}, "a.wav", "'a.wav' in Test: in Train too"),
        ({"Train": {"a.wav": "x", "./a.wav": "x"}}, "./a.wav", "'./a.wav' in Train: has the id of 'a.wav' in Train"),
        ({"Train": {"a.wav": "x", "a.flac": "x"}}, "a.flac", "'a.flac' in Train: has the id of 'a.wav' in Train"),
        ({"Train": {"a.wav": "x", "b.wav": ""}}, "b.wav", "the label '' is empty"),
        ({"Train": {"a.wav": "x", "b.wav": "x "}}, "b.wav", "the label 'x ' is empty or has stray white space"),
        ({"Train": {"a.wav": "x", "b.wav": {"x": -1}}}, "b.wav", "are not numbers of annotators"),
        ({"Train": {"a.wav": "x", "b.wav": {"x": True}}}, "b.wav", "are not numbers of annotators"),
        ({"Train": {"a.wav": "x", "b.wav": {"x": float("nan")}}}, "b.wav", "are not numbers of annotators"),
        ({"Train": {"a.wav": "x", "b.wav": {"x": 0}}}, "b.wav", "nobody voted"),
        ({"Train": {"a.wav": "x", "b.wav": {}}}, "b.wav", "neither an emotion nor a map of votes"),
        ({"Train": {"a.wav": "x", "b.wav": None}}, "b.wav", "None is neither an emotion nor a map of votes"),
    ],
)
def test_entries_that_cannot_be_used_are_named_by_file_row_and_key(tmp_path, parts, key, message):
    source = read(tmp_path, parts)
    path = tmp_path / "label_1.json"
    (problem,) = source.problems
    assert str(problem).startswith(f"{path}:{rows_of(path, key)[-1]}: {key!r} in ")
    assert message in str(problem)
    assert sum(map(len, source.splits.values())) == sum(map(len, parts.values())) - 1


def test_missing_and_renamed_audio(tmp_path):
    path = fake_label_json(tmp_path, {"Train": {"a.wav": "x", "b.wav": "y"}})
    (tmp_path / "audio" / "b.wav").rename(tmp_path / "audio" / "B.wav")
    source = label_json.read(path, root=tmp_path / "audio")
    assert [str(p) for p in source.problems] == [f"{path}:4: 'b.wav' in Train: no such file in {tmp_path / 'audio'}"]
    assert [u.id for u in source.splits["train"]] == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"Train": {"a.wav": "x",\n"a.wav": "y"}}', r"label\.json:2: the key 'a\.wav' occurs twice"),
        ('{"Train": {"a.wav": "x"},\n"Train": {}}', r"label\.json:2: the key 'Train' occurs twice"),
        ('{"Train": {"a.wav": "x"},\n"Dev": {}}', r"label\.json:2: unknown key 'Dev'\. the form is"),
        ('{"train": {"a.wav": "x"}}', r"label\.json:1: unknown key 'train'"),
        ('{"Train": {"a.wav": "x"}, "Val": ["b.wav"]}', "'Val' holds no map of files"),
        ('{"Train": {}, "Test": {"a.wav": "x"}}', "Train is empty or absent"),
        ('{"Test": {"a.wav": "x"}}', "Train is empty or absent"),
        ("{}", "no labels"),
        ("[]", "no labels"),
        ('{"Train":\n {,}}', r"label\.json:2: not valid JSON"),
    ],
)
def test_files_of_another_form(tmp_path, text, message):
    (tmp_path / "label.json").write_text(text)
    with pytest.raises(EmofairError, match=message):
        label_json.read(tmp_path / "label.json")


@pytest.mark.parametrize(
    ("reader", "name", "message"),
    [
        (label_json.read, "absent.json", "no such file.*--labelpath"),
        (label_json.read, ".", "this is a folder.*--labeldir"),
        (label_json.read_folder, "absent", "no such folder"),
        (label_json.read_folder, ".", r"no \*\.json here"),
    ],
)
def test_paths_of_something_else(tmp_path, reader, name, message):
    with pytest.raises(EmofairError, match=message):
        reader(tmp_path / name)


def test_votes_that_another_label_won_are_left_out(tmp_path):
    meant = Utterance("a", "a.wav", 5, label="fear", votes={"neutral": 6, "fear": 3}, extra={"name": "Ann"})
    tied = Utterance("b", "b.wav", 5, label="fear", votes={"neutral": 3, "fear": 3})
    write_corpus(tmp_path, {"train": [meant, tied]}, root=tmp_path, name="cremad")
    assert to_label_json(tmp_path)["Train"] == {"a.wav": "fear", "b.wav": {"neutral": 3, "fear": 3}}


@pytest.mark.parametrize(
    ("split", "item", "message"),
    [
        ("train", Utterance("a", "", text="x", label="sad"), "'a' is not a whole audio file with a label"),
        ("train", Utterance("a", "a.wav", 5, label="sad", start=0.0, end=1.0), "not a whole audio file"),
        ("train", Utterance("a", "a.wav", 5), "not a whole audio file with a label"),
        ("extra", Utterance("b", "b.wav", 5, label="sad"), "the split 'extra' has no place in a label JSON"),
    ],
)
def test_what_a_label_json_cannot_say(tmp_path, split, item, message):
    splits = {"train": [Utterance("z", "z.wav", 5, label="sad")]}
    splits[split] = [*splits.get(split, []), item]
    write_corpus(tmp_path, splits, root=tmp_path, name="toy")
    with pytest.raises(EmofairError, match=message):
        to_label_json(tmp_path)


def test_audio_outside_the_root_keeps_its_whole_path(tmp_path):
    outside = str(tmp_path / "elsewhere" / "a.wav")
    item = Utterance("a", outside, 5, label="sad")
    write_corpus(tmp_path / "out", {"train": [item]}, root=tmp_path / "root", name="toy")
    assert to_label_json(tmp_path / "out")["Train"] == {outside: "sad"}
