import json
import shutil

import numpy as np
import pytest
import soundfile

from emofair.data.corpus_check import check_corpus, missing_classes, overlaps, shared_audio, summary_table
from emofair.data.manifests import Utterance, read_split, write_corpus
from emofair.errors import EmofairError
from emofair.testing.downloads import write_noise


def clip(folder, name, n=1600, seed=None, **fields):
    path = write_noise(folder / f"{name}.wav", n, hash(name) % 1000 if seed is None else seed)
    return Utterance(name, str(path), n, **fields)


def corpus(folder, **facts):
    splits = {
        "train": [
            clip(folder, "été", seed=1, label="sad", speaker="A"),
            clip(folder, "b", seed=2, label="hap", speaker="B"),
        ],
        "test": [clip(folder, "c", 1600, seed=3, label="sad", speaker="C")],
    }
    write_corpus(folder / "out", splits, root=folder, name="toy", **facts)
    return folder / "out"


def lines(*args, **kwargs):
    return [str(problem) for problem in check_corpus(*args, **kwargs)]


def test_nothing_wrong(tmp_path):
    assert lines(corpus(tmp_path)) == []


def rewrite(path, audio, rate=16000, **kwargs):
    soundfile.write(path, audio, rate, **kwargs)


def with_nan(path):
    audio = soundfile.read(path, dtype="float32")[0]
    audio[7] = np.nan
    rewrite(path, audio, subtype="FLOAT")


def to_folder(path):
    path.unlink()
    path.mkdir()


BREAK = {
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:1000]),
    "0 bytes": lambda p: p.write_bytes(b""),
    "no samples": lambda p: rewrite(p, np.zeros(0, np.float32)),
    "1 samples are NaN": with_nan,
    "44100 Hz; prepare with --resample": lambda p: rewrite(p, soundfile.read(p)[0], 44100),
    "300 samples, the manifest says 1600": lambda p: rewrite(p, soundfile.read(p)[0][:300]),
    "300 samples are less than one frame": lambda p: rewrite(p, soundfile.read(p)[0][:300]),
    "this is a folder": to_folder,
    "no such audio file": lambda p: p.unlink(),
}


@pytest.mark.parametrize("message", BREAK)
def test_bad_audio(tmp_path, message):
    out = corpus(tmp_path)
    BREAK[message](tmp_path / "b.wav")
    found = lines(out)
    assert any(message in line and f"{out / 'train.tsv'}:3: " in line for line in found), found
    assert lines(out, audio=False) == []


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24"])
def test_stereo_and_other_widths_are_fine(tmp_path, subtype):
    out = corpus(tmp_path)
    mono = soundfile.read(tmp_path / "b.wav")[0]
    rewrite(tmp_path / "b.wav", np.stack([mono, mono], 1), subtype=subtype)
    assert lines(out) == []


def test_other_rates_are_fine_where_resampling_was_asked_for(tmp_path):
    path = write_noise(tmp_path / "a.wav", 4410, 1, rate=44100)
    splits = {"train": [Utterance("a", str(path), 1600)]}
    write_corpus(tmp_path / "out", splits, root=tmp_path, name="toy", resample=True)
    assert lines(tmp_path / "out") == []


def test_same_sound_in_two_splits(tmp_path):
    out = corpus(tmp_path)
    shutil.copy(tmp_path / "b.wav", tmp_path / "c.wav")
    assert lines(out) == ["error: the same audio is in train (b) and test (c)"]
    assert lines(out, allow_overlap=True) == ["warning: the same audio is in train (b) and test (c)"]
    splits = {split: read_split(out, split) for split in ("train", "test")}
    assert list(shared_audio(splits)) == [("train", "b", "test", "c")]


def group(value, split_of_second):
    return {
        "train": [Utterance("a", "", text="x", speaker=value)],
        "test": [Utterance("b", "", text="x", speaker=split_of_second)],
    }


def test_overlap_of_speakers():
    (problem,) = overlaps(group("S1", "S1"))
    assert str(problem) == "error: 1 speakers occur in more than one of train, test: S1"
    assert overlaps(group("S1", "S1"), shared=("speaker",))[0].warning
    assert overlaps(group("S1", "S1"), allow=True)[0].warning
    assert overlaps(group("S1", "S2")) == [] == overlaps(group(None, None))


def test_shared_groups_of_the_published_split_are_warnings(tmp_path):
    write_corpus(tmp_path / "a", group("S1", "S1"), root=tmp_path, name="toy")
    assert lines(tmp_path / "a")[0].startswith("error: 1 speakers")
    write_corpus(tmp_path / "b", group("S1", "S1"), root=tmp_path, name="toy", shared_groups=["speaker"])
    assert lines(tmp_path / "b")[0].startswith("warning: 1 speakers")


def test_silence(tmp_path):
    out = corpus(tmp_path)
    rewrite(tmp_path / "b.wav", np.full(1600, 5e-4))
    assert lines(out) == [
        f"warning: {out / 'train.tsv'}:3: {tmp_path / 'b.wav'}: silent (no sample above 0.00049)",
    ]


def divided(folder, p1_train="été", p1_valid="b"):
    out = corpus(folder)
    splits = {split: read_split(out, split) for split in ("train", "test")}
    by_id = {u.id: u for u in splits["train"]}
    splits |= {"p1_train": [by_id[p1_train]], "p1_valid": [by_id[p1_valid]]}
    parts_of = {"p1_train": "train", "p1_valid": "train"}
    write_corpus(out, splits, root=folder, name="toy", parts_of=parts_of)
    return out


