import pytest

from emofair.errors import EmofairError
from emofair.reports.groups import group_runs, without_repeats
from emofair.reports.runs import find_runs


def groups(write_run, *by):
    return group_runs(find_runs([write_run.root]), by)


def sizes(write_run, *by):
    return {group.label: len(group.runs) for group in groups(write_run, *by)}


def test_seeds_are_put_together(write_run):
    for seed, accuracy in ((1, 0.5), (2, 0.7), (3, 0.6)):
        write_run(f"seed{seed}", seed=seed, figures={"accuracy": accuracy})
    (group,) = groups(write_run)
    assert group.label == "robertaEMO, text" and group.get("seed") is None and group.get("protocol") == "clean"
    assert group.values("accuracy") == [0.5, 0.7, 0.6]
    counts, classes = group.confusion()
    assert counts.tolist() == [[3, 3], [0, 6]] and classes == ["sad", "happy"]


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": "paper"},
        {"split": "valid"},
        {"target": "binary"},
        {"data": "T_data/y"},
        {"data_sha256": "d1"},
        {"classes": ["happy", "sad"]},
    ],
)
@pytest.mark.parametrize("by", [(), ("seed",), ("system",)])
def test_what_is_never_averaged(write_run, other, by):
    write_run("a")
    write_run("b", **other)
    assert [len(group.runs) for group in groups(write_run, *by)] == [1, 1]


@pytest.mark.parametrize(
    ("other", "labels"),
    [
        ({"modalities": ["text", "speech"]}, ["robertaEMO, text", "robertaEMO, text + speech"]),
        ({"fusion": "concatenation"}, ["robertaEMO, text", "robertaEMO, text, concatenation"]),
        ({"frozen": True}, ["robertaEMO, text", "robertaEMO, text, encoders frozen"]),
        ({"name": "mine"}, ["mine", "robertaEMO, text"]),
        ({"settings": {"lr": [0.01]}}, ["robertaEMO, text, lr 0.001", "robertaEMO, text, lr 0.01"]),
        ({"settings": {}}, ["robertaEMO, text, lr 0.001", "robertaEMO, text, lr null"]),
    ],
)
def test_models_and_settings_make_groups_of_their_own(write_run, other, labels):
    write_run("a")
    write_run("b", **other)
    assert [group.label for group in groups(write_run)] == labels


def test_folds_are_put_together_though_their_data_differ(write_run):
    for fold in (1, 2):
        for seed in (1, 2):
            write_run(
                f"{fold}{seed}", fold=str(fold), seed=seed, data=f"data/fold{fold}/T_data", data_sha256=f"d{fold}"
            )
    (group,) = groups(write_run)
    assert len(group.runs) == 4 and group.data == "data/fold*/T_data"


def test_one_fold_with_two_contents_is_taken_apart(write_run):
    write_run("a", fold="1")
    write_run("b", fold="1", data_sha256="d1")
    write_run("c", fold="2", data_sha256="d2")
    assert [len(group.runs) for group in groups(write_run)] == [1, 1, 1]


def test_group_by_an_entry(write_run):
    write_run("a", settings={"lr": [0.1], "dropout": 0.1})
    write_run("b", settings={"lr": [0.1], "dropout": 0.2})
    write_run("c", settings={"lr": [0.2], "dropout": 0.2})
    assert sizes(write_run, "settings.lr") == {"[0.1]": 2, "[0.2]": 1}
    assert sizes(write_run, "model") == {"robertaEMO": 3}
    with pytest.raises(EmofairError, match="no run has an entry 'colour'"):
        groups(write_run, "colour")


def test_the_same_checkpoint_counts_once(write_run):
    write_run("a", checkpoint_sha256="same")
    write_run("b", checkpoint_sha256="same")
    write_run("c", checkpoint_sha256="same", split="valid")
    write_run("d", checkpoint_sha256=None)
    write_run("e", checkpoint_sha256=None)
    kept, repeats = without_repeats(find_runs([write_run.root]))
    assert [run.folder.name for run in kept] == ["a", "c", "d", "e"]
    assert [(left_out.folder.name, counted.folder.name) for left_out, counted in repeats] == [("b", "a")]


def test_confusion_needs_all_runs(write_run):
    write_run("a")
    write_run("b", confusion=None)
    (group,) = groups(write_run)
    assert group.confusion() is None
