"""`emofair evaluate`, `predict` and `timeline` of a waveform model: the same answers, and the same refusals."""

import csv
import json

import numpy as np
import pytest
import soundfile
import torch

from emofair.checkpoints import safe
from emofair.cli.main import main
from emofair.data.manifests import Utterance, write_corpus
from emofair.testing.clips import tone_corpus
from emofair.testing.commands import train_here


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    corpus = tone_corpus(folder / "corpus", {"train": 6, "valid": 3, "test": 3}, seconds=(0.4, 0.9))
    train_here(
        [
            *("--data", corpus, "--task", "speech_emotion", "--arch", "speech_emotion_tiny", "--pooling", "attention"),
            *("--criterion", "emotion_classification", "--optimizer", "adam", "--lr", "1e-3", "--batch-size", 6),
            *("--attention-init", "xavier", "--max-epoch", 1, "--cpu", "--num-workers", 0, "--log-format", "none"),
            *("--no-epoch-checkpoints", "--no-last-checkpoints", "--save-dir", folder),
        ]
    )
    return folder


def emofair(verb, home, *words, checkpoint=None):
    checkpoint = home / "checkpoint_best.pt" if checkpoint is None else checkpoint
    return main([*map(str, (verb, "--checkpoint", checkpoint, *words))])


def one_line(capsys):
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    "options",
    [{"eval_max_seconds": 0.3}, {"eval_window_seconds": 0.2, "eval_hop_seconds": 0.05}],
    ids=["beginning", "windows"],
)
def test_what_evaluation_is_stored_is_the_default(home, tmp_path, capsys, options):
    stored = safe.load(home / "checkpoint_best.pt")
    stored["cfg"]["task"].update(options)
    torch.save(stored, checkpoint := tmp_path / "stored.pt")
    assert emofair("evaluate", home, "--data", home / "corpus", "--out", tmp_path, checkpoint=checkpoint) == 0
    with open(tmp_path / "predictions.tsv", encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file, delimiter="\t")}
    capsys.readouterr()
    words = ("--manifest", home / "corpus", "--format", "jsonl")
    assert emofair("predict", home, *words, checkpoint=checkpoint) == 0
    for record in map(json.loads, capsys.readouterr().out.splitlines()):
        evaluated = {name: float(rows[record["input"]][f"p_{name}"]) for name in record["scores"]}
        assert record["scores"] == pytest.approx(evaluated, abs=2e-6)
    wav = home / "corpus" / "wav" / f"{record['input']}.wav"
    words = (wav, "--out", tmp_path, "--formats", "json")
    assert emofair("timeline", home, *words, checkpoint=checkpoint) == 0
    told = json.loads((tmp_path / f"{record['input']}.timeline.json").read_text(encoding="utf-8"))
    assert [told["window_seconds"], told["hop_seconds"], told["judged_seconds"]] == [
        *map(options.get, ("eval_window_seconds", "eval_hop_seconds", "eval_max_seconds"))
    ]
    assert ("judge the first 0.3 s alone" in capsys.readouterr().err) == ("eval_max_seconds" in options)
    if "eval_window_seconds" in options:
        assert told["probabilities"] == pytest.approx(evaluated, abs=2e-6)


@pytest.fixture
def clips(tmp_path):
    """A corpus of two clips in which nothing can be heard, and one in which something can."""
    waves = {"short": np.full(100, 0.1), "silent": np.zeros(8000), "tone": np.sin(np.arange(8000) / 5)}
    for name, wav in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", wav, 16000)
    items = [Utterance(name, f"{name}.wav", len(wav), label="sad") for name, wav in waves.items()]
    write_corpus(tmp_path, {"test": items}, root=tmp_path, name="clips")
    return tmp_path


@pytest.mark.parametrize("more", [(), ("--window-seconds", 0.1)])
def test_clips_in_which_nothing_can_be_heard(home, clips, capsys, caplog, more):
    assert emofair("evaluate", home, "--data", clips, *more) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 3
    assert "2 clips of test are silent or shorter than a frame, and count: short, silent" in caplog.text
    for inputs in (["--manifest", clips], [clips]):
        assert emofair("predict", home, *inputs, *more, "--format", "csv") == 1
        shown = capsys.readouterr()
        assert len(shown.out.splitlines()) == 2 and "tone" in shown.out
        assert "silent" in shown.err and "short" in shown.err and "2 of 3 inputs could not be predicted" in shown.err


@pytest.mark.parametrize("seconds", ["0.001", "nan", "inf"])
@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_windows_without_two_frames_are_refused(home, capsys, verb, seconds):
    source = "--data" if verb == "evaluate" else "--manifest"
    assert emofair(verb, home, source, home / "corpus", "--window-seconds", seconds) == 2
    told = one_line(capsys)
    assert f"windows of {float(seconds)} s hold less than two frames. Give 0.045 or more." in told


def test_a_number_of_processes_below_none_is_refused(home, capsys):
    assert emofair("evaluate", home, "--data", home / "corpus", "--num-workers", -1) == 2
    assert "--num-workers -1 is no number of processes. Give 0 or more." in one_line(capsys)


@pytest.mark.parametrize(("rate", "told"), [(16000, "4000 samples, the manifest says"), (48000, "48000 Hz")])
def test_a_manifest_is_read_as_for_evaluate(home, clips, capsys, rate, told):
    soundfile.write(clips / "tone.wav", np.sin(np.arange(4000) / 5), rate)
    assert emofair("evaluate", home, "--data", clips) == 2
    assert told in one_line(capsys)
    assert emofair("predict", home, "--manifest", clips) == 1
    assert told in capsys.readouterr().err


def test_files_that_are_resampled_are_noted(home, tmp_path, capsys):
    files = [tmp_path / f"{name}.wav" for name in "ab"]
    for file in files:
        soundfile.write(file, np.sin(np.arange(22050) / 5), 44100)
    assert emofair("predict", home, files[0]) == 0
    assert one_line(capsys) == f"emofair: note: {files[0]}: resampled from 44100 to 16000 Hz"
    assert emofair("predict", home, tmp_path) == 0
    assert one_line(capsys) == f"emofair: note: {files[0]} and 1 more: resampled from 44100 to 16000 Hz"
