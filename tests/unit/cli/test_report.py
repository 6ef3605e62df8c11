"""`emofair report` on the folders that `emofair evaluate` writes."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from emofair.cli.main import main
from emofair.reports.plots import draw_confusion
from emofair.testing import token_corpus
from emofair.testing.commands import train_here


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two seeds of a small model, trained and evaluated."""
    root = tmp_path_factory.mktemp("results")
    corpus = token_corpus(root / "corpus", "meld", n={"train": 16, "valid": 6, "test": 14})
    paths = ["--data", str(corpus.data), "--data-raw", str(corpus.raw)]
    for seed in ("1", "2"):
        run = root / "runs" / f"seed{seed}"
        run.mkdir(parents=True)
        train_here(
            [
                *(*paths, *corpus.flags, "--task", "emotion_prediction", "--arch", "robertaEMO_tiny", "--t-only"),
                *("--criterion", "emotion_prediction_cri", "--optimizer", "adam", "--lr", "1e-3", "--seed", seed),
                *("--max-epoch", "2", "--batch-size", "8", "--cpu", "--num-workers", "0", "--save-dir", run),
                *("--no-epoch-checkpoints", "--log-format", "json", "--log-file", run / "train.log"),
            ]
        )
        checkpoint = run / "checkpoint_best.pt"
        assert main(["evaluate", "--checkpoint", str(checkpoint), *paths, "--out", str(run / "test")]) == 0
    return root / "runs"


def test_report(results, tmp_path, capsys):
    out = tmp_path / "new" / "RESULTS.md"
    assert main(["report", str(results), "--out", str(out), "--html", "--title", "Two seeds"]) == 0
    assert "2 runs: " in capsys.readouterr().err
    text = out.read_text(encoding="utf-8")
    assert text.startswith("# Two seeds\n")
    records = [json.loads((results / f"seed{s}/test/metrics.json").read_text()) for s in (1, 2)]
    mean = 50 * sum(record["metrics"]["accuracy"] for record in records)
    assert f"| robertaEMO\\_tiny, text | clean | 2 | {mean:.1f} ± " in text
    assert re.search(r"\| always \w+ \| clean \| – \| \d", text)
    pictures = re.findall(r'<img src="([^"]+)"', text)
    assert [name.rsplit("_", 1)[1] for name in pictures] == ["confusion.png", "curves.png"]
    assert {p.name for p in out.parent.iterdir()} == {"RESULTS.md", "RESULTS.html", *pictures}
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2 and "<title>Two seeds</title>" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    for record in records:
        assert record["checkpoint_sha256"][:12] in text and record["train_command"] in text


def test_the_same_runs_give_the_same_bytes(results, tmp_path):
    seen = []
    for name, order in (("a", ("seed1", "seed2")), ("b", ("seed2", "seed1"))):
        out = tmp_path / name / "RESULTS.md"
        assert main(["report", *(str(results / run) for run in order), "--out", str(out), "--html"]) == 0
        seen.append({path.name: path.read_bytes() for path in out.parent.iterdir()})
    assert seen[0] == seen[1]


def test_group_by(results, tmp_path):
    out = tmp_path / "r.md"
    assert main(["report", str(results), "--out", str(out), "--group-by", "model,seed"]) == 0
    text = out.read_text(encoding="utf-8")
    assert "| robertaEMO\\_tiny, 1 | clean | 1 |" in text and "| robertaEMO\\_tiny, 2 | clean | 1 |" in text


