import argparse
import shutil

import numpy as np
import pytest
import soundfile

from emofair.cli import prepare
from emofair.data.manifests import read_corpus, read_split, splits_of
from emofair.errors import EmofairError
from emofair.testing.downloads import fake_iemocap, fake_meld, fake_mosei, fake_mosi, write_noise


def emofair_prepare(*arguments):
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    return prepare.run(parser.parse_args([str(a) for a in arguments]))


def listing(folder, *rows, header="id\twav\ttext\tlabel\tsplit\tspeaker"):
    path = folder / "items.tsv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def items(tmp_path):
    for seed, name in enumerate(("a.wav", "日本.wav", "c.wav")):
        write_noise(tmp_path / name, 1600, seed)
    return listing(
        tmp_path, "a\ta.wav\thi\tsad\ttrain\tA", "b\t日本.wav\tho\thap\ttrain\tA", "c\tc.wav\thu\tsad\ttest\tC"
    )


def test_tsv_with_check(items, tmp_path, capsys):
    assert emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out", "--check") == 0
    shown = capsys.readouterr()
    assert "train    1    1      2   0.00" in shown.out and "check: 0 errors, 0 warnings" in shown.out
    assert [u.id for u in read_split(tmp_path / "out", "train")] == ["a", "b"]
    assert read_corpus(tmp_path / "out")["resample"] is False
    assert not list((tmp_path / "out").glob("**/*.wav"))  # audio stays in place


