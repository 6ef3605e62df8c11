"""FLEA's lists: blanks in paths, tabs, merged labels, and rows that cannot be used."""

import numpy as np
import pytest
import soundfile

from emofair.cli.main import main
from emofair.corpora import scp
from emofair.data.manifests import read_split
from emofair.errors import EmofairError


def listing(folder, *rows, name="train.scp"):
    path = folder / name
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def read(folder, *rows, **options):
    return scp.read({"train": listing(folder, *rows)}, **options)


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ("Ses01F_impro01_M003 audio/a.wav hap", "audio/a.wav"),
        ("Ses01F_impro01_M003\taudio/a.wav\thap", "audio/a.wav"),
        ("Ses01F_impro01_M003 my audio/a b.wav exc", "my audio/a b.wav"),
        ("Ses01F_impro01_M003\tmy audio/a b.wav\texc", "my audio/a b.wav"),
        ("Ses01F_impro01_M003  audio/a.wav\thap ", "audio/a.wav"),
        ("Ses01F_impro01_M003\taudio/a.wav\t3.2\texc", "audio/a.wav"),
        ("Ses01F_impro01_M003 /elsewhere/a.wav hap", "/elsewhere/a.wav"),
    ],
)
def test_fields(row, place, tmp_path):
    (item,) = read(tmp_path, row, "").splits["train"]
    assert (item.id, item.path, item.label) == ("Ses01F_impro01_M003", str(tmp_path / place), "hap")
    assert (item.session, item.speaker) == ("1", "Ses01M")
    (item,) = read(tmp_path, row, root=tmp_path / "root").splits["train"]
    assert item.path == str(tmp_path / "root" / place)


def test_other_corpora_bring_their_labels(tmp_path):
    (item,) = read(tmp_path, "x a.wav exc", labels=["exc", "bored"]).splits["train"]
    assert (item.label, item.speaker) == ("exc", None)

    (problem,) = read(tmp_path, "x a.wav exc", labels=["bored"]).problems
    assert problem.what == "unknown label 'exc' (known: bored)"


@pytest.mark.parametrize("labels", [",", "", "sad,,ang"])
def test_an_empty_label_is_refused(lists, capsys, labels):
    assert prepare(lists, lists / "corpus", "--labels", labels) == 2
    assert f"--labels {labels!r} has an empty name" in capsys.readouterr().err


def test_rows_that_cannot_be_used_are_named(tmp_path):
    rows = ["a a.wav ang", "b b.wav fru", "c c.wav", "a a2.wav sad", "only", "d/e d.wav neu"]
    source = read(tmp_path, *rows)
    path = tmp_path / "train.scp"
    assert [str(problem) for problem in source.problems] == [
        f"{path}:2: unknown label 'fru' (known: ang, hap, neu, sad, exc)",
        f"{path}:3: not a name, a path and a label",
        f"{path}:4: 'a' is in row 1 already",
        f"{path}:5: not a name, a path and a label",
        f"{path}:6: the name 'd/e' cannot be used as a file name",
    ]
    assert [item.id for item in source.splits["train"]] == ["a"]


def test_an_empty_or_missing_list_is_told(tmp_path):
    with pytest.raises(EmofairError, match=r"train\.scp: the list has no rows"):
        read(tmp_path, "")
    with pytest.raises(EmofairError, match=r"gone\.scp: cannot be read"):
        scp.read({"train": tmp_path / "gone.scp"})


def prepare(folder, out, *more):
    lists = [word for split in ("train", "valid", "test") for word in (f"--{split}-src-path", folder / f"{split}.scp")]
    return main(["prepare", "scp", *map(str, lists), "--out", str(out), *more])


