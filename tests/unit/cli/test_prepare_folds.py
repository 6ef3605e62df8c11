"""`emofair prepare` on corpora that are divided into folds, and on what can be wrong with them."""

import argparse
import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emofair.cli import prepare
from emofair.data.fold_folders import fold_dirs, read_folds
from emofair.data.manifests import read_corpus, read_labels, read_split, splits_of
from emofair.errors import EmofairError
from emofair.testing.downloads import (
    fake_cremad,
    fake_emodb,
    fake_iemocap,
    fake_label_json,
    fake_ravdess,
    write_noise,
)


def emofair_prepare(*arguments):
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    return prepare.run(parser.parse_args([str(a) for a in arguments]))


def speakers_tested(out):
    return [fold["speakers"]["test"] for fold in read_folds(out)["folds"]]


@pytest.fixture
def emodb(tmp_path):
    return fake_emodb(tmp_path / "in")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_emodb(emodb, out, capsys):
    arguments = ("emodb", "--root", emodb, "--out", out, "--p1-valid", 0.1)
    with pytest.raises(EmofairError, match=r"counts of emodb are not the published ones.*--allow-count-mismatch"):
        emofair_prepare(*arguments)
    assert "error: 42 clips, 535 are published" in capsys.readouterr().err and not out.exists()
    assert emofair_prepare(*arguments, "--no-check", "--check") == 0
    shown = capsys.readouterr()
    assert "emodb in " in shown.out and "leave-one-speaker-out" in shown.out
    assert "   2     14     14    14  08" in shown.out and "check: 0 errors, 0 warnings" in shown.out
    assert "note: 42 clips, 535 are published" in shown.err
    assert speakers_tested(out) == [["03"], ["08"], ["09"]]
    corpus = read_corpus(out / "fold2")
    assert (corpus["fold"], corpus["speakers"]["valid"], corpus["folds"]["p1_valid"]) == ("2", ["09"], 0.1)
    assert splits_of(out / "fold2") == ["train", "valid", "test", "p1_train", "p1_valid"]
    assert len(read_split(out / "fold2", "p1_valid")) == 7  # one of each emotion


def test_emodb_as_published_by_others(emodb, out):
    common = ("emodb", "--root", emodb, "--no-check", "--out", out)
    emofair_prepare(*common, "--valid", "none", "--speakers-per-fold", 2)
    assert speakers_tested(out) == [["03", "08"], ["09"]] and splits_of(out / "fold1") == ["train", "test"]
    emofair_prepare(*common, "--fold-count", 2, "--valid", "random", "--valid-fraction", 0.5, "--seed", 3, "--check")
    assert read_corpus(out / "fold1")["folds"]["seed"] == 3
    assert len(read_split(out / "fold1", "valid")) == 7
    emofair_prepare(*common, "--folds", "none")
    # Nothing is left of the folds that were there.
    assert splits_of(out) == ["train"] and not fold_dirs(out) and not list(out.glob("fold*"))
    emofair_prepare(*common, "--folds", "speaker", "--p1-valid", 0.4, "--p1-by", "speaker", "--valid", "none")
    assert splits_of(out) == [] and read_corpus(out / "fold3")["speakers"]["p1_valid"] == ["03"]


def test_a_class_missing_in_a_fold_is_told(emodb, out, capsys):
    for file in emodb.glob("wav/08*E*.wav"):
        file.unlink()
    emofair_prepare("emodb", "--root", emodb, "--out", out, "--no-check")
    assert "emofair: warning: fold 2: test has no disgust" in capsys.readouterr().err
    # All folds have the same classes.
    assert read_labels(out / "fold2") == read_labels(out / "fold1")
    assert emofair_prepare("--out", out, "--check") == 0
    assert f"warning: {out / 'fold2'}: test has no disgust" in capsys.readouterr().err


