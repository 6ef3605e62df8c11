"""The test set in training: refused, unless published habits are asked for by name; then the result is marked."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from emofair.checkpoints import safe
from emofair.errors import EmofairError
from emofair.testing.commands import logged, run, seed_arguments, train_here, validate_here


@pytest.fixture
def corpus(token_corpora, tmp_path):
    """A copy to change, with its lists once more under other names."""
    original = token_corpora("iemocap")
    data = shutil.copytree(original.data, tmp_path / "T_data")
    for old, new in (("train", "fit"), ("valid", "dev")):
        for path in data.glob(f"*{old}*"):
            shutil.copy(path, path.with_name(path.name.replace(old, new)))
    return dataclasses.replace(original, data=data)


def add(corpus, split, item):
    """List an item of another split once more."""
    for letter, extension in (("a", ".wav"), ("t", ".txt")):
        with (corpus.data / f"{split}_{letter}.tsv").open("a") as file:
            file.write(f"{item}{extension}\n")


@pytest.fixture
def arguments(corpus, ssl_dir, tmp_path):
    return [*seed_arguments(corpus, ssl_dir, tmp_path / "run"), "--max-update", "1", "--num-workers", "0"]


def changed(arguments, **names):
    replaced = {"emotion_prediction": "emotion_semisup_prediction", "robertaEMO": "semiemo", **names}
    replaced["emotion_prediction_cri"] = "emotion_prediction_semisup_cri"
    return [replaced.get(a, a) for a in arguments]


@pytest.mark.parametrize("subsets", ["test", "valid,test"])
@pytest.mark.parametrize("train", ["train", "fit"])
def test_clean_protocol_refuses_to_look_at_the_test_set_in_training(subsets, train, arguments, tmp_path):
    with pytest.raises(EmofairError, match=f"--valid-subset {subsets} would show the test set") as error:
        train_here([*arguments, "--train-subset", train, "--valid-subset", subsets])
    assert "--protocol paper" in str(error.value)
    assert not list((tmp_path / "run").glob("*.pt"))


@pytest.mark.parametrize(
    ("split", "said"),
    [("test", "test would train on the test set"), ("valid", "valid would select by the items that are trained on")],
)
def test_clean_protocol_refuses_to_train_on_what_is_scored(split, said, arguments):
    with pytest.raises(EmofairError, match=said):
        train_here([*arguments, "--train-subset", split])


@pytest.mark.parametrize(("split", "taken_from"), [("fit", "test"), ("dev", "test"), ("fit", "dev")])
def test_overlap_is_looked_for_in_the_splits_that_are_used(split, taken_from, arguments, corpus):
    add(corpus, split, corpus.ids[{"dev": "valid"}.get(taken_from, taken_from)][0])
    with pytest.raises(EmofairError, match=f"splits {split} and {taken_from} share 1 items"):
        train_here([*arguments, "--train-subset", "fit", "--valid-subset", "dev"])


def test_overlap_is_looked_for_under_hydra_too(corpus, tmp_path):
    add(corpus, "fit", corpus.ids["test"][0])
    config = ["--config-dir", "emofair/config/robertaemo", "--config-name", "debug", f"task.data={corpus.data}"]
    config += [f"task.data_raw={corpus.raw}", "dataset.train_subset=fit", f"hydra.run.dir={tmp_path / 'run'}"]
    done = run("fairseq-hydra-train", *config, check=False)
    assert done.returncode != 0
    assert "splits fit and test share 1 items" in done.stdout


def test_splits_of_other_names_are_trained_on_like_the_usual_ones(arguments, tmp_path):
    usual, other = (
        logged(train_here([*arguments, "--train-subset", train, "--valid-subset", valid]), kind)
        for train, valid, kind in (("train", "valid", "valid"), ("fit", "dev", "dev"))
    )
    strip = {"wps", "ups", "wall"}
    figures = [
        {name.split("_", 1)[1]: value for name, value in row.items() if name.split("_", 1)[-1] not in strip | {"epoch"}}
        for row in (usual[0], other[0])
    ]
    assert figures[0] == figures[1]


def test_unlabelled_lists_must_not_hold_what_is_scored(arguments, corpus):
    for split in ("test", "valid"):
        for kind in "at":
            shutil.copy(corpus.data / f"{split}_{kind}.tsv", corpus.data / f"unsup_{kind}.tsv")
        with pytest.raises(EmofairError, match=f"splits unsup and {split} share 22 items"):
            train_here([*changed(arguments), "--stack-up", "--semisup", "uda"])


def test_clean_is_the_default_and_stored_and_told(arguments, tmp_path):
    output = train_here(arguments)
    assert safe.load(tmp_path / "run" / "checkpoint_best.pt")["task_state"]["protocol"] == "clean"
    assert output.count("protocol clean | valid | 22 items") == output.count("protocol ") == 1
    words = ["--path", tmp_path / "run" / "checkpoint_best.pt", "--task", "emotion_prediction", "--batch-size", 4]
    output = validate_here([*words, "--valid-subset", "test,valid", "--cpu", "--num-workers", 0])
    assert output.count("protocol clean | test | 22 items") == output.count("protocol clean | valid | 22 items") == 1
    assert output.count("protocol clean") == 2


def test_paper_protocol_allows_it_and_marks_every_checkpoint(arguments, corpus, tmp_path):
    for item in corpus.ids["test"][:3]:
        add(corpus, "train", item)
    output = train_here([*arguments, "--valid-subset", "test", "--protocol", "paper"])
    assert len(logged(output, "test")) == 1
    assert output.count("items that two splits share: train and test: 3\n") == 1
    assert output.count("protocol paper | test | 22 items") == 1
    for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
        assert safe.load(tmp_path / "run" / name)["task_state"]["protocol"] == "paper"
