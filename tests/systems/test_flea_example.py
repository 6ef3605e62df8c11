"""What a reader pastes from the page of FLEA, and its Snakefile, on the example corpus."""

from __future__ import annotations

import json
import re
import shlex
from functools import partial
from pathlib import Path

import pytest
import torch

from emofair.checkpoints.trained_on import trained_on
from emofair.cli.main import main
from emofair.data.leak_check import hash_id
from emofair.data.manifests import read_split
from emofair.testing.commands import linked_files, paste, path_with_environment, planned, run

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "flea"

pytest.importorskip("espeakng_loader", reason="the extra 'demo' is not installed")


HIDE = """
mkdir held_out
for clip in $(tail -n +2 data/toy/fold1/test.tsv | cut -f 1); do mv data/toy/wav/$(basename $clip) held_out; done
export FOLD=data/toy/fold1"""
BRING_BACK = """
ls held_out > held_out.txt
mv held_out/* data/toy/wav
emofair evaluate --checkpoint"""


CPT_START = "emofair convert $HUBERT --to fairseq --reset-labels $K --out $EXP/cpt_start.pt"
CPT_END = "checkpoint.save_dir=$PWD/$EXP/cpt $SHORT"


@pytest.fixture(scope="module")
def pasted(tmp_path_factory):
    """A folder in which all blocks but those of Snakemake were run in one shell, with fewer clips and updates.

    The files of the test clips are away until evaluation: a stage before it that opens one ends the shell. CPT is
    stopped half-way and started again.
    """
    changes = {
        "export FOLD=data/toy/fold1": HIDE,
        "emofair evaluate --checkpoint": BRING_BACK,
        CPT_START: f"{CPT_START}\nfor updates in 3 6; do",
        CPT_END: f"{CPT_END} optimization.max_update=$updates > $EXP/cpt_$updates.out 2>&1; done",
        "--clips 300": "--clips 100",
        "optimization.max_epoch=3": "optimization.max_epoch=1",
        "optimization.max_update=20": "optimization.max_update=6",
    }
    return paste(EXAMPLE / "README.md", tmp_path_factory.mktemp("pasted"), changes)


def test_every_stage_of_the_page_runs(pasted):
    exp = pasted / "exp" / "flea1"
    for path in ("tapt/checkpoint_best.pt", "taft/checkpoint_best.pt", "states.md", "cpt/checkpoint_best.pt"):
        assert (exp / path).is_file(), path
    metrics = json.loads((exp / "FLEA" / "run1" / "test" / "metrics.json").read_text())
    assert (metrics["fold"], metrics["name"], metrics["protocol"]) == ("1", "FLEA", "clean")
    assert metrics["encoder"].startswith("hubert") and metrics["pooling"] == "attention"
    assert "FLEA" in (exp / "RESULTS.md").read_text()
    assert len(list((exp / "timelines").iterdir())) == 4


def test_a_stopped_cpt_goes_on(pasted):
    first, second = ((pasted / "exp" / "flea1" / f"cpt_{updates}.out").read_text() for updates in (3, 6))
    loaded = r"Loaded checkpoint (\S+) \(epoch \d+ @ (\d+) updates\)"
    assert [Path(path).name for path, _ in re.findall(loaded, first)] == ["cpt_start.pt"]
    assert [(Path(path).name, n) for path, n in re.findall(loaded, second)] == [("checkpoint_last.pt", "3")]
    stored = torch.load(pasted / "exp" / "flea1" / "cpt" / "checkpoint_last.pt", weights_only=False)
    assert stored["optimizer_history"][-1]["num_updates"] == 6


def test_no_stage_before_evaluation_opens_a_held_out_clip(pasted):
    away = (pasted / "held_out.txt").read_text().split()
    tested = [Path(item.path).name for item in read_split(pasted / "data" / "toy" / "fold1", "test")]
    assert len(tested) > 5 and away == sorted(tested)