def test_check_alone_decodes_folds_once(emodb, out, capsys):
    emofair_prepare("emodb", "--root", emodb, "--out", out, "--no-check")
    path = next(iter(sorted(emodb.glob("wav/*.wav"))))
    audio = soundfile.read(path, dtype="float32")[0]
    audio[3] = np.nan
    soundfile.write(path, audio, 16000, subtype="FLOAT")
    assert emofair_prepare("--out", out, "--check") == 1
    shown = capsys.readouterr()
    assert shown.err.count("1 samples are NaN") == 1 and "check: 1 errors" in shown.out


def spoil(path, how):
    if how == "missing":
        path.unlink()
    elif how == "renamed":
        path.rename(path.with_name("holiday.wav"))
    elif how == "duplicate":
        write_noise(path.parent / "copies" / path.name, 1600, 1)
    elif how == "unknown emotion":
        path.rename(path.with_name(path.name.replace("W", "Q")))
    elif how == "stereo":
        soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, (1600, 2)), 16000)
    elif how == "44.1 kHz":
        write_noise(path, 4410, 1, rate=44100)
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "silent":
        soundfile.write(path, np.zeros(1700), 16000)
    elif how == "NaN":
        soundfile.write(path, np.full(1700, np.nan, np.float32), 16000, subtype="FLOAT")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no samples":
        soundfile.write(path, np.zeros(0), 16000)


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("missing", "error: 41 clips, 535 are published"),
        ("renamed", "holiday.wav: not a name of EMO-DB"),
        ("duplicate", "03a01Wa is here a second time"),
        ("unknown emotion", "03a01Qa.wav: unknown emotion letter 'Q'"),
        ("44.1 kHz", "03a01Wa.wav: the audio is at 44100 Hz, 16000 Hz is needed"),
        ("truncated", "03a01Wa.wav: truncated: the header promises"),
        ("empty", "03a01Wa.wav: the file is empty (0 bytes)"),
        ("no samples", "03a01Wa.wav: the audio has no samples"),
    ],
)
def test_what_is_refused_before_anything_is_written(emodb, out, capsys, how, line):
    spoil(emodb / "wav" / "03a01Wa.wav", how)
    with pytest.raises(EmofairError, match=r"1 rows or clips cannot be used|not the published ones"):
        emofair_prepare("emodb", "--root", emodb, "--out", out)
    assert line in capsys.readouterr().err and not out.exists()
    if how not in ("missing", "duplicate"):
        emofair_prepare("emodb", "--root", emodb, "--out", out, "--no-check", "--skip-bad")
        assert read_corpus(out / "fold1")["dropped"] == {"bad rows": 1}


@pytest.mark.parametrize(
    ("how", "line", "errors"),
    [
        ("stereo", "note: 1 files have several channels, which are averaged: 03a01Wa.wav", 0),
        ("silent", "warning: {out}/fold1/test.tsv:3: {wav}: silent (no sample above 0)", 0),
        ("NaN", "error: {out}/fold1/test.tsv:3: {wav}: 1700 samples are NaN or infinite. re-export the file.", 1),
    ],
)
def test_what_the_check_tells(emodb, out, capsys, how, line, errors):
    wav = emodb / "wav" / "03a01Ea.wav"
    spoil(wav, how) if how != "stereo" else spoil(emodb / "wav" / "03a01Wa.wav", how)
    assert emofair_prepare("emodb", "--root", emodb, "--out", out, "--no-check", "--check") == errors
    assert line.format(out=out, wav=wav) in capsys.readouterr().err


def test_resampling_by_flag(emodb, out):
    spoil(emodb / "wav" / "03a01Wa.wav", "44.1 kHz")
    assert emofair_prepare("emodb", "--root", emodb, "--out", out, "--no-check", "--resample", "--check") == 0
    assert {u.id: u.n_samples for u in read_split(out / "fold1", "test")}["03a01Wa"] == 1600


