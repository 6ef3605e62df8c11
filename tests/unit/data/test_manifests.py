import json

import numpy as np
import pytest
import soundfile

from emofair.data.manifests import (
    Utterance,
    read_corpus,
    read_labels,
    read_split,
    remove_corpus,
    splits_of,
    write_corpus,
)
from emofair.errors import EmofairError


def wav(path, n=800):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(n).uniform(-0.1, 0.1, n), 16000)
    return str(path)


def full(root):
    """One utterance with every field set, one with none of the optional ones."""
    rich = Utterance(
        "a-1",
        wav(root / "sub" / "été.wav"),
        800,
        text="Hé\tdu\n  da\u2028!",
        label="hap",
        sentiment=-1.25,
        speaker="S1F",
        session="1",
        dialog="d 1",
        words=[("Hé", 0.0, 0.02), ("du", 0.02, 0.05)],
        votes={"hap": 2, "neu": 1},
        extra={"valence": "2.5"},
    )
    return [rich, Utterance("b", wav(root / "b.wav", 900), 900, label="neu")]


def test_round_trip(tmp_path):
    items = full(tmp_path / "audio")
    write_corpus(tmp_path / "out", {"train": items}, root=tmp_path / "audio", name="toy", seed=3)
    back = read_split(tmp_path / "out", "train")
    items[0].text = "Hé du   da !"
    assert back == items
    assert (tmp_path / "out" / "train.emo").read_text().split() == ["hap", "neu"]
    assert json.loads((tmp_path / "out" / "train.emo.json").read_text()) == {"sub/été.wav": {"hap": 2, "neu": 1}}


def test_corpus_json(tmp_path):
    items = full(tmp_path)
    write_corpus(tmp_path / "out", {"train": items[:1], "test": items[1:]}, root=tmp_path, name="toy", seed=3)
    corpus = read_corpus(tmp_path / "out")
    assert corpus["name"] == "toy" and corpus["seed"] == 3 and corpus["labels"] == ["hap", "neu"]
    assert corpus["splits"]["train"]["labels"] == {"hap": 1} and corpus["splits"]["test"]["n_seconds"] == 0.056
    # sha256 of the ids, sorted, one per line: `printf b | sha256sum`
    assert corpus["splits"]["test"]["ids_sha256"].startswith("3e23e8160039594a")
    assert splits_of(tmp_path / "out") == ["train", "test"]
    assert read_labels(tmp_path / "out") == ["hap", "neu"]


def test_fairseq_reads_the_manifest(tmp_path):
    from fairseq.data.audio.hubert_dataset import load_audio
    from fairseq.data.audio.raw_audio_dataset import FileAudioDataset

    write_corpus(tmp_path / "out", {"train": full(tmp_path)}, root=tmp_path, name="toy")
    root, names, _, n, sizes = load_audio(str(tmp_path / "out" / "train.tsv"), None, None)
    assert (root, names, n, list(sizes)) == (str(tmp_path), ["sub/été.wav", "b.wav"], 2, [800, 900])
    dataset = FileAudioDataset(str(tmp_path / "out" / "train.tsv"), 16000, min_sample_size=0)
    assert len(dataset[1]["source"]) == 900


def test_stock_manifest_without_sidecars(tmp_path):
    (tmp_path / "train.tsv").write_text("/data\na/x.wav\t5\nb/x.wav\t7\n")
    assert [u.id for u in read_split(tmp_path, "train")] == ["a_x", "b_x"]
    (tmp_path / "valid.tsv").write_bytes(b"/data\r\na/x.wav\t5\r\n")
    (tmp_path / "valid.emo").write_text("sad\n")
    assert read_split(tmp_path, "valid") == [Utterance("x", "/data/a/x.wav", 5, label="sad")]
    assert splits_of(tmp_path) == ["train", "valid"]


def test_text_only(tmp_path):
    write_corpus(tmp_path, {"train": [Utterance("t1", "", text="hi", label="joy")]}, root=tmp_path, name="toy")
    (item,) = read_split(tmp_path, "train")
    assert (item.path, item.n_samples, item.has_audio, item.text) == ("", 0, False, "hi")
    assert (tmp_path / "train.tsv").read_text().splitlines()[1] == "t1\t0"