def test_check_alone_sees_what_headers_hide(items, tmp_path, capsys):
    emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out")
    audio = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    audio[3] = np.nan
    soundfile.write(tmp_path / "a.wav", audio, 16000, subtype="FLOAT")
    assert emofair_prepare("--check", "--out", tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert "train.tsv:2: " in shown.err and "1 samples are NaN" in shown.err and "1 errors" in shown.out


def test_audio_is_decoded_or_a_note_says_that_it_was_not(items, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.full(1700, np.inf, np.float32), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "日本.wav", np.random.default_rng(0).uniform(-1, 1, 9000), 16000, format="FLAC")
    (tmp_path / "日本.wav").write_bytes((tmp_path / "日本.wav").read_bytes()[:9000])
    with items.open("a", encoding="utf-8") as file:
        file.write("d\td.wav\t\tsad\ttrain\tA\n")
    write_noise(tmp_path / "d.wav", 100, 3)
    note = "note: only the headers of the audio were read; --check decodes it"
    emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out")
    told = capsys.readouterr().err
    assert note in told and "note: 1 clips are shorter than one frame (400 samples): d" in told
    emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out", "--skip-bad")
    told = capsys.readouterr().err
    assert f"left out: {items}:2: {tmp_path / 'a.wav'}: 1700 samples are NaN or infinite" in told and note not in told
    assert f"left out: {items}:3: {tmp_path / '日本.wav'}: the audio breaks off or is damaged" in told
    assert read_corpus(tmp_path / "out")["dropped"] == {"bad rows": 2}
    assert emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out", "--check") == 1
    assert note not in capsys.readouterr().err


def test_another_corpus_is_not_replaced(items, tmp_path, capsys):
    out = tmp_path / "out"
    tsv = ("tsv", "--list", items, "--out", out)
    emofair_prepare(*tsv)
    assert "replaced" not in capsys.readouterr().err
    emofair_prepare(*tsv, "--folds", "speaker", "--valid", "none")
    assert f"note: replaced tsv in {out}\n" in capsys.readouterr().err
    with pytest.raises(EmofairError, match=r"out: holds the corpus tsv\. choose another --out, or delete it\."):
        emofair_prepare("scp", "--train-src-path", items, "--out", out)
    with pytest.raises(EmofairError, match=r"fold1: holds the corpus tsv \(fold 1\)"):
        emofair_prepare("transductive", "--fold-dir", out / "fold2", "--out", out / "fold1")
    for _ in range(2):
        emofair_prepare("transductive", "--fold-dir", out / "fold2", "--out", out / "heard")
    assert f"note: replaced tsv (transductive, fold 2) in {out / 'heard'}" in capsys.readouterr().err
    with pytest.raises(EmofairError, match=r"heard: holds the corpus tsv \(transductive, fold 2\)"):
        emofair_prepare("tsv", "--list", items, "--out", out / "heard")
    emofair_prepare(*tsv)
    assert f"note: replaced tsv with 2 folds in {out}\n" in capsys.readouterr().err
    assert splits_of(out) == ["train", "test"] and not list(out.glob("fold?"))


@pytest.mark.parametrize("file", ["corpus.json", "fold1/corpus.json", "folds.json"])
def test_a_damaged_corpus_is_not_replaced(items, tmp_path, file):
    damaged = tmp_path / "out" / file
    damaged.parent.mkdir(parents=True)
    damaged.write_text("[]")
    with pytest.raises(EmofairError, match=rf"{file}: a JSON object is .*\. delete it, or choose another --out\."):
        emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out")


def test_bad_rows_stop_or_are_skipped(items, tmp_path, capsys):
    with items.open("a", encoding="utf-8") as file:
        file.write("d\tabsent.wav\t\tsad\ttrain\tA\ne\n")
    with pytest.raises(EmofairError, match=r"2 rows or clips cannot be used.*--skip-bad"):
        emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    shown = capsys.readouterr().err
    assert f"{items}:6: 1 cells" in shown and "absent.wav: no such audio file" in shown
    assert emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out", "--skip-bad") == 0
    assert read_corpus(tmp_path / "out")["dropped"] == {"bad rows": 2}


def test_a_split_that_ends_up_empty(items, tmp_path):
    (tmp_path / "c.wav").write_bytes(b"")
    with pytest.raises(EmofairError, match="nothing usable is left in test"):
        emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out", "--skip-bad")


def test_unknown_label(items, tmp_path, capsys):
    with pytest.raises(EmofairError, match="1 rows"):
        emofair_prepare("tsv", "--list", items, "--labels", "sad,ang", "--out", tmp_path / "out")
    assert f"{items}:3: unknown label 'hap' (known: sad, ang)" in capsys.readouterr().err


def test_other_rate(items, tmp_path):
    write_noise(tmp_path / "a.wav", 4410, 9, rate=44100)
    with pytest.raises(EmofairError, match="1 rows"):
        emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out")
    assert emofair_prepare("tsv", "--list", items, "--resample", "--out", tmp_path / "out", "--check") == 0
    assert read_split(tmp_path / "out", "train")[0].n_samples == 1600
    assert read_corpus(tmp_path / "out")["resample"] is True


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a\tc.wav\thu\tsad\ttest\tC", "the splits are not disjoint"),  # id
        ("c\tc.wav\thu\tsad\ttest\tA", "the splits are not disjoint"),  # speaker
        ("c\tcopy.wav\thu\tsad\ttest\tC", "1 clips are in two splits"),  # sound
    ],
)
def test_overlap_is_refused_unless_allowed(items, tmp_path, row, message):
    shutil.copy(tmp_path / "a.wav", tmp_path / "copy.wav")
    lines = items.read_text(encoding="utf-8").splitlines()
    items.write_text("\n".join([*lines[:3], row]), encoding="utf-8")
    with pytest.raises(EmofairError, match=message + r".*--allow-overlap"):
        emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert emofair_prepare("tsv", "--list", items, "--out", tmp_path / "out", "--allow-overlap", "--check") == 0