def test_the_same_sound_under_two_speakers(emodb, out, capsys):
    (emodb / "wav" / "08a01Wa.wav").write_bytes((emodb / "wav" / "03a01Wa.wav").read_bytes())
    with pytest.raises(EmofairError, match="1 clips are in two splits"):
        emofair_prepare("emodb", "--root", emodb, "--out", out, "--no-check")
    assert "(08a01Wa) and test (03a01Wa)" in capsys.readouterr().err.replace("valid ", "train ")


def test_ravdess(tmp_path, out, capsys):
    fake_ravdess(tmp_path / "in", song=True)
    arguments = ("ravdess", "--root", tmp_path / "in", "--out", out, "--no-check", "--fold-count", 2)
    with pytest.raises(EmofairError, match=r"none of the 60 clips has usable audio.*48000 Hz.*--resample"):
        emofair_prepare(*arguments)
    assert emofair_prepare(*arguments, "--resample", "--check") == 0
    assert "left out: 44 with the channel song (--song adds it)" in capsys.readouterr().err
    assert speakers_tested(out) == [["01", "02"], ["03", "04"]] and read_corpus(out / "fold1")["song"] is False
    assert emofair_prepare(*arguments, "--resample", "--song") == 0
    assert len(read_split(out / "fold1", "test")) == 52


def test_cremad(tmp_path, out, capsys):
    fake_cremad(tmp_path / "in")
    assert emofair_prepare("cremad", "--root", tmp_path / "in", "--out", out, "--no-check", "--check") == 0
    votes = json.loads((out / "fold1" / "test.emo.json").read_text())
    assert votes["AudioWAV/1001_DFA_FEA_XX.wav"] == {"fear": 7, "neutral": 1}
    assert "check: 0 errors, 0 warnings" in capsys.readouterr().out


def test_iemocap_sessions(tmp_path, out, capsys):
    fake_iemocap(tmp_path / "in")
    common = ("iemocap", "--root", tmp_path / "in", "--classes", 4, "--no-check")
    assert emofair_prepare(*common, "--folds", "session", "--valid", "none", "--out", out, "--check") == 0
    assert "leave-one-session-out" in capsys.readouterr().out
    assert [fold["sessions"]["test"] for fold in read_folds(out)["folds"]] == [[s] for s in "12345"]
    assert splits_of(out / "fold3") == ["train", "test"] and read_corpus(out / "fold3")["labels"][0] == "ang"
    assert json.loads((out / "fold1" / "test.emo.json").read_text())
    # The same folds as one at a time.
    emofair_prepare(*common, "--folds", "session", "--out", out)
    for fold in "15":
        emofair_prepare(*common, "--fold", fold, "--out", tmp_path / "single")
        for split in ("train", "valid", "test"):
            hashes = [read_corpus(d)["splits"][split]["ids_sha256"] for d in (out / f"fold{fold}", tmp_path / "single")]
            assert hashes[0] == hashes[1]
    emofair_prepare(
        *common, "--fold", 2, "--valid", "random", "--p1-valid", 0.2, "--out", tmp_path / "single", "--check"
    )
    assert splits_of(tmp_path / "single") == ["train", "valid", "test", "p1_train", "p1_valid"]
    assert {u.session for u in read_split(tmp_path / "single", "valid")} <= set("1345")


def test_iemocap_speakers_share_sessions_by_design(tmp_path, out, capsys):
    fake_iemocap(tmp_path / "in")
    arguments = ("iemocap", "--root", tmp_path / "in", "--folds", "speaker", "--no-check", "--out", out)
    assert emofair_prepare(*arguments, "--valid", "none", "--check") == 0
    assert len(fold_dirs(out)) == 10
    assert "warning: 1 sessions occur in more than one of train, test: 1" in capsys.readouterr().err