def test_no_stage_has_seen_the_held_out_clips(pasted):
    fold, exp = pasted / "data" / "toy" / "fold1", pasted / "exp" / "flea1"
    train, valid = (sorted(hash_id(item.id) for item in read_split(fold, split)) for split in ("train", "valid"))
    for stage, with_labels in (("tapt", False), ("taft", True), ("cpt", True), ("FLEA/run1", True)):
        facts = trained_on(exp / stage / "checkpoint_best.pt")
        assert (facts["trained_ids"], facts["selected_ids"]) == (train, valid), stage
        labelled = (facts["labelled_ids"], facts["labelled_selected_ids"])
        assert labelled == ((train, valid) if with_labels else ([], [])), stage


def test_a_score_on_what_chose_the_epoch_is_refused(pasted, capsys):
    checkpoint, data = pasted / "exp" / "flea1" / "FLEA" / "run1" / "checkpoint_best.pt", pasted / "data" / "toy"
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--data", str(data / "fold2"), "--split", "test"]) == 2
    assert "chosen in fold 1 by" in capsys.readouterr().err


def test_snakefile_goes_from_a_public_checkpoint_to_the_report(pasted):
    shape = shlex.join((pasted / "exp" / "hubert_tiny.overrides").read_text().split())
    short = "common.fp16=false dataset.num_workers=0"
    command = ["snakemake", "-s", EXAMPLE / "Snakefile", "-c2", "--config", "data=data/toy/fold{fold}", "out=out"]
    command += ["systems=[FLEA]", "folds=[1]", "seeds=[1]", "hubert=exp/hubert_tiny.pt"]
    command += ["km=exp/hubert_tiny_L3_km16.bin", "layer=3", "tapt_clusters=16", "clusters=8"]
    command += ["protocol=transductive", "cpt_from=tapt", "pooling=mean"]
    command += [f"pretrain={short} {shape} dataset.max_tokens=400000 optimization.max_update=4"]
    command += [f"finetune={short} dataset.batch_size=16 optimization.max_epoch=1"]
    run(*command, cwd=pasted, PATH=path_with_environment())
    assert re.search(r"\| *FLEA *\| *transductive", (pasted / "out" / "RESULTS.md").read_text())
    metrics = json.loads((pasted / "out" / "FLEA" / "fold1" / "seed1" / "test" / "metrics.json").read_text())
    assert (metrics["pooling"], metrics["protocol"]) == ("mean", "transductive")
    states = json.loads((pasted / "out" / "stages" / "fold1" / "states" / "clusters.json").read_text())
    assert len(states["stability"]) == 3  # of three seeds, each with each
    tested = {hash_id(item.id) for item in read_split(pasted / "data" / "toy" / "fold1", "test")}
    heard = trained_on(pasted / "out" / "stages" / "fold1" / "cpt" / "checkpoint_best.pt")
    assert tested <= set(heard["trained_ids"]) and not tested & set(heard["labelled_ids"])


def test_all_systems_folds_and_seeds_are_planned(tmp_path):
    plan = partial(planned, EXAMPLE / "Snakefile", tmp_path)
    jobs = {
        "prepare": 1,
        "mfcc_labels": 2,
        "stand_in_for_hubert": 2,
        "tapt_labels": 2,
        "new_labels": 4,
        "pretrain": 4,
        "taft": 2,
        "states": 2,
        "clusters": 2,
        "finetune": 12,
        "evaluate": 12,
        "report": 1,
        "total": 46,
    }
    assert plan() == jobs
    assert plan("protocol=transductive") == {**jobs, "whole_corpus": 2, "total": 48}
    without = plan("systems=[plain,FLEA]", "tapt=false")
    assert (without["pretrain"], without["new_labels"], without["finetune"]) == (2, 2, 8)
    assert "tapt_labels" not in without
    assert plan("cpt_from=taft") == jobs


def test_page_names_only_what_exists():
    for path in linked_files(EXAMPLE / "README.md"):
        assert path.exists(), path
