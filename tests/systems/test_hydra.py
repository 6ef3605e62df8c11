"""fairseq-hydra-train: the presets, hydra's changed working directory, several jobs in one process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import emofair
from emofair.checkpoints import safe
from emofair.errors import EmofairError
from emofair.testing.checkpoints import differences
from emofair.testing.commands import run, train_here
from emofair.testing.presets import from_flags, from_preset, options_of, plain

CONFIG = Path(emofair.__file__).parent / "config" / "robertaemo"
PRESETS = sorted(path.stem for path in CONFIG.glob("*.yaml"))

COMMON = [
    *("--user-dir", "emofair", "--task", "emotion_prediction", "--arch", "robertaEMO"),
    *("--criterion", "emotion_prediction_cri", "--optimizer", "adam", "--lr-scheduler", "polynomial_decay"),
    *("--adam-betas", "(0.9, 0.98)", "--adam-eps", "1e-06", "--weight-decay", "0.1", "--clip-norm", "0.0"),
    *("--init-token", "0", "--separator-token", "2", "--a-only", "--t-only", "--encoder-layers-cross", "1"),
    *("--dropout", "0.1", "--attention-dropout", "0.1", "--pooler-dropout", "0.1", "--best-checkpoint-metric", "loss"),
    *("--no-epoch-checkpoints", "--find-unused-parameters", "--ddp-backend", "legacy_ddp", "--log-interval", "1"),
    *("--required-batch-size-multiple", "1"),
]
PUBLISHED = [*COMMON, "--lr", "1e-05", "--batch-size", "1", "--update-freq", "8"]
SENTIMENT = ["--regression-target-mos", "--num-classes", "1"]


def schedule(epochs, updates, warmup, heads):
    return [
        *("--max-epoch", str(epochs), "--total-num-update", str(updates), "--warmup-updates", str(warmup)),
        *("--encoder-attention-heads", str(heads)),
    ]


FLAGS = {
    "iemocap": [*PUBLISHED, *schedule(10, 2760, 165, 2), "--binary-target-iemocap", "--num-classes", "8"],
    "mosi": [*PUBLISHED, *schedule(10, 810, 50, 2), *SENTIMENT],
    "mosei": [*PUBLISHED, *schedule(11, 11000, 600, 4), *SENTIMENT, "--stack-up"],
    "meld": [*PUBLISHED, *schedule(10, 6230, 370, 2), "--softmax-target-meld", "--num-classes", "7"],
    "debug": [
        *(*COMMON, "--lr", "1e-03", "--batch-size", "4", "--update-freq", "1", *schedule(3, 60, 4, 2)),
        *("--binary-target-iemocap", "--ssl-random", "tiny", "--cpu", "--distributed-world-size", "1"),
    ],
}


def test_each_published_corpus_and_a_quick_try_have_a_preset():
    assert set(PRESETS) == set(FLAGS) == {"iemocap", "mosi", "mosei", "meld", "debug"}


@pytest.mark.parametrize("preset", FLAGS)
def test_preset_resolves_to_the_configuration_of_the_equivalent_flags(preset):
    assert plain(from_preset(CONFIG, preset)) == plain(from_flags(FLAGS[preset]))


def test_override_resolves_like_its_flag():
    overrides = ("task.data=x", "common.seed=7", "task.eval_metric=true", "model.stack_up=true", "model.dropout=0.3")
    more = ("--data", "x", "--seed", "7", "--eval-metric", "--stack-up", "--dropout", "0.3")
    ours, theirs = from_preset(CONFIG, "iemocap", *overrides), from_flags([*FLAGS["iemocap"], *more])
    # Whether a seed was typed is only known for flags, and only used by fairseq-generate.
    ours.generation.no_seed_provided = theirs.generation.no_seed_provided
    assert plain(ours) == plain(theirs)
    assert (theirs.task.seed, theirs.criterion.eval_metric) == (7, True)


@pytest.mark.parametrize("preset", FLAGS)
def test_preset_lists_every_option_so_that_none_needs_a_plus(preset):
    listed = OmegaConf.load(CONFIG / f"{preset}.yaml")
    for group in ("task", "model", "criterion", "optimizer", "lr_scheduler"):
        assert set(listed[group]) | {"_name"} == options_of(group, listed[group]._name), group


def test_fp16_on_a_cpu_is_refused_here_too():
    from fairseq import tasks

    cfg = from_preset(CONFIG, "debug", "common.fp16=true")
    with pytest.raises(EmofairError, match="--fp16 needs a GPU"):
        tasks.setup_task(cfg.task)


def test_an_error_of_a_job_is_one_line(capfd):
    emofair.register()
    from hydra._internal.utils import run_and_report

    def run_job():
        check_folder()

    def check_folder():
        raise EmofairError("no such folder", file="here", remedy="Make it")

    with pytest.raises(SystemExit) as stopped:
        run_and_report(run_job)
    said = capfd.readouterr().err
    assert stopped.value.code == 1
    assert said.startswith("emofair: error: here: no such folder. Make it.\n")
    assert "Traceback" not in said


def test_other_errors_of_a_job_keep_their_traceback(capfd):
    emofair.register()
    from hydra._internal.utils import run_and_report

    def run_job():
        divide(0)

    def divide(number):
        return 1 / number

    with pytest.raises(SystemExit):
        run_and_report(run_job)
    said = capfd.readouterr().err
    assert "Traceback" in said and "ZeroDivisionError" in said


@pytest.fixture(scope="module")
def multirun(token_corpora, ssl_dir, tmp_path_factory):
    """Two jobs in one process, every path relative to the folder where the command was typed."""
    cwd = tmp_path_factory.mktemp("hydra")
    corpus = token_corpora("iemocap")
    for name, target in {"lists": corpus.data, "tokens": corpus.raw, "ssl": ssl_dir}.items():
        (cwd / name).symlink_to(target)
    done = run(
        *("fairseq-hydra-train", "-m", "--config-dir", CONFIG, "--config-name", "debug", "common.user_dir=emofair"),
        *("task.data=lists", "task.data_raw=tokens", "model.ssl_random=null", "model.ssl_dir=ssl"),
        *("task.save_predictions=out/valid.tsv", "common.log_format=json", "optimization.max_epoch=2"),
        *("hydra.sweep.dir=jobs", "optimization.lr=[0.001],[0.0]"),
        cwd=cwd,
    )
    return cwd, done.stdout


def test_each_job_of_one_process_keeps_its_own_best_checkpoint(multirun):
    cwd, output = multirun
    best = [safe.load(cwd / "jobs" / job / "checkpoints" / "checkpoint_best.pt") for job in "01"]
    assert [state["cfg"]["optimization"]["lr"] for state in best] == [[0.001], [0.0]]
    # The second job cannot learn. Compared with the first it would never have a best checkpoint.
    assert best[0]["extra_state"]["best"] < best[1]["extra_state"]["best"]
    assert best[1]["extra_state"]["best"] == best[1]["extra_state"]["val_loss"]
    assert len(re.findall(r"checkpoint_best\.pt \(epoch 1 @", output)) == 2


def test_relative_paths_mean_the_folder_where_the_command_was_typed(multirun):
    cwd, _ = multirun
    task = safe.load(cwd / "jobs" / "0" / "checkpoints" / "checkpoint_last.pt")["cfg"]["task"]
    assert (task["data"], task["data_raw"]) == (str(cwd / "lists"), str(cwd / "tokens"))
    assert len((cwd / "out" / "valid.tsv").read_text().splitlines()) == 1 + 22


def test_training_from_the_preset_equals_training_from_flags_bit_for_bit(multirun, token_corpora, ssl_dir, tmp_path):
    cwd, _ = multirun
    corpus = token_corpora("iemocap")
    flags = [*FLAGS["debug"], "--data", corpus.data, "--data-raw", corpus.raw, "--ssl-dir", ssl_dir, "--max-epoch", "2"]
    at = flags.index("--ssl-random")
    train_here([*flags[:at], *flags[at + 2 :], "--save-dir", tmp_path])
    job = cwd / "jobs" / "0" / "checkpoints"
    assert differences(job / "checkpoint_last.pt", tmp_path / "checkpoint_last.pt") == []
    assert differences(job / "checkpoint_best.pt", tmp_path / "checkpoint_best.pt") == []
