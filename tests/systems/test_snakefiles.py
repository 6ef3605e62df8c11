"""What the Snakefiles share: a training goes on only from its own checkpoints, and settings that do not go together."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

import pytest

from emofair.testing.clips import tone_corpus
from emofair.testing.commands import path_with_environment, run
from emofair.testing.speech import tiny_speech_checkpoint

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FT_W2V2, FLEA = EXAMPLES / "ft_w2v2" / "Snakefile", EXAMPLES / "flea" / "Snakefile"
STAMP = "started_with.json"


@pytest.fixture
def fresh_run():
    """`prepare` of the script that the Snakefiles call before fairseq-hydra-train."""
    return runpy.run_path(str(EXAMPLES / "fresh_run.py"))["prepare"]


@pytest.fixture
def trained(tmp_path, fresh_run):
    """A folder that a training left behind, and the inputs that it was started with."""
    labels, before = tmp_path / "labels", tmp_path / "before"
    for file in (labels / "train.km", before / "checkpoint_last.pt", before / "trained", tmp_path / "preset.yaml"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(file.name)
    run_dir, inputs = tmp_path / "run", [tmp_path / "preset.yaml", labels, before / "trained"]
    assert fresh_run(run_dir, inputs, ["seed=1"]) == ""
    (run_dir / "test").mkdir()
    for file in ("checkpoint_last.pt", "checkpoint_best.pt", "train.log", "test/metrics.json"):
        (run_dir / file).write_text(file)
    return run_dir, inputs


def left(run_dir):
    return {path.name for path in run_dir.iterdir()}


ALL = {STAMP, "checkpoint_last.pt", "checkpoint_best.pt", "train.log", "test"}


def test_a_killed_training_is_kept_whatever_the_times_of_its_inputs(trained, fresh_run, tmp_path):
    run_dir, inputs = trained
    for name in ("preset.yaml", "labels/train.km", "before/checkpoint_last.pt"):
        file = tmp_path / name
        file.write_text(file.read_text())
        os.utime(file, (2e9, 2e9))
    assert fresh_run(run_dir, inputs, ["seed=1"]) == ""
    assert left(run_dir) == ALL


@pytest.mark.parametrize("changed", ["preset.yaml", "labels/train.km", "before/checkpoint_last.pt"])
def test_another_content_starts_anew_even_with_the_time_and_size_of_the_old(changed, trained, fresh_run, tmp_path):
    run_dir, inputs = trained
    file = tmp_path / changed
    was = file.stat()
    file.write_text(file.read_text()[::-1])
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    told = fresh_run(run_dir, inputs, ["seed=1"])
    assert "other inputs or options" in told and "checkpoint_last.pt" in told and "\n" not in told
    assert left(run_dir) == {STAMP}
    assert fresh_run(run_dir, inputs, ["seed=1"]) == ""


def test_other_options_and_other_inputs_start_anew(trained, fresh_run, tmp_path):
    run_dir, inputs = trained
    assert fresh_run(run_dir, inputs, ["seed=1", "lr=2"])
    assert left(run_dir) == {STAMP}
    (run_dir / "checkpoint_last.pt").touch()
    (tmp_path / "labels" / "valid.km").touch()
    assert fresh_run(run_dir, inputs, ["seed=1", "lr=2"])
    assert left(run_dir) == {STAMP}


def test_checkpoints_of_which_nothing_is_known_are_not_gone_on_with(trained, fresh_run):
    run_dir, inputs = trained
    (run_dir / STAMP).unlink()
    assert "not known" in fresh_run(run_dir, inputs, ["seed=1"])
    assert left(run_dir) == {STAMP}


def test_a_folder_that_was_moved_with_all_in_it_is_the_same(tmp_path, fresh_run, monkeypatch):
    for home in ("here", "there"):
        if home == "there":
            (tmp_path / "here").rename(tmp_path / "there")
        else:
            (tmp_path / home).mkdir()
            (tmp_path / home / "list").write_text("a")
        monkeypatch.chdir(tmp_path / home)
        at = Path.cwd()
        assert fresh_run(at / "run", [at / "list"], [f"task.data={at}/data"]) == ""
        (at / "run" / "checkpoint_last.pt").touch()
    assert (at / "run" / "checkpoint_last.pt").exists()


def snakemake(snakefile, *config, cwd, check=True, options=()):
    command = ["snakemake", "-s", snakefile, "-c1", *options, "--config", *config]
    return run(*command, cwd=cwd, check=check, PATH=path_with_environment()).stdout


def test_another_encoder_in_the_same_folder_is_trained_from_its_start(tmp_path):
    tone_corpus(tmp_path / "data" / "fold1", {"train": 8, "valid": 4})
    run_dir = tmp_path / "out" / "V-FT" / "fold1" / "seed1"
    short = "common.fp16=false dataset.num_workers=0 dataset.batch_size=8 optimization.max_update=1"

    def train(encoder):
        config = ["data=data/fold{fold}", "methods=[V-FT]", "folds=[1]", "seeds=[1]", "out=out", f"finetune={short}"]
        told = snakemake(FT_W2V2, *config, f"w2v2={encoder}", cwd=tmp_path, options=["--until", "finetune"])
        log = Path(f"{run_dir}.out").read_text()
        return "starts anew without checkpoint_best.pt" in told, "Loaded checkpoint" in log

    for seed in (1, 2):
        tiny_speech_checkpoint(tmp_path / f"encoder{seed}.pt", "wav2vec2", seed=seed)
    assert train("encoder1.pt") == (False, False)
    assert train("encoder2.pt") == (True, False)
    (run_dir / "trained").unlink()  # as after a kill
    assert train("encoder2.pt") == (False, True)


@pytest.mark.parametrize(
    ("config", "missing"),
    [(["w2v2=a.pt", "methods=[V-FT,P-TAPT]"], "w2v1="), (["w2v1=a.pt"], "w2v2=")],
)
def test_one_public_checkpoint_without_the_other_is_refused(config, missing, tmp_path):
    told = snakemake(FT_W2V2, *config, cwd=tmp_path, check=False, options=["-n"])
    assert re.search(rf"^.*{missing} \(wav2vec_\w+\.pt\) is missing", told, flags=re.MULTILINE), told
    assert "Job stats" not in told


def test_only_markers_of_stages_stand_for_checkpoints_beside_them(tmp_path):
    for name in ("model.ckpt", "folder/config.json", "data/fold1/train.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for start in ("folder", "model.ckpt"):
        config = ["data=data/fold{fold}", "methods=[V-FT,TAPT]", "folds=[1]", "seeds=[1]", f"w2v2={start}"]
        plan = snakemake(FT_W2V2, *config, cwd=tmp_path, options=["-n", "-p"])
        stages = tmp_path / "ft_w2v2_out" / "stages" / "fold1"
        starts = set(re.findall(r"(?:w2v_path|finetune_from_model)=(\S+)", plan))
        assert starts == {str(tmp_path / start), str(stages / "tapt" / "checkpoint_last.pt")}


def test_a_classifier_fits_in_front_of_the_tiny_pretraining_of_flea(tmp_path):
    """A converted classifier has a new projection of the published width; the presets say the same."""
    plan = snakemake(FLEA, "cpt_from=taft", "folds=[1]", "seeds=[1]", cwd=tmp_path, options=["-n", "-p"])
    assert "taft/checkpoint_best.pt --to fairseq --reset-labels 8" in plan
    assert plan.count("model.encoder_layers=2") == 3  # a stand-in, TAPT, CPT
    assert "final_dim" not in plan
