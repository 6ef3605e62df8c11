"""The `emofair` command: light, complete help, one-line errors, exit codes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import types

import pytest

from emofair import __version__
from emofair.cli import main as entry
from emofair.errors import EmofairError
from emofair.testing.commands import run

HEAVY = ("torch", "fairseq", "numpy", "scipy", "sklearn", "matplotlib", "soundfile", "soxr", "hydra", "sentencepiece")


def test_neither_import_nor_help_touches_heavy_packages():
    code = f"""
import sys
import emofair
from emofair.cli.main import build_parser
build_parser().format_help()
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert run(sys.executable, "-c", code).stdout == "[]\n"


def test_console_script_lists_every_verb():
    output = run("emofair", "--help").stdout
    for verb in entry.VERBS:
        assert f"\n    {verb} " in output


@pytest.mark.parametrize("verb", [verb for verb in entry.VERBS if verb not in entry.PASS_THROUGH])
def test_help_of_each_verb(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        entry.main([verb, "--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: emofair {verb} ")


@pytest.mark.parametrize(("verb", "option"), [("train", "--save-interval-updates"), ("validate", "--model-overrides")])
def test_help_of_training_and_validation_is_that_of_fairseq_with_our_tasks(verb, option, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["emofair"])
    with pytest.raises(SystemExit) as stopped:
        entry.main([verb, "--help"])
    assert stopped.value.code == 0
    output = capsys.readouterr().out
    assert option in output and "emotion_prediction" in output


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        entry.main(["--version"])
    assert (stopped.value.code, capsys.readouterr().out) == (0, f"emofair {__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["dance"], ["report"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        entry.main(arguments)
    assert stopped.value.code == 2
    assert "usage: emofair" in capsys.readouterr().err


@pytest.fixture
def verb(monkeypatch):
    """Lets the verb `doctor` do what a test wants."""
    module = types.SimpleNamespace(HELP="", __doc__="", add_arguments=lambda parser: None, run=None)
    monkeypatch.setitem(sys.modules, "emofair.cli.doctor", module)

    def does(action):
        module.run = action
        return entry.main(["doctor"])

    return does


def failing_with(error):
    def action(args):
        raise error

    return action


@pytest.mark.parametrize("code", [0, 1])
def test_exit_code_is_the_verbs(verb, code):
    assert verb(lambda args: code) == code


def test_error_of_the_user_is_one_line_and_code_2(verb, capsys):
    assert verb(failing_with(EmofairError("too short", file="a.wav", row=3, remedy="Leave it out"))) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "emofair: error: a.wav:3: too short. Leave it out.\n")


def test_traceback_on_request(verb, monkeypatch):
    monkeypatch.setenv("EMOFAIR_TRACEBACK", "1")
    with pytest.raises(EmofairError):
        verb(failing_with(EmofairError("too short")))


def test_an_error_of_ours_is_not_hidden(verb):
    with pytest.raises(ZeroDivisionError):
        verb(failing_with(ZeroDivisionError()))


def test_stopped_by_the_user(verb, capsys):
    assert verb(failing_with(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "emofair: stopped\n"


def test_names_that_are_no_text_can_be_printed(verb, monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", errors="strict", write_through=True))
    assert verb(lambda args: print(os.fsdecode(b"l\xe9.wav")) or 0) == 0 and out.getvalue() == b"l\\udce9.wav\n"


def test_reader_that_goes_away_is_no_error():
    """`emofair ... | head`."""
    code = """
import sys, types
module = types.SimpleNamespace(HELP="", __doc__="", add_arguments=lambda parser: None)
module.run = lambda args: [print("x" * 80, flush=True) for _ in range(10000)]
sys.modules["emofair.cli.doctor"] = module
from emofair.cli.main import main
sys.exit(main(["doctor"]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
    ) as process:
        process.stdout.read(200)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0
