"""Run folders with chosen figures."""

import json

import pytest

RECORD = {
    "name": None,
    "system": "robertaemo",
    "model": "robertaEMO",
    "modalities": ["text"],
    "fusion": None,
    "frozen": False,
    "split": "test",
    "n": 4,
    "protocol": "clean",
    "target": "softmax",
    "classes": ["sad", "happy"],
    "metrics": {"accuracy": 0.75, "f1": 0.7, "f1_macro": 0.65, "uar": 0.6, "f1_sad": 0.5, "f1_happy": 0.8, "loss": 1.0},
    "confusion": [[1, 1], [0, 2]],
    "confusion_classes": ["sad", "happy"],
    "majority": {"accuracy": 0.5, "f1": 0.3333, "f1_macro": 0.3333, "uar": 0.5, "f1_sad": 0.0, "f1_happy": 0.6667},
    "majority_guess": "happy",
    "checkpoint_sha256": None,
    "seed": 1,
    "fold": None,
    "updates": 10,
    "selected_on": "valid/loss",
    "data": "T_data/x",
    "data_sha256": "d0",
    "settings": {"lr": [0.001]},
    "train_command": "fairseq-train --lr 0.001",
    "commit": "abc1234",
    "command": "emofair evaluate --checkpoint x",
}


def log_lines(valid=(2.0, 1.0), train=(3.0, 1.5), accuracy=(0.25, 0.5)):
    lines = []
    for epoch, (t, v, a) in enumerate(zip(train, valid, accuracy, strict=True), start=1):
        lines.append(json.dumps({"epoch": epoch, "update": epoch - 0.5, "loss": "9"}))
        lines.append(json.dumps({"epoch": epoch, "train_loss": f"{t}", "train_uar": f"{a}", "train_wps": "12"}))
        lines.append(json.dumps({"epoch": epoch, "valid_loss": f"{v}", "valid_uar": f"{a}", "valid_best_loss": f"{v}"}))
    return "\n".join(lines) + "\n"


# Confusion matrices of two seeds in three folds; the rows are sad and happy.
GRID = {
    1: {"1": [[1, 1], [0, 2]], "2": [[1, 0], [0, 3]], "3": [[1, 1], [1, 1]]},
    2: {"1": [[2, 0], [1, 1]], "2": [[1, 0], [1, 2]], "3": [[0, 2], [0, 2]]},
}


@pytest.fixture
def write_run(tmp_path):
    """Write a run folder: entries of `RECORD` are replaced by those given, figures by ``accuracy`` and so on."""

    def write(name, /, *, log=None, figures=None, **entries):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        record = {**RECORD, "checkpoint_sha256": f"{name}-hash", **entries}
        if figures:
            record["metrics"] = {**record["metrics"], **figures}
        (folder / "metrics.json").write_text(json.dumps(record), encoding="utf-8")
        if log is not None:
            (folder / "train.log").write_text(log if isinstance(log, str) else log_lines(**log), encoding="utf-8")
        return folder

    write.root = tmp_path / "runs"
    return write


@pytest.fixture
def write_grid(write_run):
    """Write a run folder, with the predictions, for every seed and fold of `GRID` or of another such table."""

    def write(name, /, grid=GRID, **entries):
        for seed, folds in grid.items():
            for fold, matrix in folds.items():
                place = {"fold": fold, "data": f"data/fold{fold}", "data_sha256": f"d{fold}"}
                told = {"name": name, "seed": seed, "confusion": matrix, "n": sum(map(sum, matrix)), **place, **entries}
                folder = write_run(f"{name}-{told.get('protocol', '')}{seed}-{fold}", **told)
                write_predictions(folder, fold, matrix, told.get("confusion_classes", RECORD["confusion_classes"]))

    write.root = write_run.root
    return write


def write_predictions(folder, fold, matrix, classes):
    """The table that a confusion matrix counts; utterances are called ``<fold>-<class>-<number>``."""
    lines = ["id\tprediction\tlabel"]
    for label, row in zip(classes, matrix, strict=True):
        predicted = [name for name, count in zip(classes, row, strict=True) for _ in range(count)]
        lines += [f"{fold}-{label}-{i}\t{name}\t{label}" for i, name in enumerate(predicted)]
    (folder / "predictions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