def test_json(tmp_path, out):
    parts = {"Test": {"c.wav": "x"}, "Train": {"a.wav": "x", "b.wav": {"y": 2, "x": 1}}, "Val": {}}
    path = fake_label_json(tmp_path / "in", parts)
    arguments = ("json", "--datadir", tmp_path / "in" / "audio", "--out", out)
    assert emofair_prepare(*arguments, "--labelpath", path, "--check") == 0
    assert splits_of(out) == ["train", "test"] and read_corpus(out)["label_file"] == "label_1.json"
    more = {"Train": {f"{label}{n}.wav": label for label in "xy" for n in range(4)}}
    fake_label_json(tmp_path / "in", more, "label_2.json")
    options = ("--valid", "random", "--p1-valid", 0.3, "--check")
    assert emofair_prepare(*arguments, "--labelpath", tmp_path / "in" / "label_2.json", *options) == 0
    assert splits_of(out) == ["train", "valid", "p1_train", "p1_valid"] and len(read_split(out, "valid")) == 2


def test_json_folds(tmp_path, out, capsys):
    for number, held_out in ((1, "a"), (2, "b"), (10, "c")):
        parts = {
            "Train": {f"{name}.wav": "xyz"["abc".index(name)] for name in "abc" if name != held_out},
            "Test": {f"{held_out}.wav": "xyz"["abc".index(held_out)]},
        }
        fake_label_json(tmp_path, parts, f"labels/label_{number}.json")
    arguments = ("json", "--labeldir", tmp_path / "labels", "--root", tmp_path / "audio", "--out", out)
    assert emofair_prepare(*arguments, "--check") == 0
    shown = capsys.readouterr()
    assert "   3      2      -     1" in shown.out and f"warning: {out / 'fold3'}: train has no z" in shown.err
    assert [u.id for u in read_split(out / "fold3", "test")] == ["c"]
    assert read_labels(out / "fold1") == ["x", "y", "z"]
    assert read_corpus(out / "fold3")["folds"]["protocol"] == "as listed"


def test_json_problems_stop_it(tmp_path, out, capsys):
    path = fake_label_json(tmp_path, {"Train": {"a.wav": "x", "b.wav": "y"}, "Test": {"a.wav": "x"}})
    (tmp_path / "audio" / "b.wav").unlink()
    arguments = ("json", "--labelpath", path, "--root", tmp_path / "audio", "--out", out)
    with pytest.raises(EmofairError, match="2 rows or clips cannot be used"):
        emofair_prepare(*arguments)
    shown = capsys.readouterr().err
    assert f"{path}:4: 'b.wav' in Train: no such file" in shown and f"{path}:7: 'a.wav' in Test: in Train too" in shown


def listing(folder, header, *rows):
    path = folder / "items.tsv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_tsv_folds(tmp_path, out, capsys):
    rows = []
    for seed, (speaker, label) in enumerate((s, lab) for s in ("1", "2", "10") for lab in ("hap", "sad")):
        write_noise(tmp_path / f"{speaker}{label}.wav", 1600 + seed, seed)
        rows.append(f"{speaker}{label}\t{speaker}{label}.wav\t{label}\t{speaker}")
    path = listing(tmp_path, "id\twav\tlabel\tspeaker", *rows)
    assert emofair_prepare("tsv", "--list", path, "--folds", "speaker", "--out", out, "--check") == 0
    assert speakers_tested(out) == [["1"], ["2"], ["10"]]
    with pytest.raises(EmofairError, match="6 utterances have no session, for example 1hap"):
        emofair_prepare("tsv", "--list", path, "--folds", "session", "--out", out)
    with pytest.raises(EmofairError, match="the column 'split' is missing"):
        emofair_prepare("tsv", "--list", path, "--out", out)