def test_parts_of_training(tmp_path):
    out = divided(tmp_path)
    assert lines(out) == []
    splits = {split: read_split(out, split) for split in ("train", "test", "p1_train", "p1_valid")}
    table = summary_table(splits, {"p1_train": "train", "p1_valid": "train"}).splitlines()
    assert table[4].split()[0] == "p1_valid" and table[-1].split()[:4] == ["all", "1", "2", "3"]


def test_parts_that_were_changed(tmp_path):
    out = divided(tmp_path)
    (out / "p1_valid.tsv").write_text((out / "p1_train.tsv").read_text())
    (out / "p1_valid.meta.tsv").write_text((out / "p1_train.meta.tsv").read_text())
    (out / "p1_valid.emo").unlink()
    edit(out / "p1_train.meta.tsv", "A", "Z")
    found = lines(out, audio=False)
    assert f"error: {out / 'p1_train.meta.tsv'}:2: 'été' is not in train, or is another one there" in found
    assert "error: 1 ids occur in more than one of p1_train, p1_valid: été" in found


def test_classes_that_a_fold_lacks(tmp_path):
    assert missing_classes({"a": [Utterance("x", "", label="sad")], "b": [Utterance("y", "")]}, ["hap", "sad"]) == [
        "a has no hap"
    ]
    out = corpus(tmp_path, fold="1", folds={"protocol": "leave-one-speaker-out"})
    assert lines(out, audio=False) == [f"warning: {out}: test has no hap"]


def test_what_was_heard_is_not_decoded_again(tmp_path):
    out, heard = corpus(tmp_path), {}
    check_corpus(out, heard=heard)
    (tmp_path / "b.wav").unlink()
    assert len(heard) == 3 and lines(out, heard=heard) == []


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_labels(tmp_path):
    out = corpus(tmp_path)
    edit(out / "labels.txt", "hap\n", "")
    assert lines(out, audio=False) == [f"error: {out / 'train.meta.tsv'}:3: the label 'hap' is not in labels.txt"]


def test_labels_that_training_lacks_and_missing_labels(tmp_path):
    splits = {
        "train": [Utterance("a", "", text="x", label="sad"), Utterance("b", "", text="x")],
        "test": [Utterance("c", "", text="x", label="hap")],
    }
    write_corpus(tmp_path, splits, root=tmp_path, name="toy")
    assert lines(tmp_path) == [
        f"warning: {tmp_path / 'train.meta.tsv'}: 1 utterances have no label: b",
        f"warning: {tmp_path / 'test.meta.tsv'}: labels that the training split lacks: hap",
    ]


def test_votes_are_checked(tmp_path):
    splits = {"train": [Utterance("a", "", text="x", label="sad", votes={"sad": 2, "fru": 1})]}
    write_corpus(tmp_path, splits, root=tmp_path, name="toy")
    assert lines(tmp_path) == []
    edit(tmp_path / "labels.txt", "fru\n", "")
    assert lines(tmp_path) == [f"error: {tmp_path / 'train.meta.tsv'}:2: the label 'fru' is not in labels.txt"]


def test_neither_audio_nor_text(tmp_path):
    write_corpus(tmp_path, {"train": [Utterance("a", "")]}, root=tmp_path, name="toy")
    assert lines(tmp_path) == [f"error: {tmp_path / 'train.meta.tsv'}:2: 'a' has neither audio nor text"]


def test_edited_ids(tmp_path):
    out = corpus(tmp_path)
    edit(out / "train.meta.tsv", "b\t", "c\t")
    assert lines(out, audio=False) == [
        f"warning: {out / 'train.meta.tsv'}: the ids are not those that were prepared (corpus.json)",
        "error: 1 ids occur in more than one of train, test: c",
    ]
    edit(out / "train.meta.tsv", "c\t", "été\t")
    assert f"error: {out / 'train.meta.tsv'}: the id 'été' occurs 2 times" in lines(out, audio=False)


def test_damaged_manifest_does_not_hide_the_rest(tmp_path):
    out = corpus(tmp_path)
    edit(out / "train.tsv", "b.wav\t1600", "b.wav 1600")
    (tmp_path / "c.wav").unlink()
    found = lines(out)
    assert "train.tsv:3: expected a path" in found[0] and "c.wav: no such audio" in found[-1]


def test_no_corpus(tmp_path):
    with pytest.raises(EmofairError, match="no prepared corpus"):
        check_corpus(tmp_path)


def test_summary_table(tmp_path):
    items = [Utterance("a", "a.wav", 16000 * 3600, label="sad"), Utterance("b", "b.wav", 16000 * 1800)]
    assert [line.split() for line in summary_table({"train": items, "test": items[:1]}).splitlines()] == [
        ["split", "-", "sad", "total", "hours"],
        ["train", "1", "1", "2", "1.50"],
        ["test", "0", "1", "1", "1.00"],
        ["all", "1", "2", "3", "2.50"],
    ]


def test_summary_of_scores(tmp_path):
    items = [Utterance(str(score), "", text="x", sentiment=score) for score in (-1.0, 0.0, 2.0, 0.5)]
    assert summary_table({"train": items}).splitlines()[1].split() == ["train", "1", "2", "1", "4", "0.00"]


def test_stock_fairseq_manifest_can_be_checked(tmp_path):
    write_noise(tmp_path / "a.wav", 1600, 1)
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\na.wav\t1600\n")
    assert lines(tmp_path) == []
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\na.wav\t1500\n")
    assert json.dumps(lines(tmp_path)).count("1600 samples, the manifest says 1500") == 1
