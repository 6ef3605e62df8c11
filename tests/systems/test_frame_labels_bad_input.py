"""Frame labels that do not belong to the clips, or to the model, that stock HuBERT pre-training is given."""

from __future__ import annotations

import json
import re

import pytest

from emofair.cli.main import main
from emofair.data import manifests
from emofair.errors import EmofairError
from emofair.testing.clips import tone_corpus
from emofair.testing.commands import run, train_here
from emofair.testing.speech import hubert_pretraining_arguments, tiny_speech_checkpoint, write_frame_labels
from emofair.units.feature_store import list_hash


@pytest.fixture
def corpus(tmp_path):
    folder = tone_corpus(tmp_path / "tones", {"train": 4, "valid": 2}, seconds=(1.0, 1.2))
    write_frame_labels(folder)
    return folder


@pytest.fixture
def start(tmp_path):
    tiny_speech_checkpoint(tmp_path / "first.pt", "hubert")
    path = tmp_path / "start.pt"
    assert (
        main(["convert", str(tmp_path / "first.pt"), "--to", "fairseq", "--reset-labels", "9", "--out", str(path)]) == 0
    )
    return path


def rewrite(path, change):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[:-1], r"train\.km: has labels of 3 clips, the list train\.tsv has 4"),
        (
            lambda rows: [rows[0], rows[1][:40], *rows[2:]],
            r"km:2: 20 labels for \S+\.wav, which has \d+ frames",
        ),
        (
            lambda rows: [f"{rows[0]} 0 0 0 0", *rows[1:]],
            r"km:1: \d+ labels for .* frames at 50 a second",
        ),
        (lambda rows: [*rows[:-1], rows[-1].replace("8", "9")], r"km:4: label 9 is not one of the 9 of dict\.km\.txt"),
    ],
    ids=["another list", "too few", "too many", "another k-means"],
)
def test_labels_of_other_clips_or_clusters(change, told, corpus, start, tmp_path):
    rewrite(corpus / "train.km", change)
    with pytest.raises(EmofairError) as error:
        train_here(hubert_pretraining_arguments(corpus, start, tmp_path / "run"))
    assert re.search(told, str(error.value)), str(error.value)


def test_a_missing_label_file(corpus, start, tmp_path):
    (corpus / "valid.km").unlink()
    with pytest.raises(EmofairError, match=r"valid\.km: cannot be read \(No such file"):
        train_here(hubert_pretraining_arguments(corpus, start, tmp_path / "run"))


def record(corpus, split, sha256, clips):
    facts = {"kmeans_sha256": sha256, "features": {"list_sha256": list_hash(clips)}}
    (corpus / f"{split}.km.json").write_text(json.dumps(facts))


def test_records_tell_labels_of_different_k_means_and_of_other_clips_of_the_same_lengths(corpus, start, tmp_path):
    clips = {split: manifests.read_split(corpus, split) for split in ("train", "valid")}
    for split in clips:
        record(corpus, split, "1", clips[split])
    train_here(hubert_pretraining_arguments(corpus, start, tmp_path / "run"))
    record(corpus, "valid", "2", clips["valid"])
    with pytest.raises(EmofairError, match=r"labels of another k-means .*\((train|valid)\.km\.json\)"):
        train_here(hubert_pretraining_arguments(corpus, start, tmp_path / "other"))
    record(corpus, "valid", "1", clips["valid"])
    record(corpus, "train", "1", clips["train"][::-1])
    with pytest.raises(EmofairError, match=r"train\.km: the labels were made for another list of clips"):
        train_here(hubert_pretraining_arguments(corpus, start, tmp_path / "third"))


def test_a_table_of_other_labels_of_the_same_number_is_refused_in_one_line(corpus, tmp_path):
    learned = tiny_speech_checkpoint(tmp_path / "learned.pt", "hubert")
    write_frame_labels(corpus, k=3)  # as many as it has
    words = [str(word) for word in hubert_pretraining_arguments(corpus, learned, tmp_path / "run")]
    done = run("fairseq-train", *words, "--user-dir", "emofair", check=False)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    line = done.stdout.strip().splitlines()[-1]
    assert "learned.pt: has learned labels of its own" in line and "--reset-labels K" in line


def test_a_table_that_was_kept_or_is_of_another_number_is_refused(corpus, start, tmp_path):
    kept = tmp_path / "kept.pt"
    words = ["convert", tmp_path / "first.pt", "--to", "fairseq", "--heads", "--out", kept]
    assert main([str(word) for word in words]) == 0
    write_frame_labels(corpus, k=3)
    with pytest.raises(EmofairError, match=r"kept\.pt: has learned labels of its own"):
        train_here(hubert_pretraining_arguments(corpus, kept, tmp_path / "run"))
    with pytest.raises(EmofairError, match=r"start\.pt: expects 9 labels, and dict\.km\.txt has 3.*--reset-labels"):
        train_here(hubert_pretraining_arguments(corpus, start, tmp_path / "run"))


def test_a_training_goes_on_with_the_labels_that_it_began_with_alone(corpus, start, tmp_path):
    arguments = hubert_pretraining_arguments(corpus, start, tmp_path / "run")
    train_here(arguments)
    arguments[arguments.index("--max-update") + 1] = 2
    assert "Loaded checkpoint" in train_here(arguments)
    rewrite(corpus / "train.km", lambda rows: [rows[0].replace("8", "7"), *rows[1:]])
    arguments[arguments.index("--max-update") + 1] = 3
    with pytest.raises(
        EmofairError, match=r"checkpoint_last\.pt: has learned other labels than those in .*new save_dir"
    ):
        train_here(arguments)
