"""What a reader pastes from the page of FT-w2v2, and its Snakefile, on the example corpus."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from emofair.testing.commands import linked_files, paste, path_with_environment, planned, run

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "ft_w2v2"

pytest.importorskip("espeakng_loader", reason="the extra 'demo' is not installed")


@pytest.fixture(scope="module")
def pasted(tmp_path_factory):
    """A folder in which all blocks but those of Snakemake were run in one shell, with fewer clips and updates."""
    changes = {
        "--clips 300": "--clips 100",
        "--max-epoch 3": "--max-epoch 1",
        "--max-update 20": "--max-update 6",
        "optimization.max_update=20": "optimization.max_update=8",
    }
    return paste(EXAMPLE / "README.md", tmp_path_factory.mktemp("pasted"), changes)


def test_every_stage_of_the_page_runs(pasted):
    exp = pasted / "exp"
    for path in ("V-FT/run1/checkpoint_best.pt", "tapt/checkpoint_last.pt", "stage1/checkpoint_best.pt"):
        assert (exp / "fold1" / path).is_file(), path
    assert (exp / "fold1" / "units" / "all-clus.json").is_file()
    assert {path.name for path in (exp / "last1").glob("*.pt")} == {"checkpoint_last.pt"}
    assert json.loads((exp / "last1" / "test" / "metrics.json").read_text())["protocol"] == "clean"
    page = (exp / "RESULTS.md").read_text()
    assert "V-FT" in page and "P-TAPT" in page and "clean" in page
    assert (exp / "V-FT.log").read_text().startswith("+++ SUMMARY +++\n")
    metrics = json.loads((exp / "fold1" / "P-TAPT" / "run1" / "test" / "metrics.json").read_text())
    assert (metrics["fold"], metrics["name"], metrics["protocol"]) == ("1", "P-TAPT", "clean")


def test_the_floor_stands_beside_the_systems(pasted):
    out = "exp/fold1/svm/test"
    run("python", ROOT / "examples" / "svm_floor.py", "--data", "data/toy/fold1", "--out", out, cwd=pasted)
    floor, other = (
        json.loads((pasted / "exp" / "fold1" / name / "test" / "metrics.json").read_text())
        for name in ("svm", "V-FT/run1")
    )
    same = ("n", "split", "target", "classes", "fold", "data_sha256", "majority", "majority_guess", "protocol")
    assert {name: floor[name] for name in same} == {name: other[name] for name in same}
    assert floor["metrics"].keys() <= other["metrics"].keys()
    assert floor["metrics"]["uar"] > 0.3  # a quarter is chance
    told = ["exp/fold1/svm", "exp/fold1/V-FT", "--out", "floor.md", "--group-by", "name", "--compare", floor["name"]]
    run("emofair", "report", *told, cwd=pasted)
    assert "SVM on MFCC statistics" in (pasted / "floor.md").read_text()


def test_snakefile_goes_from_public_checkpoints_to_the_report_and_does_nothing_twice(pasted):
    shape = shlex.join((pasted / "exp" / "wav2vec2_tiny.overrides").read_text().split())
    short = "common.fp16=false dataset.num_workers=0 dataset.batch_size=16 "
    command = ["snakemake", "-s", EXAMPLE / "Snakefile", "-c2", "--config", "data=data/toy/fold{fold}"]
    command += ["methods=[V-FT,TAPT]", "folds=[1]", "seeds=[1]", "w2v2=exp/wav2vec2_tiny.pt", "out=out"]
    command += [f"tapt={short} {shape} optimization.max_update=8 lr_scheduler.warmup_updates=2"]
    command += [f"finetune={short} optimization.max_epoch=1"]
    run(*command, cwd=pasted, PATH=path_with_environment())
    assert re.search(r"\| *TAPT *\| *clean", (pasted / "out" / "RESULTS.md").read_text())
    for method in ("V-FT", "TAPT"):
        log = (pasted / "out" / f"{method}.log").read_text().splitlines()
        assert (log[0], len(log)) == ("+++ SUMMARY +++", 21)
    again = run(*command, cwd=pasted, PATH=path_with_environment()).stdout
    assert "Nothing to be done" in again


def test_all_methods_folds_and_seeds_are_planned(tmp_path):
    assert planned(EXAMPLE / "Snakefile", tmp_path) == {
        "prepare": 1,
        "report": 1,
        "finetune": 12,
        "evaluate": 12,
        "total": 38,
        "stand_in_for_wav2vec2": 2,
        "stand_in_for_wav2vec": 2,
        "tapt": 2,
        "frame_classifier": 2,
        "cluster": 2,
        "masked_prediction": 2,
    }


def test_page_names_only_what_exists():
    for path in linked_files(EXAMPLE / "README.md"):
        assert path.exists(), path