def test_cuts_of_one_recording_keep_their_own_votes(tmp_path):
    path = wav(tmp_path / "long.wav", 16000)
    cuts = [
        Utterance("v_0", path, 4800, label="a", start=0.0, end=0.3, votes={"a": 1}),
        Utterance("v_1", path, 3200, label="b", start=0.3, end=0.5, votes={"b": 2}),
    ]
    write_corpus(tmp_path / "out", {"train": cuts}, root=tmp_path, name="toy")
    assert read_split(tmp_path / "out", "train") == cuts


def test_a_path_outside_the_root_stays_absolute(tmp_path):
    path = wav(tmp_path / "elsewhere" / "a.wav")
    write_corpus(tmp_path / "out", {"train": [Utterance("a", path, 800)]}, root=tmp_path / "root", name="toy")
    assert (tmp_path / "out" / "train.tsv").read_text().splitlines()[1] == f"{path}\t800"
    assert read_split(tmp_path / "out", "train")[0].path == path


def test_rewriting_leaves_nothing_of_the_earlier_corpus(tmp_path):
    items = full(tmp_path)
    write_corpus(
        tmp_path / "out", {"train": items, "test": [Utterance("c", items[0].path, 800)]}, root=tmp_path, name="x"
    )
    write_corpus(tmp_path / "out", {"valid": [Utterance("d", items[0].path, 800)]}, root=tmp_path, name="x")
    left = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert left == ["corpus.json", "valid.meta.tsv", "valid.tsv"]


def test_rewriting_where_corpus_json_was_deleted(tmp_path):
    items = full(tmp_path)
    write_corpus(tmp_path / "out", {"train": items}, root=tmp_path, name="x")
    (tmp_path / "out" / "corpus.json").unlink()
    write_corpus(tmp_path / "out", {"train": [Utterance("d", items[0].path, 800)]}, root=tmp_path, name="x")
    assert read_split(tmp_path / "out", "train") == [Utterance("d", items[0].path, 800)]


def one(**changes):
    return Utterance(**({"id": "a", "path": "a.wav", "n_samples": 5} | changes))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": []}, "'train' is empty"),
        ({"train": [one(), one()]}, "'a' occurs twice"),
        ({"train": [one()], "test": [one()]}, "'a' is in the splits 'train' and 'test'.*--allow-overlap"),
        ({"train": [one(id="../../x")]}, "cannot be used as a file name"),
        ({"train": [one(id="")]}, "cannot be used as a file name"),
        ({"../train": [one()]}, "cannot name a split"),
        ({"train": [one(n_samples=0)]}, "0 samples and the path 'a.wav'"),
        ({"train": [one(path="a\tb.wav")]}, "tab or line break"),
    ],
)
def test_refused_corpora(tmp_path, splits, message):
    with pytest.raises(EmofairError, match=message):
        write_corpus(tmp_path / "out", splits, root=tmp_path, name="toy")
    assert not (tmp_path / "out").exists()


