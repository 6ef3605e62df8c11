"""`emofair evaluate` says what fairseq-validate says, and where it comes from."""

import argparse
import csv
import hashlib
import json
import shutil

import pytest

from emofair.cli import evaluate
from emofair.errors import EmofairError, MissingExtra
from emofair.testing import token_corpus
from emofair.testing.commands import train_here

TARGETS = ("iemocap", "meld", "mosi")


def emofair_evaluate(*arguments):
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return evaluate.run(parser.parse_args([str(a) for a in arguments]))


def trained(corpus, save_dir, *extra):
    train_here(
        [
            *("--data", corpus.data, "--data-raw", corpus.raw, *corpus.flags, "--task", "emotion_prediction"),
            *("--arch", "robertaEMO_tiny", "--all-in", "--criterion", "emotion_prediction_cri", "--batch-size", 8),
            *("--optimizer", "adam", "--lr", "1e-3", "--max-epoch", 1, "--cpu", "--seed", 3, "--num-workers", 0),
            *(
                "--save-dir",
                save_dir,
                "--no-epoch-checkpoints",
                "--no-last-checkpoints",
                "--log-format",
                "none",
                *extra,
            ),
        ]
    )
    return save_dir / "checkpoint_best.pt"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A corpus and a checkpoint by target, trained once."""
    made = {}

    def make(target):
        if target not in made:
            folder = tmp_path_factory.mktemp(target)
            corpus = token_corpus(folder, target, n={"train": 24, "valid": 6, "test": 18})
            made[target] = corpus, trained(corpus, folder / "checkpoints")
        return made[target]

    return make


def result_of(capsys, *arguments):
    assert emofair_evaluate(*arguments) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def fairseq_validate(caplog, monkeypatch):
    """fairseq-validate in this process; it returns the figures that it prints."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["fairseq-validate", *map(str, arguments)])
        monkeypatch.setattr("fairseq_cli.validate.reset_logging", lambda: None)
        from fairseq_cli import validate

        caplog.set_level("INFO")
        caplog.clear()
        validate.cli_main()
        (record,) = [json.loads(message) for message in caplog.messages if message.startswith('{"test_loss"')]
        return {name.removeprefix("test_"): float(value) for name, value in record.items()}

    return call


@pytest.mark.parametrize("target", TARGETS)
def test_figures_are_those_of_fairseq_validate(runs, target, capsys, fairseq_validate):
    corpus, checkpoint = runs(target)
    theirs = fairseq_validate(
        *("--task", "emotion_prediction", "--path", checkpoint, "--data", corpus.data, "--valid-subset", "test"),
        *("--batch-size", 4, "--cpu", "--log-format", "json", "--num-workers", 0),
    )
    ours = result_of(capsys, "--checkpoint", checkpoint, "--data", corpus.data, "--batch-size", 4)["metrics"]
    # fairseq prints six digits.
    assert {name: float(f"{value:g}") for name, value in ours.items()} == {name: theirs[name] for name in ours}
    assert set(theirs) - set(ours) <= {"epoch", "wps", "wpb", "bsz"}


@pytest.mark.parametrize("target", TARGETS)
def test_the_size_of_batches_changes_nothing(runs, target, capsys):
    corpus, checkpoint = runs(target)
    basis = ("--checkpoint", checkpoint, "--data", corpus.data)
    results = [result_of(capsys, *basis, *limit) for limit in (("--batch-size", 1), ("--max-tokens", 200), ())]
    for other in results[1:]:
        assert other["metrics"] == pytest.approx(results[0]["metrics"], abs=1e-5)
        assert (other["n"], other["confusion"]) == (18, results[0]["confusion"])


