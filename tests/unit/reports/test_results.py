import pytest

from emofair.reports.document import Code, Heading, Items, Picture, Table
from emofair.reports.results import build
from emofair.reports.runs import find_runs


@pytest.fixture
def report(write_run):
    def make(**options):
        return build(find_runs([write_run.root]), write_run.root.parent / "RESULTS.md", **options)

    return make


def tables(blocks):
    return [block for block in blocks if isinstance(block, Table)]


def items(blocks):
    return [item for block in blocks if isinstance(block, Items) for item in block.items]


def test_main_table(write_run, report):
    write_run("s1", seed=1, figures={"accuracy": 0.5}, log={})
    write_run("s2", seed=2, figures={"accuracy": 0.6}, log={})
    write_run("paper", protocol="paper", log={})
    main = tables(report(pictures=False))[0]
    assert main.header == ["model", "protocol", "runs", "WA", "UA", "weighted F1", "macro F1"]
    assert main.rows == [
        ["robertaEMO, text", "clean", "2", "55.0 ± 7.1", "60.0 ± 0.0", "70.0 ± 0.0", "65.0 ± 0.0"],
        ["robertaEMO, text", "paper", "1", "75.0", "60.0", "70.0", "65.0"],
        ["always happy", "clean, paper", "–", "50.0", "50.0", "33.3", "33.3"],
    ]


def test_tables_by_data_and_target(write_run, report):
    write_run("a")
    write_run("b", data="T_data/y", data_sha256="d1")
    write_run("c", target="score", classes=[], confusion=None, metrics={"mae": 0.5, "corr": -0.25, "mse": 1, "ccc": 0})
    blocks = report(pictures=False)
    assert [b.text for b in blocks if isinstance(b, Heading) and b.level == 2][:3] == [
        "T_data/x, score, test",
        "T_data/x, softmax, test",
        "T_data/y, softmax, test",
    ]
    score = tables(blocks)[0]
    assert score.rows[0] == ["robertaEMO, text", "clean", "1", "0.500", "1.000", "−0.250", "0.000"]


def test_folds(write_run, report):
    for fold, majority in (("1", 0.5), ("2", 0.7)):
        write_run(fold, fold=fold, data_sha256=fold, majority={"accuracy": majority})
        write_run(f"{fold}-again", fold=fold, data_sha256=fold, majority={"accuracy": majority})
    blocks = report(pictures=False)
    assert next(b.text for b in blocks if isinstance(b, Heading) and b.level == 2).endswith("test, folds 1 2")
    main = tables(blocks)[0]
    # The floor is averaged over the folds, not over the runs on them.
    assert main.rows[0][2] == "4" and main.rows[1][:4] == ["always happy", "clean", "–", "60.0 ± 14.1"]


def test_single_runs_and_commands(write_run, report):
    write_run("s1", seed=1, checkpoint_sha256="0123456789abcdef", log={})
    blocks = report(pictures=False)
    runs = tables(blocks)[-1]
    row = dict(zip(runs.header, runs.rows[0], strict=True))
    assert (row["run"], row["checkpoint"], row["seed"]) == ("runs/s1", "0123456789ab", "1")
    assert (row["commit"], row["score"], row["fold"]) == ("abc1234", "WA 75.0", "–")
    (code,) = (block for block in blocks if isinstance(block, Code))
    assert code.lines == ["# runs/s1", "fairseq-train --lr 0.001", "emofair evaluate --checkpoint x"]


def test_what_is_missing_is_named(write_run, report):
    write_run("full", log={})
    write_run("a", commit=None, log="")
    write_run("b", checkpoint_sha256=None, majority=None, confusion=None, train_command=None)
    said = items(report(pictures=False))
    assert said == [
        "hash of the checkpoint: runs/b",
        "commit of the source tree: runs/a",
        "training command: runs/b",
        "majority baseline: runs/b",
        "train.log, so no learning curves: runs/b",
        "epochs in the train.log: runs/a",
        "confusion matrix: runs/b",
        "pictures: matplotlib is not installed (pip install 'emofair[plots]')",
    ]


def test_nothing_is_said_to_be_missing_when_nothing_is(write_run, report):
    write_run("full", log={})
    assert items(report()) == []


def test_a_repeat_is_told(write_run, report):
    write_run("a", checkpoint_sha256="same")
    write_run("b", checkpoint_sha256="same")
    blocks = report(pictures=False)
    assert tables(blocks)[0].rows[0][2] == "1"
    assert "runs/b scores the checkpoint of runs/a again, and is not counted" in items(blocks)


def test_pictures_lie_beside_the_report(write_run, report):
    write_run("a", log={})
    write_run("b", modalities=["text", "speech"], log={"valid": (2.5, 0.5)})
    write_run("c", split="valid")
    pictures = [block.path for block in report() if isinstance(block, Picture)]
    assert pictures == [
        "RESULTS_softmax_test_robertaEMO-text_confusion.png",
        "RESULTS_softmax_test_robertaEMO-text_curves.png",
        "RESULTS_softmax_test_robertaEMO-text-speech_confusion.png",
        "RESULTS_softmax_test_robertaEMO-text-speech_curves.png",
        "RESULTS_softmax_valid_robertaEMO-text_confusion.png",
    ]
    assert all((write_run.root.parent / name).is_file() for name in pictures)


def test_pictures_of_groups_with_one_name_do_not_overwrite_each_other(write_run, report):
    write_run("a")
    write_run("b", protocol="paper")
    assert len({block.path for block in report() if isinstance(block, Picture)}) == 2
