"""`emofair prepare --write-audio` and `emofair prepare transductive`: manifests that stock fairseq's tasks can use."""

import argparse

import numpy as np
import pytest
import soundfile
from fairseq.data.audio.raw_audio_dataset import FileAudioDataset

from emofair.cli import prepare
from emofair.data.fold_folders import fold_dirs
from emofair.data.leak_check import check_disjoint
from emofair.data.manifests import read_corpus, read_split, splits_of
from emofair.errors import EmofairError
from emofair.testing.downloads import fake_emodb, fake_mosei, write_noise


def emofair_prepare(*arguments):
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    return prepare.run(parser.parse_args([str(a) for a in arguments]))


@pytest.fixture
def cuts(tmp_path):
    """A list of six clips out of a recording of 48 kHz with two channels, and one of a file of its own."""
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, (5 * 48000, 2))
    soundfile.write(tmp_path / "long.wav", sound, 48000, subtype="PCM_16")
    write_noise(tmp_path / "own.wav", 3210, 5)
    rows = ["id\twav\ttext\tlabel\tsplit\tspeaker\tstart\tend"]
    for n, (split, label) in enumerate((s, e) for s in ("train", "valid", "test") for e in ("sad", "hap")):
        rows.append(f"c{n}\tlong.wav\t\t{label}\t{split}\t{split}\t{0.7 * n:.2f}\t{0.7 * n + 0.3 + 0.01 * n:.2f}")
    rows.append("own\town.wav\t\tsad\ttrain\ttrain\t\t")
    (tmp_path / "items.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "items.tsv"


def as_fairseq_hears(manifest):
    dataset = FileAudioDataset(manifest, sample_rate=16000, shuffle=False)
    return [len(dataset[i]["source"]) for i in range(len(dataset))]


def test_cut_clips_become_files(cuts, tmp_path, capsys):
    out = tmp_path / "out"
    assert emofair_prepare("tsv", "--list", cuts, "--out", out, "--write-audio", "--check") == 0
    shown = capsys.readouterr()
    assert f"note: 6 clips written to {out / 'audio'}, 0 were there already" in shown.err
    assert "check: 0 errors" in shown.out
    assert read_corpus(out)["resample"] is False
    train = read_split(out, "train")
    assert [(u.path, u.start, u.end) for u in train] == [
        (str(out / "audio" / "c0.flac"), None, None),
        (str(out / "audio" / "c1.flac"), None, None),
        (str(tmp_path / "own.wav"), None, None),
    ]
    assert as_fairseq_hears(out / "train.tsv") == [u.n_samples for u in train] == [4800, 4960, 3210]
    made = {path: path.stat().st_mtime_ns for path in (out / "audio").iterdir()}
    assert len(made) == 6
    assert emofair_prepare("tsv", "--list", cuts, "--out", out, "--write-audio", "--resample") == 0
    assert "0 clips written" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (out / "audio").iterdir()} == made
    assert read_corpus(out)["resample"] is False


def test_folds_share_the_files(cuts, tmp_path, capsys):
    out = tmp_path / "out"
    emofair_prepare("tsv", "--list", cuts, "--folds", "speaker", "--valid", "none", "--out", out, "--write-audio")
    assert "6 clips written" in capsys.readouterr().err
    assert len(list((out / "audio").iterdir())) == 6 and len(fold_dirs(out)) == 3
    for folder in fold_dirs(out).values():
        for split in splits_of(folder):
            items = read_split(folder, split)
            assert as_fairseq_hears(folder / f"{split}.tsv") == [u.n_samples for u in items]
            assert all(u.start is None and u.end is None for u in items)
    assert emofair_prepare("--check", "--out", out) == 0


def test_mosei_whose_clips_are_all_cut(tmp_path):
    fake_mosei(tmp_path / "in")
    emofair_prepare("mosei", "--root", tmp_path / "in", "--out", tmp_path / "out", "--write-audio", "--check")
    first, second = read_split(tmp_path / "out", "test")
    assert first.path != second.path and (first.start, first.n_samples, second.sentiment) == (None, 4800, 0.5)


def test_nothing_is_written_of_a_corpus_that_is_refused(cuts, tmp_path, capsys):
    cuts.write_text(cuts.read_text() + "bad\tgone.wav\t\tsad\ttrain\ttrain\t\t\n")
    with pytest.raises(EmofairError, match="1 rows or clips cannot be used"):
        emofair_prepare("tsv", "--list", cuts, "--out", tmp_path / "out", "--write-audio")
    assert f"{cuts}:9: {tmp_path / 'gone.wav'}: no such audio file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def fold(tmp_path):
    fake_emodb(tmp_path / "in")
    emofair_prepare("emodb", "--root", tmp_path / "in", "--no-check", "--out", tmp_path / "emodb")
    return tmp_path / "emodb" / "fold1"


def test_transductive(fold, tmp_path, capsys):
    capsys.readouterr()
    out = tmp_path / "heard"
    assert emofair_prepare("transductive", "--fold-dir", fold, "--out", out) == 0
    assert f"emodb in {out}" in capsys.readouterr().out
    assert len(read_split(out, "train")) == 28 and len(read_split(out, "valid")) == 14
    assert as_fairseq_hears(out / "train.tsv") == [u.n_samples for u in read_split(out, "train")]
    with pytest.raises(EmofairError, match="14 utterances that are in the test split of fold 1"):
        check_disjoint(out, fold)
    assert emofair_prepare("--check", "--out", out) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("meld", "--root", ".", "--text-only", "--write-audio"), "--write-audio does not go with --text-only"),
        (("synthetic", "--write-audio"), "--write-audio does not go with synthetic"),
        (("--check", "--write-audio"), "--write-audio does not go with --check alone"),
        (("transductive",), r"transductive needs a prepared fold. --fold-dir DIR"),
        (("transductive", "--fold-dir", ".", "--root", "."), "--root does not go with transductive"),
        (("tsv", "--fold-dir", "."), r"--fold-dir does not go with tsv \(only transductive\)"),
    ],
)
def test_usage_errors(tmp_path, arguments, message):
    with pytest.raises(EmofairError, match=message):
        emofair_prepare(*arguments, "--out", tmp_path / "out")


def test_the_help_says_what_a_stage_has_heard():
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    told = " ".join(parser.format_help().split())
    assert "has heard the test clips and is refused under --protocol clean" in told
