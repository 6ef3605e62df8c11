"""What `emofair train` and `emofair validate` change in fairseq's arguments."""

from __future__ import annotations

import sys

import pytest

from emofair.cli import train, validate
from emofair.cli.train import without_user_dir
from emofair.compat import PACKAGE


@pytest.mark.parametrize(
    "given",
    [
        ["--user-dir", "emofair"],
        ["--user-dir=emofair"],
        ["--user-dir", str(PACKAGE)],
        [f"--user-dir={PACKAGE}/"],
        ["--user-dir", "./emofair/"],
        [],
    ],
)
def test_our_own_user_dir_is_dropped_in_any_spelling(given, monkeypatch):
    monkeypatch.chdir(PACKAGE.parent)
    assert without_user_dir(["--task", "x", *given, "--cpu"]) == ["--task", "x", "--cpu"]


@pytest.mark.parametrize("given", [["--user-dir", "/home/me/my_tasks"], ["--user-dir=emofair_extra"]])
def test_the_users_own_plugin_is_kept(given):
    assert without_user_dir([*given, "--cpu"]) == [*given, "--cpu"]


def test_a_forgotten_value_is_left_to_fairseqs_parser():
    assert without_user_dir(["--cpu", "--user-dir"]) == ["--cpu", "--user-dir"]


@pytest.mark.parametrize(("verb", "program"), [(train, "train"), (validate, "validate")])
def test_hands_over_to_fairseq_with_everything_registered(verb, program, monkeypatch):
    import importlib
    from argparse import Namespace

    from fairseq.tasks import TASK_REGISTRY

    module = importlib.import_module(f"fairseq_cli.{program}")
    seen = []
    monkeypatch.setattr(module, "cli_main", lambda: seen.append((sys.argv, "emotion_prediction" in TASK_REGISTRY)))
    monkeypatch.setattr(sys, "argv", ["emofair"])
    assert verb.run(Namespace(arguments=["--user-dir", "emofair", "--cpu"])) == 0
    assert seen == [([f"fairseq-{program}", "--cpu"], True)]