def test_iemocap(tmp_path, capsys):
    fake_iemocap(tmp_path / "in")
    arguments = ("iemocap", "--root", tmp_path / "in", "--out", tmp_path / "out", "--fold", 2, "--classes", 4)
    with pytest.raises(EmofairError, match=r"not the published ones.*--allow-count-mismatch"):
        emofair_prepare(*arguments)
    assert "session 1 has 1 ang, 229 are published" in capsys.readouterr().err
    assert emofair_prepare(*arguments, "--allow-count-mismatch", "--check") == 0
    assert "left out: 5 with label fru" in capsys.readouterr().err
    corpus = read_corpus(tmp_path / "out")
    assert (corpus["fold"], corpus["classes"], corpus["labels"]) == ("2", 4, ["ang", "hap", "neu", "sad"])
    assert {u.session for u in read_split(tmp_path / "out", "valid")} == {"3"}
    assert (tmp_path / "out" / "train.emo.json").is_file() and corpus["dropped"] == {"label fru": 5}


def test_iemocap_without_validation(tmp_path):
    fake_iemocap(tmp_path / "in")
    out = tmp_path / "out"
    emofair_prepare("iemocap", "--root", tmp_path / "in", "--out", out, "--valid", "none", "--allow-count-mismatch")
    assert splits_of(out) == ["train", "test"]


def test_meld(tmp_path, capsys):
    fake_meld(tmp_path / "in")
    arguments = ("meld", "--root", tmp_path / "in", "--out", tmp_path / "out", "--allow-count-mismatch")
    assert emofair_prepare(*arguments, "--check") == 0
    shown = capsys.readouterr().err
    assert shown.count("warning: 1 speakers occur in more than one of train, valid, test: Joey") == 1
    assert read_split(tmp_path / "out", "test")[1].path.endswith("output_repeated_splits_test/dia0_utt1.flac")


def test_meld_text_only(tmp_path):
    fake_meld(tmp_path / "in", audio=False)
    arguments = ("meld", "--root", tmp_path / "in", "--out", tmp_path / "out", "--allow-count-mismatch")
    with pytest.raises(EmofairError, match=r"none of the 18 clips has usable audio.*--text-only"):
        emofair_prepare(*arguments)
    assert emofair_prepare(*arguments, "--text-only", "--check") == 0
    utterance = read_split(tmp_path / "out", "train")[0]
    assert (utterance.has_audio, utterance.text, utterance.label) == (False, "It’s 1, “ok”?", "neutral")


def test_mosi_and_mosei(tmp_path):
    fake_mosi(tmp_path / "mosi")
    fake_mosei(tmp_path / "mosei")
    mosi = ("mosi", "--root", tmp_path / "mosi", "--out", tmp_path / "a", "--label-files", tmp_path / "mosi")
    assert emofair_prepare(*mosi, "--check", "--allow-count-mismatch") == 0
    assert emofair_prepare("mosei", "--root", tmp_path / "mosei", "--out", tmp_path / "b", "--check") == 0
    first, second = read_split(tmp_path / "b", "test")
    assert first.path == second.path and (first.start, first.n_samples) == (0.1, 4800)
    assert not (tmp_path / "b" / "test.emo").exists() and second.sentiment == 0.5


def test_synthetic(tmp_path):
    pytest.importorskip("espeakng_loader")
    assert emofair_prepare("synthetic", "--out", tmp_path, "--clips", 20, "--seed", 4, "--check") == 0
    assert sum(len(read_split(tmp_path, split)) for split in splits_of(tmp_path)) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "prepare what"),
        (("meld",), "needs the folder of the download"),
        (("tsv",), "tsv needs a list"),
        (("meld", "--root", "absent"), "absent: no such folder"),
        (("meld", "--root", __file__), "no such folder"),
        (("meld", "--fold", "1"), r"--fold does not go with meld \(only iemocap\)"),
        (("--check", "--root", "."), "--root does not go with --check alone"),
        (("--check",), "no prepared corpus"),
    ],
)
def test_usage_errors(tmp_path, arguments, message):
    with pytest.raises(EmofairError, match=message):
        emofair_prepare(*arguments, "--out", tmp_path / "out")


def test_out_that_is_a_file(items, tmp_path):
    with pytest.raises(EmofairError, match="not usable as a folder"):
        emofair_prepare("tsv", "--list", items, "--out", items)
