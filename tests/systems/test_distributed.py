"""Several processes on a CPU, joined through gloo: same figures as one process, resumable, nothing lost or doubled."""

from __future__ import annotations

import shutil
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch

from emofair.checkpoints import safe
from emofair.checkpoints.roberta import load_roberta
from emofair.checkpoints.ssl_dir import locate
from emofair.compat import PACKAGE
from emofair.testing import token_corpus
from emofair.testing.commands import BIN, continuing, logged, run, seed_arguments, train_here

TORCHRUN = ("torchrun", "--nproc-per-node", "2")
# The clock and the speed apart, everything that a validation logs; the sizes of batches differ by design.
NOT_FIGURES = ("wps", "ups", "wpb", "bsz", "wall", "train_wall")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    # 36 training items make 9 batches of 4: the second process has none left for the last update.
    return token_corpus(
        tmp_path_factory.mktemp("corpus"), n={"train": 36, "valid": 22, "test": 4}, audio_length=(6, 40)
    )


@pytest.fixture(scope="module")
def arguments(corpus, ssl_dir):
    """A training without dropout, whose processes would draw differently, by plain steps along the gradient."""
    settled = ["--dropout", "0", "--attention-dropout", "0", "--pooler-dropout", "0"]
    for name, kind in (("text", "text_roberta"), ("speech", "speech_bert")):
        spec = load_roberta(locate(kind, ssl_dir=ssl_dir)).spec
        settled += [f"--{name}-ssl-json", replace(spec, dropout=0.0, attention_dropout=0.0).to_json()]

    def make(save_dir, *more):
        command = continuing(seed_arguments(corpus, ssl_dir, save_dir))
        adam, schedule = command.index("adam"), command.index("--clip-norm")
        command[adam:schedule] = ["sgd"]
        return [*command, *settled, "--lr", "0.1", "--max-epoch", "1", "--update-freq", "1", *more]

    return make


@pytest.fixture(scope="module")
def two_ranks(arguments, tmp_path_factory):
    """Trained by two processes for an epoch, then for another one with a validation set that fills one batch."""
    folder = tmp_path_factory.mktemp("two_ranks")
    save = folder / "checkpoints"
    command = arguments(save, "--save-predictions", folder / "first.tsv")
    first = run(*TORCHRUN, "-m", "emofair.cli.main", "train", "--user-dir", "emofair", *command).stdout
    shutil.copy(save / "checkpoint_last.pt", folder / "after_one_epoch.pt")
    with_numpy_best(save / "checkpoint_last.pt")
    command = arguments(
        save, "--save-predictions", folder / "second.tsv", "--max-epoch", "2", "--batch-size-valid", "32"
    )
    second = run(*TORCHRUN, "--no-python", BIN / "fairseq-train", "--user-dir", PACKAGE, *command).stdout
    return folder, first, second


@pytest.fixture(scope="module")
def one_process(arguments, tmp_path_factory):
    """The same training by one process that gathers two batches for an update."""
    folder = tmp_path_factory.mktemp("one_process")
    command = arguments(folder, "--update-freq", "2", "--save-predictions", folder / "first.tsv")
    first = train_here(command)
    shutil.copy(folder / "checkpoint_last.pt", folder / "after_one_epoch.pt")
    return folder, first


def with_numpy_best(path):
    state = safe.load(path)
    state["extra_state"]["best"] = np.float64(0.125)
    torch.save(state, path)


def figures(output):
    (row,) = logged(output, "valid")
    return {k: v for k, v in row.items() if k.removeprefix("valid_") not in NOT_FIGURES}


def weights(path):
    return safe.load(path)["model"]


def columns(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_two_processes_train_as_one_that_sees_the_batches_of_both(two_ranks, one_process):
    ours, theirs = (weights(run[0] / "after_one_epoch.pt") for run in (two_ranks, one_process))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].sub(value).abs().max() < 1e-5, name
    (row,), (expected,) = logged(two_ranks[1], "train"), logged(one_process[1], "train")
    assert row["train_num_updates"] == expected["train_num_updates"] == "5"
    assert float(row["train_loss"]) == pytest.approx(float(expected["train_loss"]), abs=2e-6)


@pytest.mark.parametrize("batch_size", [4, 32])
def test_validation_figures_of_two_processes_are_exactly_those_of_one(batch_size, two_ranks, arguments, tmp_path):
    """Batches of 4: six of them for two processes; of 32: one, and the second process has none."""
    folder, first, second = two_ranks
    trained = folder / ("after_one_epoch.pt" if batch_size == 4 else "checkpoints/checkpoint_last.pt")
    # A training without a step: its validation sees the same weights.
    alone = arguments(tmp_path, "--restore-file", trained, "--reset-dataloader", "--reset-optimizer", "--reset-meters")
    alone += ["--lr", "0", "--batch-size-valid", str(batch_size), "--save-predictions", tmp_path / "alone.tsv"]
    expected = figures(train_here(alone))
    found = figures(first if batch_size == 4 else second)
    differing = {"epoch", "valid_num_updates", "valid_best_loss"}
    assert {k: v for k, v in found.items() if k not in differing} == {
        k: v for k, v in expected.items() if k not in differing
    }
    assert len(found) > 10
    table = folder / ("first.tsv" if batch_size == 4 else "second.tsv")
    assert sorted(columns(table)) == sorted(columns(tmp_path / "alone.tsv"))


def test_prediction_file_holds_every_utterance_once(two_ranks, corpus):
    folder, _, _ = two_ranks
    for name in ("first.tsv", "second.tsv"):
        head, *rows = columns(folder / name)
        assert head[0] == "id"
        assert [row[0] for row in rows] == corpus.ids["valid"]
        assert not list(folder.glob(f"{name}.rank*"))


def test_training_on_two_processes_resumes(two_ranks, arguments, tmp_path):
    """The state travels from the first process to the second, which torch 2.6 refuses without the plugin."""
    _, _, second = two_ranks
    (row,) = logged(second, "train")
    assert (row["epoch"], row["train_num_updates"]) == (2, "10")
    assert logged(second, "valid")[0]["valid_best_loss"] == "0.125"
    shutil.copy(two_ranks[0] / "after_one_epoch.pt", tmp_path / "checkpoint_last.pt")
    alone = train_here(arguments(tmp_path, "--max-epoch", "2", "--update-freq", "2"))
    (expected,) = logged(alone, "train")
    assert float(row["train_loss"]) == pytest.approx(float(expected["train_loss"]), abs=2e-6)


def test_processes_that_fairseq_starts_for_gpus_know_the_plugin_and_fail_in_one_line(arguments, tmp_path):
    """fairseq starts one process per GPU. Here it believes in one, and the process gets as far as our task."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import sys
        from emofair.cli.main import main

        if __name__ == "__main__":
            import torch
            torch.cuda.device_count = lambda: 1
            sys.exit(main(["train", *sys.argv[1:]]))
        """)
    )
    command = arguments(tmp_path / "run", "--distributed-init-method", f"file://{tmp_path / 'meet'}")
    command += ["--distributed-backend", "gloo"]
    command[command.index("--data") + 1] = str(tmp_path / "nowhere")
    done = run(sys.executable, program, *command, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert done.stdout.strip().splitlines()[-1].startswith(f"emofair: error: {tmp_path / 'nowhere'}: no such folder")