def test_overlap_on_request(tmp_path):
    write_corpus(tmp_path, {"train": [one()], "test": [one()]}, root=tmp_path, name="toy", allow_overlap=True)
    assert [u.id for u in read_split(tmp_path, "test")] == ["a"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.tsv", "", r"train\.tsv:1: .*root folder"),
        ("train.tsv", "/r\n", "lists no utterances"),
        ("train.tsv", "/r\na.wav\t5\nb.wav 5\n", r"train\.tsv:3: expected a path"),
        ("train.tsv", "/r\na.wav\t-5\n", r"train\.tsv:2"),
        ("train.emo", "hap\n", "1 rows for 2 utterances"),
        ("train.emo", "hap\nsad\n", r"train\.emo:2: label 'sad', but 'neu'"),
        ("train.meta.tsv", "id\ttext\n", r"meta\.tsv:1: the column 'label'"),
        ("train.words.jsonl", "{\n{}\n", r"words\.jsonl:1: not valid JSON"),
        ("train.words.jsonl", '{"id": "z", "words": []}\n{"id": "b", "words": []}\n', "words of 'z', expected 'a-1'"),
        ("train.emo.json", "{", "not valid JSON"),
        ("corpus.json", "{", "not valid JSON"),
        ("corpus.json", "[]", r"corpus\.json: a JSON object is expected, not '\[\]'\. prepare the corpus again"),
        ("corpus.json", '{"name": "caf\xe9"}', r"corpus\.json: not UTF-8 \(byte 13\)"),
        ("train.emo.json", "[1]", r"emo\.json: a JSON object is expected"),
        ("train.emo.json", '{"b.wav": ["hap"]}', r"emo\.json: 'b\.wav' has no numbers of votes"),
        ("train.words.jsonl", "[]\n{}\n", r"words\.jsonl:1: a JSON object is expected"),
        ("train.words.jsonl", "{}\n{}\n", r"words\.jsonl:1: expected an id and words"),
        ("train.tsv", "/r\na.wav\t5\nb.wav\t2147483648\n", r"train\.tsv:3: 2147483648 cannot be a number of samples"),
        ("train.tsv", f"/r\na.wav\t{'9' * 5000}\n", r"train\.tsv:2: 9{20} cannot be a number of samples"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, content, message):
    write_corpus(tmp_path / "out", {"train": full(tmp_path)}, root=tmp_path, name="toy")
    (tmp_path / "out" / file).write_text(content, encoding="latin-1")
    with pytest.raises(EmofairError, match=message):
        read_corpus(tmp_path / "out")
        read_split(tmp_path / "out", "train")


def test_a_byte_order_mark_is_passed_over(tmp_path):
    items = full(tmp_path)
    write_corpus(tmp_path / "out", {"train": items}, root=tmp_path, name="toy")
    items = read_split(tmp_path / "out", "train")
    for path in (tmp_path / "out").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_split(tmp_path / "out", "train") == items
    assert read_labels(tmp_path / "out") == ["hap", "neu"] and read_corpus(tmp_path / "out")["name"] == "toy"


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    root = str(tmp_path / "caf\udce9")
    write_corpus(tmp_path / "out", {"train": [one(path="l\udce9.wav")]}, root=root, name="toy")
    assert read_corpus(tmp_path / "out")["root"] == root
    assert read_split(tmp_path / "out", "train")[0].path == f"{root}/l\udce9.wav"


def test_bad_meta_cell(tmp_path):
    write_corpus(tmp_path / "out", {"train": full(tmp_path)}, root=tmp_path, name="toy")
    meta = tmp_path / "out" / "train.meta.tsv"
    meta.write_text(meta.read_text().replace("-1.25", "much"))
    with pytest.raises(EmofairError, match=r"meta\.tsv:2: sentiment 'much' is not a number"):
        read_split(tmp_path / "out", "train")


def test_missing_split_lists_the_others(tmp_path):
    write_corpus(tmp_path, {"train": [one()]}, root=tmp_path, name="toy")
    with pytest.raises(EmofairError, match=r"no split 'dev'.*\(splits: train\)"):
        read_split(tmp_path, "dev")


def test_out_dir_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(EmofairError, match="cannot be written"):
        write_corpus(tmp_path / "out", {"train": [one()]}, root=tmp_path, name="toy")


def test_parts_of_a_split(tmp_path):
    items = [one(id="a", votes={"joy": 1, "fear": 0}), one(id="b", path="b.wav", label="sad"), one(id="c")]
    splits = {"train": items[:2], "test": items[2:], "p1_train": items[:1], "p1_valid": items[1:2]}
    parts_of = {"p1_train": "train", "p1_valid": "train"}
    write_corpus(tmp_path, splits, root=tmp_path, name="toy", parts_of=parts_of, labels=["calm"])
    assert splits_of(tmp_path) == ["train", "test", "p1_train", "p1_valid"]
    assert read_corpus(tmp_path)["parts_of"] == parts_of
    assert [u.id for u in read_split(tmp_path, "p1_valid")] == ["b"]
    # What is given, what is voted for, and what was asked for; nobody voted for fear.
    assert read_labels(tmp_path) == ["calm", "joy", "sad"]


@pytest.mark.parametrize(
    ("p1_train", "p1_valid", "message"),
    [("ab", "b", "'b' is in the splits 'p1_train' and 'p1_valid'"), ("a", "c", "'c' is in p1_valid, but not in train")],
)
def test_parts_that_overlap_or_come_from_elsewhere(tmp_path, p1_train, p1_valid, message):
    def clips(ids):
        return [one(id=name, path=f"{name}.wav") for name in ids]

    splits = {"train": clips("ab"), "test": clips("c"), "p1_train": clips(p1_train), "p1_valid": clips(p1_valid)}
    with pytest.raises(EmofairError, match=message):
        write_corpus(tmp_path, splits, root=tmp_path, name="toy", parts_of={"p1_train": "train", "p1_valid": "train"})


def test_a_corpus_can_be_removed(tmp_path):
    write_corpus(tmp_path, {"train": [one(label="sad")]}, root=tmp_path, name="toy")
    (tmp_path / "mine.txt").write_text("stays")
    remove_corpus(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    remove_corpus(tmp_path)