def test_synthetic_folds(tmp_path, out):
    pytest.importorskip("espeakng_loader")
    arguments = ("synthetic", "--out", out, "--clips", 60, "--folds", "session", "--fold-count", 2, "--p1-valid", 0.2)
    assert emofair_prepare(*arguments, "--check") == 0
    assert [fold["sessions"]["test"] for fold in read_folds(out)["folds"]] == [
        ["Ses01", "Ses02", "Ses03"],
        ["Ses04", "Ses05"],
    ]
    for folder in fold_dirs(out).values():
        assert len(read_labels(folder)) == 5
        assert {u.label for u in read_split(folder, "test")} == set(read_labels(folder))
        assert all(Path(u.path).parent == out / "wav" for u in read_split(folder, "test"))
    assert splits_of(out) == ["train", "valid", "test"]  # the corpus itself keeps its own split
    # Another corpus in the same folder takes the folds of the earlier one away.
    emofair_prepare("synthetic", "--out", out, "--clips", 20)
    assert not fold_dirs(out) and not list(out.glob("fold*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("meld", "--folds", "speaker"), r"--folds does not go with meld \(only iemocap, emodb"),
        (("json", "--folds", "speaker"), "--folds does not go with json"),
        (("emodb", "--song"), r"--song does not go with emodb \(only ravdess\)"),
        (("emodb", "--fold", "1"), r"--fold does not go with emodb \(only iemocap\)"),
        (("iemocap", "--fold", "1", "--folds", "session"), "--fold picks one published fold, --folds makes all"),
        (("iemocap", "--fold-count", "2"), "--fold-count needs folds"),
        (("emodb", "--folds", "none", "--speakers-per-fold", "2"), "--speakers-per-fold needs folds"),
        (("iemocap", "--folds", "session", "--speakers-per-fold", "2"), "does not go with --folds session"),
        (("emodb", "--fold-count", "2", "--speakers-per-fold", "2"), "contradict each other"),
        (("synthetic", "--p1-valid", "0.1"), "--p1-valid needs --folds"),
        (("emodb", "--p1-by", "speaker"), "--p1-by needs --p1-valid"),
        (("emodb", "--folds", "none", "--valid", "next"), "--valid next needs folds"),
        (("json",), "json needs labels"),
        (("json", "--labelpath", "a", "--labeldir", "b"), "json needs labels"),
        (("emodb",), "emodb needs the folder of the download"),
    ],
)
def test_usage_errors(out, arguments, message):
    with pytest.raises(EmofairError, match=message):
        emofair_prepare(*arguments, "--out", out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--valid", "none", "--valid-fraction", "0.2"), "--valid-fraction has nothing to act on"),
        (("--valid-fraction", "1.5"), "the fraction for valid is 1.5"),
        (("--p1-valid", "0"), "the fraction for P-TAPT's validation is 0.0"),
        (("--fold-count", "4"), "3 speakers cannot make 4 folds. Ask for 2 to 3"),
        (("--folds", "session"), "42 utterances have no session"),
    ],
)
def test_plans_that_do_not_fit(emodb, out, options, message):
    with pytest.raises(EmofairError, match=message):
        emofair_prepare("emodb", "--root", emodb, "--no-check", "--out", out, *options)
    assert not out.exists()


PAGE = Path(__file__).parents[3] / "examples" / "ft_w2v2" / "CORPORA.md"


def commands_on_the_page():
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith("emofair ")]


@pytest.mark.parametrize("command", commands_on_the_page())
def test_every_command_on_the_page_is_understood(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    assert words[:2] == ["emofair", "prepare"]
    if "synthetic" in words:
        pytest.importorskip("espeakng_loader")
        words[words.index("480")] = "60"
        assert emofair_prepare(*words[2:]) == 0
    else:
        # The data are not there: that is all there may be to say.
        with pytest.raises(EmofairError, match=r"no such (folder|file)|cannot be read|no prepared corpus"):
            emofair_prepare(*words[2:])


REAL = Path(os.environ.get("EMOFAIR_TEST_DATA", "/nonexistent")) / "emodb"


@pytest.mark.skipif(not REAL.is_dir(), reason="EMOFAIR_TEST_DATA names no folder with emodb")
def test_the_published_emodb(out, capsys):
    assert emofair_prepare("emodb", "--root", REAL, "--p1-valid", 0.1, "--out", out, "--check") == 0
    shown = capsys.readouterr()
    assert "check: 0 errors, 1 warnings" in shown.out
    assert f"warning: {out / 'fold2'}: test has no disgust" in shown.err