@pytest.fixture
def lists(tmp_path):
    for session, split in enumerate(("train", "valid", "test"), start=1):
        rows = []
        for number, label in enumerate(("exc", "neu", "sad", "ang")):
            name = f"Ses0{session}F_impro0{number}_F000"
            sound = 0.1 * np.random.default_rng([session, number]).standard_normal(4000)
            soundfile.write(tmp_path / f"{name} x.wav", sound, 16000)
            rows.append(f"{name} {name} x.wav {label}")
        listing(tmp_path, *rows, name=f"{split}.scp")
    return tmp_path


def test_a_corpus_comes_out(lists, capsys):
    out = lists / "corpus"
    assert prepare(lists, out, "--check") == 0
    assert "check: 0 errors" in capsys.readouterr().out
    item = read_split(out, "test")[0]
    assert (item.id, item.label, item.n_samples) == ("Ses03F_impro00_F000", "hap", 4000)


def test_names_that_tell_no_speaker_are_noted(lists, capsys):
    note = "note: neither speaker nor session is known of 4 of 12 clips: splits were compared by clips, not by speakers"
    assert prepare(lists, lists / "corpus") == 0
    assert "speaker" not in capsys.readouterr().err
    rows = (lists / "test.scp").read_text().splitlines()
    listing(lists, *(f"x{row}" for row in rows), name="test.scp")
    assert prepare(lists, lists / "corpus") == 0
    assert note in capsys.readouterr().err


def test_one_list_for_validation_and_test_is_refused(lists, capsys):
    (lists / "valid.scp").write_text((lists / "test.scp").read_text())
    assert prepare(lists, lists / "corpus") == 2
    assert "Ses03F_impro00_F000" in capsys.readouterr().err
    assert prepare(lists, lists / "corpus", "--allow-overlap") == 0


def test_a_missing_wav_and_a_missing_list_are_told(lists, capsys):
    (lists / "Ses02F_impro01_F000 x.wav").unlink()
    assert prepare(lists, lists / "corpus") == 2
    assert "Ses02F_impro01_F000 x.wav" in capsys.readouterr().err
    assert main(["prepare", "scp", "--out", str(lists / "corpus")]) == 2
    assert "scp needs a training list" in capsys.readouterr().err


def test_unusable_audio_is_told_with_list_and_row(lists, capsys):
    gone, slow = lists / "Ses02F_impro01_F000 x.wav", lists / "Ses03F_impro02_F000 x.wav"
    gone.unlink()
    with (lists / "train.scp").open("a") as file:
        file.write(f"long {'x' * 300}.wav sad\n")
    soundfile.write(slow, np.zeros(4000), 8000)
    assert prepare(lists, lists / "corpus") == 2
    told = capsys.readouterr().err
    assert f"{lists / 'valid.scp'}:2: {gone}: no such audio file" in told
    assert f"{lists / 'train.scp'}:5: {lists / ('x' * 300)}.wav: cannot be read (File name too long)" in told
    assert f"{lists / 'test.scp'}:3: {slow}: the audio is at 8000 Hz" in told
    assert "--write-audio" in told
    for file in lists.glob("*.wav"):
        file.unlink()
    assert prepare(lists, lists / "corpus") == 2
    told = capsys.readouterr().err
    assert f"{lists / 'train.scp'}:1: none of the 13 clips has usable audio" in told


def test_one_file_under_two_names_is_refused_with_both_rows(tmp_path):
    (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    source = read(tmp_path, "a a.wav ang", "x x.wav sad", "b ./b.wav sad", "c a.wav ang", "d d.wav neu")
    path = tmp_path / "train.scp"
    assert [str(problem) for problem in source.problems] == [
        f"{path}:3: the audio of 'b' is in row 1 already, as 'a' with the label 'ang' instead of 'sad' "
        f"({tmp_path / 'b.wav'})",
        f"{path}:4: the audio of 'c' is in row 1 already, as 'a' ({tmp_path / 'a.wav'})",
    ]
    assert [item.id for item in source.splits["train"]] == ["a", "x", "d"]
    assert source.rows == {("train", "a"): (path, 1), ("train", "x"): (path, 2), ("train", "d"): (path, 5)}