def test_what_a_result_says_about_itself(runs, capsys, tmp_path):
    corpus, checkpoint = runs("meld")
    out = tmp_path / "out"
    shown = result_of(capsys, "--checkpoint", checkpoint, "--data", corpus.data, "--out", out, "--name", "joint")
    assert shown == json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    wanted = {
        "name": "joint",
        "system": "robertaemo",
        "task": "emotion_prediction",
        "model": "robertaEMO_tiny",
        "modalities": ["text", "speech"],
        "fusion": "concatenation",
        "split": "test",
        "n": 18,
        "protocol": "clean",
        "target": "softmax_meld",
        "seed": 3,
        "fold": None,
        "updates": 3,
        "selected_on": "valid/loss",
        "checkpoint": str(checkpoint),
        "data": str(corpus.data),
    }
    assert {key: shown[key] for key in wanted} == wanted
    assert shown["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert shown["selected_value"] > 0 and set(shown["versions"]) == {"emofair", "fairseq", "torch", "numpy", "python"}
    assert shown["command"].split()[:4] == ["emofair", "evaluate", "--checkpoint", str(checkpoint)]
    assert shown["train_command"].startswith("fairseq-train --user-dir emofair") and shown["settings"]["lr"] == [0.001]
    assert "--split" not in shown["command"] and shown["command"].endswith("--name joint")


def test_confusion_and_predictions_agree_with_the_figures(runs, capsys, tmp_path):
    corpus, checkpoint = runs("meld")
    shown = result_of(capsys, "--checkpoint", checkpoint, "--data", corpus.data, "--out", tmp_path)
    with (tmp_path / "predictions.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert sorted(row["id"] for row in rows) == sorted(corpus.ids["test"])
    classes = shown["confusion_classes"]
    for i, true in enumerate(classes):
        for j, said in enumerate(classes):
            assert shown["confusion"][i][j] == sum(r["label"] == true and r["prediction"] == said for r in rows)
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert shown["metrics"]["accuracy"] == pytest.approx(right / 18)
    labels = [row["label"] for row in rows]
    assert shown["majority"]["accuracy"] == pytest.approx(max(map(labels.count, labels)) / 18)
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_it_needs_nothing_but_the_checkpoint_and_the_data(ssl_dir, tmp_path, capsys):
    corpus = token_corpus(tmp_path / "corpus", "iemocap", n={"train": 8, "valid": 4, "test": 4})
    pretrained = shutil.copytree(ssl_dir, tmp_path / "pretrained")
    stored = tmp_path / "stored.tsv"
    extra = ("--ssl-dir", pretrained, "--arch", "robertaEMO", "--save-predictions", stored, "--eval-metric")
    checkpoint = trained(corpus, tmp_path / "checkpoints", *extra)
    shutil.rmtree(pretrained)
    stored.unlink()
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "corpus", moved)
    paths = ("--data", moved / "T_data", "--data-raw", moved / "raw")
    assert result_of(capsys, "--checkpoint", checkpoint, *paths)["n"] == 4
    assert not stored.exists()  # what the training was told to write is not written again
    assert result_of(capsys, "--checkpoint", checkpoint, *paths, "--out", tmp_path / "out")["n"] == 4
    assert len((tmp_path / "out" / "predictions.tsv").read_text().splitlines()) == 5 and not stored.exists()


def test_protocol(runs, tmp_path, capsys):
    corpus, checkpoint = runs("meld")
    basis = ("--data", corpus.data, "--checkpoint")
    assert result_of(capsys, *basis, checkpoint, "--protocol", "paper")["protocol"] == "paper"
    selected_on_test = trained(corpus, tmp_path, "--valid-subset", "test", "--protocol", "paper")
    shown = result_of(capsys, *basis, selected_on_test)
    assert (shown["protocol"], shown["selected_on"]) == ("paper", "test/loss")
    with pytest.raises(EmofairError, match=r"trained under the paper protocol.*--protocol"):
        emofair_evaluate(*basis, selected_on_test, "--protocol", "clean")


def test_overlap_of_splits_is_refused(runs, tmp_path):
    corpus, checkpoint = runs("meld")
    data = shutil.copytree(corpus.data, tmp_path / "T_data")
    for name in ("label_file_{}.csv", "{}_a.tsv", "{}_t.tsv", "{}_size.tsv"):
        shutil.copy(data / name.format("train"), data / name.format("test"))
    with pytest.raises(EmofairError, match="train"):
        emofair_evaluate("--checkpoint", checkpoint, "--data", data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "{}/absent"), "absent: no such folder"),
        (("--data", "{}/raw", "--split", "test"), "raw"),
        (("--split", "dev"), "dev"),
        (("--checkpoint", "{}/absent.pt"), "absent.pt"),
        (("--device", "cuda"), "no GPU.*--device cpu"),
        (("--device", "tpu"), "--device tpu is not known"),
        (("--batch-size", "0"), "--batch-size 0"),
        (("--out", "{}/T_data/label_file_test.csv"), r"label_file_test\.csv: not usable as a folder"),
    ],
)
def test_bad_input(runs, arguments, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    corpus, checkpoint = runs("meld")
    given = [str(a).format(corpus.data.parent) for a in arguments]
    with pytest.raises(EmofairError, match=message):
        emofair_evaluate("--data", corpus.data, "--checkpoint", checkpoint, *given)


@pytest.mark.parametrize("fails", ["checking", "scoring"])
def test_a_failed_evaluation_leaves_an_earlier_result_as_it_was(runs, tmp_path, monkeypatch, fails):
    corpus, checkpoint = runs("meld")
    earlier = dict.fromkeys(("metrics.json", "predictions.tsv", "confusion.png"), "earlier")
    for name, text in earlier.items():
        (tmp_path / name).write_text(text)
    if fails == "checking":
        checkpoint = "nope.pt"
    else:
        monkeypatch.setattr("emofair.inference.evaluation.counted", lambda *_: 1 / 0)  # when predictions are written
    with pytest.raises((EmofairError, ZeroDivisionError)):
        emofair_evaluate("--data", corpus.data, "--checkpoint", checkpoint, "--out", tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == earlier


def test_a_result_takes_the_place_of_an_earlier_one(runs, tmp_path):
    corpus, checkpoint = runs("mosi")
    for name in ("metrics.json", "predictions.tsv", "confusion.png"):
        (tmp_path / name).write_text("earlier")
    assert emofair_evaluate("--data", corpus.data, "--checkpoint", checkpoint, "--out", tmp_path) == 0
    assert b"earlier" not in [path.read_bytes() for path in tmp_path.iterdir()]


def test_without_matplotlib_a_note_takes_the_place_of_the_picture(runs, tmp_path, capsys, monkeypatch):
    corpus, checkpoint = runs("meld")
    from emofair.reports import plots

    def absent(*_):
        raise MissingExtra("no matplotlib", remedy="pip install 'emofair[plots]'")

    monkeypatch.setattr(plots, "require", absent)
    assert emofair_evaluate("--data", corpus.data, "--checkpoint", checkpoint, "--out", tmp_path) == 0
    shown = capsys.readouterr()
    assert "note: no confusion.png" in shown.err and "emofair[plots]" in shown.err
    assert json.loads(shown.out) and sorted(p.name for p in tmp_path.iterdir()) == ["metrics.json", "predictions.tsv"]


def test_json_keeps_rows_together():
    result = {"a": [[1, 2], [3, 4]], "b": "x [\n 1,\n ]", "c": [], "d": {"e": ["u, v", "[ w ]"]}}
    text = evaluate.as_json(result)
    assert json.loads(text) == result and "[1, 2]" in text
