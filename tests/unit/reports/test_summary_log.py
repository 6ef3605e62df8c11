"""The statistics log against numbers computed by hand for two runs and three folds."""

import hashlib
import json

import numpy as np
import pytest

from emofair.errors import EmofairError
from emofair.reports import summary_log
from emofair.reports.groups import group_runs
from emofair.reports.runs import find_runs

# Recalls, accuracies and so on of conftest.GRID, in per cent, [run][fold].
VALUES = {
    "UAR": [[75, 100, 50], [75, 250 / 3, 50]],
    "WAR": [[75, 100, 50], [75, 75, 50]],
    "macroF1": [[220 / 3, 100, 50], [220 / 3, 220 / 3, 100 / 3]],
    "microF1": [[1500 / 19, 100, 50], [1500 / 19, 1500 / 19, 100 / 3]],
}
LOG = """\
+++ SUMMARY +++
Mean UAR [%]: 72.22
Fold Std. UAR [%]: 17.29
Fold Median UAR [%]: 75.00
Run Std. UAR [%]: 2.78
Run Median UAR [%]: 72.22
Mean WAR [%]: 70.83
Fold Std. WAR [%]: 16.10
Fold Median WAR [%]: 75.00
Run Std. WAR [%]: 4.17
Run Median WAR [%]: 70.83
Mean macroF1 [%]: 67.22
Fold Std. macroF1 [%]: 19.64
Fold Median macroF1 [%]: 73.33
Run Std. macroF1 [%]: 7.22
Run Median macroF1 [%]: 67.22
Mean microF1 [%]: 70.03
Fold Std. microF1 [%]: 21.00
Fold Median microF1 [%]: 78.95
Run Std. microF1 [%]: 6.29
Run Median microF1 [%]: 70.03
"""


def methods_of(writer, **options):
    return summary_log.methods(group_runs(find_runs([writer.root])), **options)


def summary_of(writer):
    ((method, (group, grid)),) = methods_of(writer).items()
    return summary_log.summary(method, group, grid)


def test_log(write_grid):
    write_grid("P-TAPT")
    (_, grid), *_ = methods_of(write_grid).values()
    assert summary_log.log_text(grid) == LOG


def test_medians_are_over_folds_and_over_runs():
    """Three runs of four folds: an even number of folds, and a median that is not the mean."""
    table = np.array([[1.0, 2.0, 4.0, 9.0], [2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 10.0, 10.0]])
    told = summary_log.statistics(table)
    assert told["Fold Median"] == pytest.approx((3 + 2 + 5) / 3)
    assert told["Run Median"] == 4 and told["Mean"] == pytest.approx(11 / 3)
    assert told["Run Std."] == pytest.approx(np.sqrt((1 / 9 + 25 / 9 + 16 / 9) / 3))


def test_one_fold_has_no_spread_over_folds(write_run):
    write_run("a", seed=1, confusion=[[1, 1], [0, 2]])
    write_run("b", seed=2, confusion=[[2, 0], [0, 2]])
    told = summary_of(write_run)
    assert told["folds"] == [None] and told["seeds"] == [1, 2]
    assert told["statistics"]["UAR"]["Fold Std."] == 0 and told["statistics"]["UAR"]["Run Std."] == 12.5


def test_summary(write_grid):
    write_grid("P-TAPT")
    told = summary_of(write_grid)
    for metric, expected in VALUES.items():
        assert np.allclose(told["values"][metric], expected)
    assert (told["method"], told["protocol"], told["classes"]) == ("P-TAPT", "clean", ["sad", "happy"])
    assert (told["seeds"], told["folds"], told["items"]) == ([1, 2], ["1", "2", "3"], [4, 4, 4])
    assert told["confusion"][1] == [[[2, 0], [1, 1]], [[1, 0], [1, 2]], [[0, 2], [0, 2]]]
    assert told["pooled"]["WA"] == pytest.approx([75, 200 / 3])
    assert told["pooled"]["UA"] == pytest.approx([510 / 7, 460 / 7])
    assert told["pooled"]["macro F1"] == pytest.approx([220 / 3, 460 / 7])
    assert told["ddof"] == 0 and told["statistics"]["WAR"]["Run Std."] == pytest.approx(25 / 6)
    assert told["checkpoint_sha256"][1][2] == "P-TAPT-2-3-hash" and told["data_sha256"] == ["d1", "d2", "d3"]
    assert told["absent_classes"]["folds"] == {} and summary_log.notes(told) == []
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_hash_of_the_configuration(write_grid):
    write_grid("A")
    write_grid("B")
    write_grid("C", settings={"lr": [0.01]})
    told = {name: summary_log.summary(name, *found) for name, found in methods_of(write_grid).items()}
    a, b, c = (told[name]["config_sha256"] for name in "ABC")
    assert a == b != c and told["C"]["configuration"]["settings"] == {"lr": [0.01]}
    text = json.dumps(told["A"]["configuration"], sort_keys=True)
    assert a == hashlib.sha256(text.encode()).hexdigest()


def test_an_absent_class_is_left_out_and_told(write_grid):
    write_grid("V-FT", {1: {"1": [[0, 0], [1, 3]], "2": [[2, 0], [0, 2]]}})
    told = summary_of(write_grid)
    assert told["values"]["UAR"] == [[75, 100]]
    assert told["absent_classes"]["folds"] == {"1": ["sad"]} and "left out" in told["absent_classes"]["convention"]
    assert summary_log.notes(told) == ["fold 1 has no item of sad: its UAR is over the other 1"]


def test_folds_with_the_same_items_are_not_pooled(write_grid):
    write_grid("V-FT", data_sha256="same")
    told = summary_of(write_grid)
    assert told["pooled"] is None and told["values"]["WAR"] == VALUES["WAR"]
    assert summary_log.notes(told) == ["not pooled: folds 1 2 3 test the same items"]


def test_missing_runs_are_named_and_nothing_is_averaged(write_grid):
    matrix = [[1, 1], [0, 2]]
    write_grid("TAPT", {1: {"1": matrix, "2": matrix}, 2: {"1": matrix}, 3: {"2": matrix}})
    write_grid("V-FT", {1: {"1": matrix, "2": matrix}})
    expected = r"TAPT \(clean\): seed 2 has no run of fold 2; TAPT \(clean\): seed 3 has no run of fold 1\. Evaluate"
    with pytest.raises(EmofairError, match=expected):
        methods_of(write_grid)


def test_names_of_methods(write_grid, write_run):
    write_grid("V-FT")
    write_grid("V-FT", protocol="paper")
    write_run("a", modalities=["text", "speech"])
    write_run("score", target="score", figures={"mae": 0.5})
    assert list(methods_of(write_run)) == ["robertaEMO-text-speech", "V-FT_clean", "V-FT_paper"]


def test_labels_that_differ_in_signs_only_do_not_overwrite_each_other(write_run):
    write_run("a", name="x+y")
    write_run("b", name="x y")
    assert sorted(methods_of(write_run)) == ["x-y", "x-y-2"]


def test_a_name_is_for_one_method(write_grid):
    write_grid("V-FT")
    assert list(methods_of(write_grid, name="summary")) == ["summary"]
    write_grid("TAPT")
    with pytest.raises(EmofairError, match=r"2 methods cannot all be called 'summary': TAPT \(clean\), V-FT \(clean\)"):
        methods_of(write_grid, name="summary")


def test_without_classes_there_is_nothing(write_run):
    write_run("a", confusion=None, confusion_classes=None)
    with pytest.raises(EmofairError, match="no run has a confusion matrix"):
        methods_of(write_run)
