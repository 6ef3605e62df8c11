"""The floor of the examples reads every corpus that `emofair prepare` makes, and fails in one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emofair.cli.main import main

SCRIPT = Path(__file__).parents[2] / "examples" / "svm_floor.py"


def floor(folder, out):
    command = [sys.executable, str(SCRIPT), "--data", str(folder), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def tones(tmp_path):
    """A list of 24 clips out of one recording of 48 kHz with two channels; the pitch tells the label."""
    rows, parts = ["id\twav\tlabel\tsplit\tstart\tend"], []
    for n in range(24):
        pitch, label = ((200, "sad"), (1500, "hap"))[n % 2]
        seconds = np.arange(24000) / 48000
        parts.append(0.3 * np.sin(2 * np.pi * (pitch + 5 * n) * seconds))
        split = "train" if n < 16 else "test"
        rows.append(f"c{n}\tlong.wav\t{label}\t{split}\t{n / 2}\t{n / 2 + 0.5}")
    sound = np.concatenate(parts) + 0.001 * np.random.default_rng(0).standard_normal(24 * 24000)
    soundfile.write(tmp_path / "long.wav", np.stack([sound, sound], axis=1), 48000)
    (tmp_path / "items.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "items.tsv"


@pytest.mark.parametrize("option", ["--resample", "--write-audio"])
def test_clips_cut_from_a_recording_at_another_rate(tones, tmp_path, option):
    data, out = tmp_path / "data", tmp_path / "svm"
    assert main(["prepare", "tsv", "--list", str(tones), "--out", str(data), option]) == 0
    done = floor(data, out)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "metrics.json").read_text())["metrics"]["uar"] == 1.0


def test_what_is_wrong_is_told_in_one_line(tmp_path):
    done = floor(tmp_path / "nowhere", tmp_path / "svm")
    assert done.returncode != 0 and "no split 'train' in this folder" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