def test_without_matplotlib_the_tables_are_written(results, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "r.md"
    assert main(["report", str(results), "--out", str(out), "--html"]) == 0
    assert "emofair[plots]" in capsys.readouterr().err
    text = out.read_text(encoding="utf-8")
    assert "± " in text and "<img" not in text and "matplotlib is not installed" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.html", "r.md"]


@pytest.fixture
def folds(results, tmp_path):
    """Both seeds as if each of two folds had them."""
    for seed in (1, 2):
        for fold in ("1", "2"):
            folder = tmp_path / "folds" / f"seed{seed}" / fold
            shutil.copytree(results / f"seed{seed}" / "test", folder)
            record = json.loads((folder / "metrics.json").read_text())
            record.update(name="V-FT", fold=fold, data_sha256=fold, checkpoint_sha256=f"{seed} {fold}")
            (folder / "metrics.json").write_text(json.dumps(record))
    return tmp_path / "folds"


def test_summary(folds, tmp_path, capsys):
    to = tmp_path / "new" / "logs"
    assert main(["report", str(folds), "--out", str(tmp_path / "r.md"), "--summary-dir", str(to)]) == 0
    assert {path.name for path in to.iterdir()} == {"V-FT.log", "V-FT.json", "V-FT_confmat.png"}
    told = json.loads((to / "V-FT.json").read_text(encoding="utf-8"))
    assert (told["method"], told["seeds"], told["folds"], told["protocol"]) == ("V-FT", [1, 2], ["1", "2"], "clean")
    records = {seed: json.loads((folds / f"seed{seed}/1/metrics.json").read_text()) for seed in (1, 2)}
    # Both folds are copies, so that every value of metrics.json is there twice.
    assert told["confusion"] == [[records[seed]["confusion"]] * 2 for seed in (1, 2)]
    for name, figure in (("UAR", "uar"), ("WAR", "accuracy"), ("macroF1", "f1_macro")):
        expected = [[100 * records[seed]["metrics"][figure]] * 2 for seed in (1, 2)]
        assert [pytest.approx(row, abs=1e-4) for row in expected] == told["values"][name]
    summed = sum(np.array(records[seed]["confusion"]) for seed in (1, 2)) * 2
    draw_confusion(tmp_path / "expected.png", summed, told["classes"])
    assert (to / "V-FT_confmat.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    log = (to / "V-FT.log").read_bytes().decode().split("\n")
    assert log[0] == "+++ SUMMARY +++" and len(log) == 22 and log[-1] == ""
    assert f"Mean UAR [%]: {told['statistics']['UAR']['Mean']:.2f}" == log[1]
    errors = capsys.readouterr().err
    assert "V-FT.log" in errors
    # The small test set lacks classes in each fold, and that is told.
    absent = told["absent_classes"]["folds"]
    assert all(f"V-FT: fold {fold} has no item of {', '.join(names)}" in errors for fold, names in absent.items())
    assert "| fold | model |" in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_summary_of_one_method_by_another_name(folds, tmp_path):
    where = ["--out", str(tmp_path / "r.md"), "--summary-dir", str(tmp_path / "s")]
    assert main(["report", str(folds), *where, "--summary-name", "summary"]) == 0
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["summary.json", "summary.log", "summary_confmat.png"]


def test_summary_without_matplotlib(folds, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["report", str(folds), "--out", str(tmp_path / "r.md"), "--summary-dir", str(tmp_path / "s")]) == 0
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["V-FT.json", "V-FT.log"]


def test_a_missing_run_is_told_before_anything_is_written(folds, tmp_path, capsys):
    shutil.rmtree(folds / "seed2" / "1")
    assert main(["report", str(folds), "--out", str(tmp_path / "r.md"), "--summary-dir", str(tmp_path / "s")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("emofair: error: ") and "V-FT (clean): seed 2 has no run of fold 1" in line
    assert [path.name for path in tmp_path.iterdir()] == ["folds"]


def test_compare(results, tmp_path, capsys):
    """Two seeds as two systems, on the predictions that `emofair evaluate` wrote."""
    out = tmp_path / "r.md"
    by = ["--group-by", "model,seed"]
    assert main(["report", str(results), "--out", str(out), *by, "--compare", "robertaEMO_tiny, 1"]) == 0
    text = out.read_text(encoding="utf-8")
    records = [json.loads((results / f"seed{s}/test/metrics.json").read_text()) for s in (1, 2)]
    gain = 100 * (records[1]["metrics"]["accuracy"] - records[0]["metrics"]["accuracy"])
    wa = re.search(r"\| robertaEMO\\_tiny, 2 \| clean \| 1 / 1 \| 14 \| (\S+) \\\[(\S+), (\S+)\] \|", text)
    assert float(wa[1].replace("−", "-")) == pytest.approx(gain, abs=0.06)
    assert "note" not in capsys.readouterr().err


def test_what_is_not_compared_is_told(results, tmp_path, capsys):
    for seed in ("1", "2"):
        shutil.copytree(results / f"seed{seed}" / "test", tmp_path / "runs" / seed)
    (tmp_path / "runs" / "2" / "predictions.tsv").unlink()
    words = ["--out", str(tmp_path / "r.md"), "--group-by", "seed", "--compare", "1"]
    assert main(["report", str(tmp_path / "runs"), *words]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "note" in line]
    assert line.startswith("emofair: note: not compared with 1, 2 (clean): ") and "tsv: no such file" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{runs}", "--out", "{tmp}/r.txt"], r"r\.txt: .*ends in \.md"),
        (["{tmp}/absent", "--out", "{tmp}/r.md"], "absent: no such folder"),
        (["{runs}", "--out", "{tmp}/file/r.md"], "file"),
        (["{runs}", "--out", "{tmp}/r.md", "--group-by", "colour"], "no run has an entry 'colour'"),
        (
            ["{runs}", "--out", "{tmp}/r.md", "--compare", "x"],
            r"no group 'x' to compare with\. There are 'robertaEMO_t",
        ),
        (["{runs}", "--out", "{tmp}/r.md", "--summary-dir", "{tmp}/file"], "file: not usable as a folder"),
        (["{runs}", "--out", "{tmp}/r.md", "--summary-name", "a"], "only --summary-dir writes"),
        (["{runs}", "--out", "{tmp}/r.md", "--summary-dir", "{tmp}", "--summary-name", "a/b"], "'a/b' is no file name"),
    ],
)
def test_bad_input(results, tmp_path, capsys, arguments, message):
    (tmp_path / "file").write_text("")
    assert main(["report", *(a.format(runs=results, tmp=tmp_path) for a in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("emofair: error: ") and re.search(message, line)


@pytest.mark.parametrize("verb", ["report", "evaluate"])
def test_the_verbs_import_nothing_heavy(verb):
    code = (
        f"import sys, emofair.cli.{verb}\n"
        "print(sorted({'torch', 'fairseq', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
