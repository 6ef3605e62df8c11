"""`emofair clusters`, from the labels that `emofair units` writes."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from emofair.cli.main import main
from emofair.data.manifests import read_split
from emofair.reports.cluster_page import order
from emofair.testing.clips import tone_corpus
from emofair.units.cluster_report import describe
from emofair.units.silence import silent_frames


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tone_corpus(tmp_path_factory.mktemp("tones"), {"train": 12, "test": 6}, seconds=(0.3, 0.6))


@pytest.fixture(scope="module")
def labelled(corpus, tmp_path_factory):
    """Labels of both splits by two k-means of other seeds."""
    folder = tmp_path_factory.mktemp("units")
    for split in ("train", "test"):
        made = ["--features", "mfcc", "--manifest", str(corpus), "--split", split, "--out", str(folder / "mfcc")]
        assert main(["features", *made]) == 0
    for seed in (1, 2):
        km, out = folder / f"km-{seed}", folder / f"units-{seed}"
        fit = ["--features", str(folder / "mfcc"), "--split", "train", "-k", "6", "--seed", str(seed), "--out", str(km)]
        assert main(["kmeans", *fit]) == 0
        for split in ("train", "test"):
            label = ["--features", str(folder / "mfcc"), "--split", split, "--kmeans", str(km / "km6.npz")]
            assert main(["units", *label, "--out", str(out)]) == 0
    return folder


def read(path):
    return [np.array(line.split(), dtype=int) for line in path.read_text().splitlines()]


def test_page_pictures_and_every_figure(corpus, labelled, tmp_path, capsys):
    out = tmp_path / "clusters.md"
    files = [str(labelled / "units-1" / f"{split}.km6") for split in ("train", "test")]
    others = ["--others", str(labelled / "units-2" / "train.km6")]
    assert main(["clusters", *files, "--manifest", str(corpus), "--out", str(out), *others, "--html"]) == 0
    told = capsys.readouterr().out
    assert "train: " in told and "test: " in told and "NMI with emotion" in told and "with speaker" in told
    record = json.loads((tmp_path / "clusters.json").read_text())
    for split, found in zip(("train", "test"), record["splits"], strict=True):
        items = read_split(corpus, split)
        expected = describe(read(labelled / "units-1" / f"{split}.km6"), items, 6, split, ["angry", "neutral", "sad"])
        assert found == json.loads(json.dumps(expected.as_json()))
        assert found["frames"] == sum(found["counts"]) == np.sum(found["frames_by_emotion"])
    # Tones of three pitches: their clusters are the classes, and no speaker's.
    summary = record["splits"][0]
    assert summary["purity_emotion"] > summary["majority_emotion"] + 0.3
    ((first, second, index),) = record["stability"]
    assert (first, second) == (files[0], others[1]) and 0.3 < index <= 1
    page = out.read_text()
    assert "| train | 12 |" in page and "| test | 6 |" in page and f"{index:.3f}" in page
    for name in ("clusters_emotions.png", "clusters_transitions.png"):
        assert name in page and (tmp_path / name).stat().st_size > 3000
    assert "data:image/png;base64" in out.with_suffix(".html").read_text()


def test_silence_is_counted_where_it_is_asked_for(corpus, labelled, tmp_path, capsys):
    labels = labelled / "units-1" / "train.km6"
    made = ["clusters", str(labels), "--manifest", str(corpus), "--out", str(tmp_path / "c.md")]
    assert main([*made, "--silence-db", "0.05"]) == 0
    (found,) = json.loads((tmp_path / "c.json").read_text())["splits"]
    items, units = read_split(corpus, "train"), read(labels)
    silent = [
        silent_frames(soundfile.read(u.path)[0], len(ids), 160, 0.05) for u, ids in zip(items, units, strict=True)
    ]
    expected = np.bincount(np.concatenate(units)[np.concatenate(silent)], minlength=6)
    assert found["silent_frames"] == expected.tolist() and 0 < found["silent"] < 0.9
    page = (tmp_path / "c.md").read_text()
    assert page.count("| silent |") == 2 and f" {found['silent']:.2f} |" in page
    assert main(made) == 0
    assert "silent" not in (tmp_path / "c.md").read_text()
    for level in ("0", "nan", "-3"):
        assert main([*made, "--silence-db", level]) == 2
        assert "Give --silence-db above 0, as 40" in capsys.readouterr().err
    bare = tmp_path / "train.km6"
    bare.write_bytes(labels.read_bytes())
    made[1] = str(bare)
    assert main([*made, "--silence-db", "40"]) == 2
    assert "train.km6: nothing says how many frames a second has" in capsys.readouterr().err


def test_clusters_are_ordered_by_emotion_dead_ones_last(corpus):
    items = read_split(corpus, "test")[:3]  # one clip of each class
    units = [np.array([4, 4]), np.array([0, 2, 2, 2]), np.array([1, 1, 2])]
    found = describe(units, items, 6, "test")
    assert [u.label for u in items] == ["angry", "neutral", "sad"]
    assert order(found).tolist() == [4, 0, 2, 1, 3, 5]


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        (["labels.txt"], [], "labels.txt: not the name of frame labels. Name files {split}.km{K} of emofair units."),
        (["train.km6", "test.km7"], [], "labels of several numbers of clusters"),
        (["train.km6"], ["--others", "test.km6"], "test.km6: labels of split test, not of train"),
        (["gone/train.km6"], [], "gone/train.km6: cannot be read (No such file or directory)"),
        (["train.km6"], ["--out", "page.txt"], "page.txt: the page is a Markdown file"),
        (["units-1/train.km6", "units-2/test.km6"], [], "the labels are of several k-means"),
        (["short/train.km6"], [], "short/train.km6: has labels of 1 clips, the list train.tsv has 12. Make the labels"),
        (["high/train.km6"], [], "high/train.km6:1: label 6 is not one of the 6 of km6"),
        (["cut/train.km6"], [], "cut/train.km6:3: 3 labels for train_002_sad.wav, which has "),
        (["swapped/train.km6"], [], "swapped/train.km6: the labels are not those that its record tells of"),
        (["renamed/train.km8"], [], "renamed/train.km8: the record beside it is of 6 clusters"),
        (["gone/train.km99999999999"], [], "train.km99999999999: 99999999999 clusters are not from 1 to 16384"),
        (["units-1/train.km6"], ["--others", "units-2/train.km6,"], "--others units-2/train.km6,: one of the names is"),
    ],
)
def test_bad_labels_are_told_in_one_line(labels, options, said, corpus, labelled, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(labelled)
    rows = (labelled / "units-1" / "train.km6").read_text().splitlines(keepends=True)
    damaged = {
        "short": ["0 1\n"],
        "high": ["6 1\n"] * 12,
        "cut": [*rows[:2], f"{rows[2][:5]}\n", *rows[3:]],
        "swapped": [rows[1], rows[0], *rows[2:]],
    }
    for name, text in damaged.items():
        (labelled / name).mkdir(exist_ok=True)
        (labelled / name / "train.km6").write_text("".join(text))
    shutil.copy(labelled / "units-1" / "train.km6.json", labelled / "swapped")
    (labelled / "renamed").mkdir(exist_ok=True)
    for ending in ("", ".json"):
        shutil.copy(labelled / "units-1" / f"train.km6{ending}", labelled / "renamed" / f"train.km8{ending}")
    out = options if "--out" in options else ["--out", str(tmp_path / "c.md"), *options]
    if labels == ["train.km6"] and "--others" in options:
        labels = ["units-1/train.km6"]
    assert main(["clusters", *labels, "--manifest", str(corpus), *out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_audio_of_another_length_is_no_silence(labelled, corpus, tmp_path, capsys):
    copy = shutil.copytree(corpus, tmp_path / "copy")
    (copy / "train.tsv").write_text((copy / "train.tsv").read_text().replace(str(corpus), str(copy)))
    clip = next(u for u in read_split(copy, "train") if u.n_samples % 2 == 0)
    soundfile.write(clip.path, np.zeros(1000), 16000)
    labels, out = str(labelled / "units-1" / "train.km6"), str(tmp_path / "c.md")
    made = ["clusters", labels, "--manifest", str(copy), "--out", out, "--silence-db", "40"]
    assert main(made) == 2
    assert f"has 1000 samples, the manifest says {clip.n_samples}. Prepare" in capsys.readouterr().err
    soundfile.write(clip.path, np.zeros(clip.n_samples // 2), 8000)
    assert main(made) == 2
    assert "the audio is at 8000 Hz, 16000 Hz is needed. ask for resampling (--resample" in capsys.readouterr().err
    assert main([*made, "--resample"]) == 0


def test_what_others_wrote_is_not_overwritten(labelled, corpus, tmp_path, capsys):
    made = ["clusters", str(labelled / "units-1" / "train.km6"), "--manifest", str(corpus)]
    made += ["--out", str(tmp_path / "metrics.md")]
    (tmp_path / "metrics.json").write_text('{"splits": 3}')
    assert main(made) == 2
    assert "metrics.json: would be overwritten, and is not what emofair clusters wrote" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    (tmp_path / "metrics.json").unlink()
    assert main(made) == main(made) == 0


def test_a_single_speaker_has_no_mutual_information(corpus, labelled, tmp_path, capsys):
    copy = shutil.copytree(corpus, tmp_path / "copy")
    meta = copy / "train.meta.tsv"
    meta.write_text(meta.read_text().replace("train1", "train0"))
    labels = str(labelled / "units-1" / "train.km6")
    assert main(["clusters", labels, "--manifest", str(copy), "--out", str(tmp_path / "c.md")]) == 0
    (found,) = json.loads((tmp_path / "c.json").read_text())["splits"]
    assert found["nmi_speaker"] is None and found["nmi_emotion"] > 0.3
    assert f"| {found['nmi_emotion']:.3f} | – |" in (tmp_path / "c.md").read_text()
    told = capsys.readouterr().out
    assert "NMI with emotion" in told and "with speaker" not in told


def test_fairseq_which_turns_on_everyones_debug_messages_is_not_needed(corpus, tmp_path):
    words = ["clusters", "gone/train.km6", "--manifest", str(corpus), "--out", str(tmp_path / "c.md")]
    code = f"import sys; from emofair.cli.main import main; main({words!r}); sys.exit('fairseq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_labels_of_another_list_are_refused(corpus, labelled, tmp_path, capsys):
    other = tone_corpus(tmp_path / "other", {"train": 12, "test": 6}, seconds=(0.3, 0.6), seed=1)
    labels = str(labelled / "units-1" / "train.km6")
    assert main(["clusters", labels, "--manifest", str(other), "--out", str(tmp_path / "c.md")]) == 2
    assert "the labels were made for another list of clips" in capsys.readouterr().err
