"""What stock self-supervised tasks are kept from, and what their checkpoints remember."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emofair.checkpoints import safe
from emofair.checkpoints.trained_on import trained_on
from emofair.cli.main import main
from emofair.data.manifests import Utterance, write_corpus
from emofair.errors import EmofairError
from emofair.testing.clips import tone_corpus
from emofair.testing.commands import logged, train_here
from emofair.testing.speech import (
    hubert_pretraining_arguments,
    tiny_speech_checkpoint,
    wav2vec2_pretraining_arguments,
    write_frame_labels,
)


@pytest.fixture
def corpus(tmp_path):
    return tone_corpus(tmp_path / "tones", {"train": 4, "valid": 3}, seconds=(1.0, 1.3))


@pytest.fixture
def wav2vec2(tmp_path):
    return tiny_speech_checkpoint(tmp_path / "wav2vec2.pt", "wav2vec2")


def convert(*words):
    assert main(["convert", *map(str, words)]) == 0


def test_what_was_heard_is_known_without_the_folder_and_from_elsewhere(corpus, wav2vec2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_here(wav2vec2_pretraining_arguments(Path("tones"), wav2vec2, Path("tapt")))
    expected = trained_on(tmp_path / "tapt" / "checkpoint_last.pt")
    assert len(expected["trained_ids"]) == 4 and expected["labelled_ids"] == []
    assert expected["selected_ids"] == []  # it did not validate
    shutil.rmtree(corpus)
    monkeypatch.chdir("/")
    assert trained_on(tmp_path / "tapt" / "checkpoint_last.pt") == expected
    convert(tmp_path / "tapt" / "checkpoint_last.pt", "--to", "hf", "--out", tmp_path / "hf")
    assert trained_on(tmp_path / "hf") == trained_on(tmp_path / "hf" / "model.safetensors") == expected
    convert(tmp_path / "hf", "--to", "fairseq", "--out", tmp_path / "again.pt")
    assert trained_on(tmp_path / "again.pt") == expected


def test_a_second_corpus_adds_to_what_was_heard(corpus, wav2vec2, tmp_path):
    train_here(wav2vec2_pretraining_arguments(corpus, wav2vec2, tmp_path / "first"))
    convert(tmp_path / "first" / "checkpoint_last.pt", "--to", "fairseq", "--out", tmp_path / "start.pt")
    other = tmp_path / "other"
    shutil.copytree(corpus, other)
    for split in ("train", "valid"):
        meta = other / f"{split}.meta.tsv"
        meta.write_text(meta.read_text().replace(f"{split}_00", f"other_{split}_00"))
    train_here(wav2vec2_pretraining_arguments(other, tmp_path / "start.pt", tmp_path / "second"))
    assert len(trained_on(tmp_path / "second" / "checkpoint_last.pt")["trained_ids"]) == 8


def test_wavlm_keeps_what_it_was_trained_on(tmp_path):
    path = tiny_speech_checkpoint(tmp_path / "wavlm.pt", "wavlm")
    stored = safe.load(path)
    facts = {"corpus": "c", "fold": "1", "trained_ids": ["0" * 16], "labelled_ids": [], "selected_ids": ["1" * 16]}
    torch.save(stored | {"task_state": facts}, path)
    convert(path, "--to", "fairseq", "--out", tmp_path / "again.pt")
    assert trained_on(tmp_path / "again.pt") == facts


def test_audio_of_another_normalisation_is_refused(corpus, tmp_path):
    large = tiny_speech_checkpoint(tmp_path / "large.pt", "wav2vec2", "large")
    with pytest.raises(EmofairError, match=r"large\.pt: was trained with normalisation.*Set task\.normalize=true"):
        train_here(wav2vec2_pretraining_arguments(corpus, large, tmp_path / "run"))
    train_here([*wav2vec2_pretraining_arguments(corpus, large, tmp_path / "run"), "--normalize"])


@pytest.mark.parametrize("task", ["wav2vec2", "hubert"])
def test_clips_cut_from_longer_recordings_are_refused(task, corpus, tmp_path):
    files = sorted((corpus / "wav").glob("train_*.wav"))
    items = [
        Utterance(f"c{i}", str(path), n_samples=8000, start=0.25, end=0.75, label="sad") for i, path in enumerate(files)
    ]
    write_corpus(tmp_path / "cut", {"train": items, "valid": items[:2]}, root="/", name="cut", allow_overlap=True)
    start = tiny_speech_checkpoint(tmp_path / "first.pt", task)
    if task == "hubert":
        write_frame_labels(tmp_path / "cut")
    arguments = {"wav2vec2": wav2vec2_pretraining_arguments, "hubert": hubert_pretraining_arguments}[task]
    with pytest.raises(EmofairError, match=r"c0 is cut from a longer recording.*--write-audio"):
        train_here(arguments(tmp_path / "cut", start, tmp_path / "run"))


@pytest.mark.parametrize(
    "rate, seconds, told",
    [
        (48000, 1, r"is at 48000 Hz.*--write-audio"),
        (16000, 0.5, r"\w+ has 8000 samples, the manifest says \d+\. Prepare"),
    ],
)
def test_audio_that_is_not_the_lists_is_refused(rate, seconds, told, corpus, wav2vec2, tmp_path):
    wav = sorted((corpus / "wav").glob("train_*.wav"))[0]
    soundfile.write(wav, np.zeros(round(rate * seconds)), rate)
    with pytest.raises(EmofairError, match=rf"{wav.name}: {told}"):
        train_here(wav2vec2_pretraining_arguments(corpus, wav2vec2, tmp_path / "run"))


@pytest.mark.parametrize("task, split", [("wav2vec2", "train"), ("hubert", "valid")])
def test_samples_that_are_none_are_refused_in_validation_too(task, split, corpus, tmp_path):
    wav = sorted((corpus / "wav").glob(f"{split}_*.wav"))[0]
    samples, _ = soundfile.read(wav, dtype="float32")
    samples[5] = np.nan
    soundfile.write(wav, samples, 16000, subtype="FLOAT")
    start = tiny_speech_checkpoint(tmp_path / "first.pt", task)
    arguments = wav2vec2_pretraining_arguments
    if task == "hubert":
        write_frame_labels(corpus)
        convert(start, "--to", "fairseq", "--reset-labels", 9, "--out", tmp_path / "start.pt")
        start, arguments = tmp_path / "start.pt", hubert_pretraining_arguments
    with pytest.raises(EmofairError, match=rf"{wav.name}: samples are NaN or infinite\. Re-export"):
        train_here(arguments(corpus, start, tmp_path / "run"))


def test_missing_and_damaged_dictionaries_and_a_missing_start_are_told(corpus, tmp_path):
    start = tiny_speech_checkpoint(tmp_path / "start.pt", "hubert")
    arguments = hubert_pretraining_arguments(corpus, start, tmp_path / "run")
    start.unlink()
    with pytest.raises(EmofairError, match=r"dict\.km\.txt: no such dictionary of labels\. Name what emofair units"):
        train_here(arguments)
    write_frame_labels(corpus)
    with pytest.raises(EmofairError, match=r"start\.pt: no such checkpoint\. Correct --finetune-from-model"):
        train_here(arguments)
    (corpus / "dict.km.txt").write_text("0 1\nnothing\n")
    with pytest.raises(EmofairError, match=r"dict\.km\.txt: is no dictionary of labels \("):
        train_here(arguments)


def test_a_training_goes_on_without_the_checkpoint_that_it_started_from(corpus, wav2vec2, tmp_path):
    arguments = wav2vec2_pretraining_arguments(corpus, wav2vec2, tmp_path / "run")
    train_here(arguments)
    wav2vec2.unlink()
    arguments[arguments.index("--max-update") + 1] = 2
    train_here(arguments)
    assert safe.load(tmp_path / "run" / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 2


def test_a_folder_that_cannot_be_written_to_is_told(corpus, wav2vec2, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(EmofairError, match=r"run: nothing can be written there.*--save-dir"):
        train_here(wav2vec2_pretraining_arguments(corpus, wav2vec2, tmp_path / "run"))


def test_every_validation_masks_and_crops_alike(corpus, tmp_path):
    write_frame_labels(corpus)
    tiny_speech_checkpoint(tmp_path / "first.pt", "hubert")
    convert(tmp_path / "first.pt", "--to", "fairseq", "--reset-labels", 9, "--out", tmp_path / "start.pt")
    arguments = hubert_pretraining_arguments(corpus, tmp_path / "start.pt", tmp_path / "run")
    arguments[arguments.index("--lr") + 1] = 0
    arguments[arguments.index("--max-update") + 1] = 6
    losses = [row["valid_loss"] for row in logged(train_here([*arguments, "--log-format", "json"]), "valid")]
    assert len(losses) == 3 and len(set(losses)) == 1
