"""The demo, and the commands of the README on what it leaves behind, with few clips and few updates."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from emofair.testing.commands import code_blocks, linked_files, path_with_environment, run

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "robertaemo" / "demo.sh"

pytest.importorskip("espeakng_loader", reason="the extra 'demo' is not installed")


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[Path, str]:
    """A folder laid out as the checkout is after the demo, and what the demo printed."""
    home = tmp_path_factory.mktemp("demo")
    options = {"CLIPS": "150", "SCALE": "2", "PATH": path_with_environment()}
    printed = run("bash", DEMO, home / "demo_out", **options).stdout
    shutil.copytree(home / "demo_out" / "tokens" / "T_data", home / "T_data" / "example")
    return home, printed


def test_demo_leaves_a_validated_model_and_a_page(demo):
    home, printed = demo
    out = home / "demo_out"
    metrics = json.loads((out / "run" / "test" / "metrics.json").read_text())
    assert metrics["split"] == "test" and metrics["protocol"] == "clean"
    assert metrics["n"] == len((out / "corpus" / "test.tsv").read_text().splitlines()) - 1
    page = (out / "report.md").read_text()
    pictures = re.findall(r'<img src="([^"]+\.png)"', page)
    assert len(pictures) >= 2 and all((out / name).stat().st_size > 1000 for name in pictures)
    assert f"{100 * metrics['metrics']['accuracy']:.1f}" in page
    assert all(f"[{stage}/8]" in printed for stage in range(1, 9))


def test_demo_does_nothing_twice(demo):
    home, _ = demo
    again = run("bash", DEMO, home / "demo_out", CLIPS="150", SCALE="2", PATH=path_with_environment()).stdout
    assert again.count("done before") == 7


def test_pretrained_parts_saw_the_training_split_alone(demo):
    out = demo[0] / "demo_out"
    rows = len((out / "corpus" / "train.meta.tsv").read_text().splitlines()) - 1
    for name in ("text_lm", "speech_lm"):
        assert len((out / name / "train.txt").read_text().splitlines()) == rows
        assert not [split for split in ("valid", "test") if (out / name / f"{split}.txt").exists()]


def test_snakefile_trains_scores_and_reports_and_does_nothing_twice(demo):
    home, _ = demo
    flags = (ROOT / "examples" / "robertaemo" / "iemocap.flags").read_text().replace("--max-epoch 10", "--max-update 2")
    command = ["snakemake", "-s", DEMO.with_name("Snakefile"), "-c2", "--config", "systems=[speech,text]", "seeds=[1]"]
    command += ["out=results", f"train={flags}"]
    run(*command, cwd=home, PATH=path_with_environment())
    table = (home / "results" / "RESULTS.md").read_text()
    assert "robertaEMO, speech" in table and "robertaEMO, text" in table
    assert "learning curves of" in table and "no learning curves" not in table
    again = run(*command, cwd=home, PATH=path_with_environment()).stdout
    assert "Nothing to be done" in again


def test_readme_commands_run(demo):
    home, _ = demo
    tour = [
        block for block in code_blocks(ROOT / "README.md", "bash") if "demo_out" in block or block == "emofair doctor\n"
    ]
    assert len(tour) >= 3
    for block in tour:
        run("bash", "-euo", "pipefail", "-c", block, cwd=home, PATH=path_with_environment())
    assert (home / "demo_out" / "seed_run" / "checkpoint_best.pt").exists()


def test_readme_python_runs(demo):
    home, _ = demo
    clip = next((home / "demo_out" / "corpus" / "wav").glob("*.wav"))
    shutil.copy(clip, home / "clip.wav")
    (code,) = code_blocks(ROOT / "README.md", "python")
    printed = run("python", "-c", code, cwd=home).stdout
    assert re.search(r"(neutral|sad|angry|happy) \{'neutral': 0\.\d+", printed)


def test_readme_names_only_what_exists():
    for path in linked_files(ROOT / "README.md"):
        assert path.exists(), path


def test_readme_installs_as_the_makefile_does():
    """One recipe in two places: the versions must not drift apart."""
    readme, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
    for pin in ("torch==2.13.0", "hydra-core==1.3.2", "omegaconf==2.3.0", "fairseq-fixed==0.12.3.1"):
        assert pin in readme and pin in makefile
