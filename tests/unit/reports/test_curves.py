import pytest

from emofair.reports.curves import read_log
from emofair.testing import token_corpus
from emofair.testing.commands import logged, run, train_here

ARGUMENTS = (
    *("--task", "emotion_prediction", "--arch", "robertaEMO_tiny", "--t-only", "--criterion", "emotion_prediction_cri"),
    *("--optimizer", "adam", "--lr", "1e-3", "--max-epoch", "2", "--batch-size", "8", "--cpu", "--num-workers", "0"),
    *("--no-save", "--log-interval", "1"),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return token_corpus(tmp_path_factory.mktemp("corpus"), "meld", n={"train": 16, "valid": 6, "test": 4})


def arguments(corpus, *extra):
    return ["--data", corpus.data, "--data-raw", corpus.raw, *corpus.flags, *ARGUMENTS, *extra]


def test_the_log_file_of_a_real_training(corpus, tmp_path):
    train_here(arguments(corpus, "--log-format", "json", "--log-file", tmp_path / "train.log", "--save-dir", tmp_path))
    curves = read_log(tmp_path / "train.log")
    assert set(curves.values) == {"train", "valid"} and curves.validation() == "valid"
    for subset in curves.values:
        assert set(curves.of(subset, "loss")) == set(curves.of(subset, "uar")) == {1, 2}
    assert 1 < curves.of("train", "loss")[1] < 10 and 0 <= curves.of("valid", "uar")[2] <= 1


@pytest.mark.parametrize("form", ["simple", "json"])
def test_the_standard_output_of_a_real_training(corpus, tmp_path, form):
    shown = run("fairseq-train", "--user-dir", "emofair", *arguments(corpus, "--log-format", form), cwd=tmp_path)
    (tmp_path / "train.log").write_text(shown.stdout)
    curves = read_log(tmp_path / "train.log")
    assert set(curves.values) == {"train", "valid"}
    assert set(curves.of("train", "loss")) == set(curves.of("valid", "f1_macro")) == {1, 2}
    if form == "json":
        expected = {record["epoch"]: float(record["valid_loss"]) for record in logged(shown.stdout, "valid")}
        assert curves.of("valid", "loss") == expected


def test_what_is_cut_off_or_foreign_is_passed_over(tmp_path):
    log = tmp_path / "train.log"
    log.write_bytes(
        b'2025-01-01 | INFO | train | {"epoch": 1, "train_loss": "2", "train_nll_loss": "3", "train_wps": "1"}\n'
        b'{"epoch": 1, "train_loss": "nan"}\n{"epoch": 2, "train_loss": "1.5", "trai\n\xff\xfe{}\n'
        b'{"epoch": 1, "update": 0.5, "loss": "7", "nll_loss": "7"}\n{"epoch": 3, "dev-other_loss": "1", "x": null}\n'
        b"epoch 004 | valid on 'dev' subset | loss 0.25 | uar 0.5 | wps inf\nepoch 004:  1 / 2 loss=3\n"
        b"epoch 004 | something else\n"
    )
    curves = read_log(log)
    assert curves.values == {
        "train": {"loss": {1: 2.0}, "nll_loss": {1: 3.0}, "wps": {1: 1.0}},
        "dev-other": {"loss": {3: 1.0}},
        "dev": {"loss": {4: 0.25}, "uar": {4: 0.5}},
    }


def test_a_resumed_epoch_counts_once(tmp_path):
    (tmp_path / "train.log").write_text('{"epoch": 1, "valid_loss": "2"}\n{"epoch": 1, "valid_loss": "1"}\n')
    assert read_log(tmp_path / "train.log").of("valid", "loss") == {1: 1.0}
