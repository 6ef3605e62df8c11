"""A training that is killed and started again ends where one that was never interrupted ends, bit for bit."""

from __future__ import annotations

import re
import shutil

import pytest

from emofair.errors import EmofairError
from emofair.testing import token_corpus
from emofair.testing.checkpoints import differences
from emofair.testing.commands import continuing, kill_when, logged, seed_arguments, train_here

PER_EPOCH, SAVE_EVERY = 24, 32
KILL_AT = SAVE_EVERY + 1
CLOCKS = ("wps", "ups", "wall", "train_wall")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return token_corpus(
        tmp_path_factory.mktemp("resume"), n={"train": 96, "valid": 22, "test": 4}, audio_length=(6, 40)
    )


@pytest.fixture(scope="module")
def arguments(corpus, ssl_dir):
    def make(save_dir, *more):
        command = continuing(seed_arguments(corpus, ssl_dir, save_dir))
        command[command.index("--update-freq") + 1] = "1"
        return [*command, "--save-interval-updates", str(SAVE_EVERY), *more]

    return make


@pytest.fixture(scope="module")
def uninterrupted(arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, train_here(arguments(folder, "--num-workers", "0"))


def figures(output, kind):
    """Every logged number by update, without those of the clock."""
    rows = logged(output, kind)
    prefix = "" if kind == "train_inner" else f"{kind}_"
    drop = {prefix + name for name in CLOCKS}
    return {int(row[f"{prefix}num_updates"]): {k: v for k, v in row.items() if k not in drop} for row in rows}


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_between_saves_and_resumed_equals_uninterrupted(workers, arguments, uninterrupted, tmp_path):
    folder, whole = uninterrupted
    command = arguments("run", "--num-workers", workers)
    before = kill_when(
        lambda line: f'"num_updates": "{KILL_AT}"' in line,
        "fairseq-train",
        "--user-dir",
        "emofair",
        *command,
        cwd=tmp_path,
    )
    assert max(figures(before, "train_inner")) == KILL_AT
    assert re.findall(r"Saved checkpoint \S+ \(epoch \d @ (\d+)", before) == [str(PER_EPOCH), str(SAVE_EVERY)]
    after = train_here(arguments(tmp_path / "run", "--num-workers", workers))

    assert f"@ {SAVE_EVERY} updates" in after
    assert min(figures(after, "train_inner")) == KILL_AT
    assert differences(folder / "checkpoint_last.pt", tmp_path / "run" / "checkpoint_last.pt") == []
    assert differences(folder / "checkpoint_best.pt", tmp_path / "run" / "checkpoint_best.pt") == []
    for kind in ("train_inner", "train", "valid"):
        expected = figures(whole, kind)
        assert {**figures(before, kind), **figures(after, kind)} == expected
        assert len(expected) == {"train_inner": 2 * PER_EPOCH, "train": 2, "valid": 3}[kind]


def test_the_comparison_finds_a_difference_of_one_update(uninterrupted):
    folder, _ = uninterrupted
    found = differences(folder / "checkpoint_last.pt", folder / f"checkpoint_2_{SAVE_EVERY}.pt")
    assert any(name.startswith("/model/") for name in found)
    assert any(name.startswith("/optimizer/") for name in found)
    assert "/history/num_updates" in found


def test_the_way_back_from_a_truncated_last_checkpoint_leads_to_the_same_end(arguments, uninterrupted, tmp_path):
    last, other = tmp_path / "checkpoint_last.pt", tmp_path / f"checkpoint_2_{SAVE_EVERY}.pt"
    shutil.copy(uninterrupted[0] / other.name, other)
    last.write_bytes(other.read_bytes()[:5000])
    with pytest.raises(EmofairError, match="is truncated") as error:
        train_here(arguments(tmp_path))
    assert str(error.value).endswith(f"--restore-file {other}.")
    train_here(arguments(tmp_path, "--restore-file", other))
    assert differences(uninterrupted[0] / last.name, last) == []
