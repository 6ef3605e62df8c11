import numpy as np
import pytest

from emofair.reports import folds
from emofair.reports.groups import group_runs
from emofair.reports.runs import find_runs


def group_of(writer):
    (group,) = group_runs(find_runs([writer.root]))
    return group


def test_runs_are_laid_out_by_seed_and_fold(write_grid):
    write_grid("V-FT")
    grid = folds.arrange(group_of(write_grid))
    assert (grid.seeds, grid.folds, grid.classes, grid.left_out) == ((1, 2), ("1", "2", "3"), ("sad", "happy"), ())
    assert grid.counts()[1].tolist() == [[[2, 0], [1, 1]], [[1, 0], [1, 2]], [[0, 2], [0, 2]]]
    assert grid.pooled().tolist() == [[[3, 2], [1, 6]], [[3, 2], [2, 5]]]
    assert grid.overlap() is None


def test_numbers_order_seeds_and_folds(write_grid):
    matrix = [[1, 0], [0, 1]]
    write_grid("V-FT", {seed: dict.fromkeys(("10", "2", "b", "1"), matrix) for seed in (10, 9)}, data="data")
    group = group_of(write_grid)
    grid = folds.arrange(group)
    assert grid.seeds == (9, 10) and grid.folds == tuple(folds.by_fold(group)) == ("b", "1", "2", "10")


def test_seeds_without_folds(write_run):
    write_run("a", seed=1)
    write_run("b", seed=2)
    grid = folds.arrange(group_of(write_run))
    assert (grid.seeds, grid.folds, grid.counts().shape) == ((1, 2), (None,), (2, 1, 2, 2))


def test_an_incomplete_seed_is_left_out_and_says_why(write_grid, write_run):
    matrix = [[1, 1], [0, 2]]
    write_grid("V-FT", {1: {"1": matrix, "2": matrix}, 2: {"1": matrix}, 3: {"2": matrix}})
    write_run("more", name="V-FT", seed=3, fold="2", data="data/fold2", data_sha256="d2")
    grid = folds.arrange(group_of(write_grid))
    assert grid.seeds == (1,) and grid.counts().shape == (1, 2, 2, 2)
    assert grid.left_out == ("seed 2 has no run of fold 2", "seed 3 has no run of fold 1, 2 runs of fold 2")


def test_a_run_without_confusion_matrix_is_a_fault(write_run):
    write_run("a", confusion=None)
    grid = folds.arrange(group_of(write_run))
    assert grid.seeds == () and grid.left_out == ("seed 1 has no confusion matrix",)
    assert grid.pooled().shape == (0, 2, 2)


def test_folds_that_test_the_same_items(write_grid):
    write_grid("V-FT", data_sha256="same")
    assert folds.arrange(group_of(write_grid)).overlap() == "folds 1 2 3 test the same items"


@pytest.mark.parametrize(("entries", "expected"), [({}, True), ({"confusion_classes": None, "confusion": None}, False)])
def test_is_classified(write_run, entries, expected):
    write_run("a", **entries)
    assert folds.is_classified(group_of(write_run)) is expected


def test_a_score_is_not_classified_though_it_has_a_matrix(write_run):
    write_run("a", figures={"mae": 0.5})
    assert not folds.is_classified(group_of(write_run))


def test_absent_classes_and_constant_answer():
    matrix = np.array([[1, 2, 0], [0, 0, 0], [1, 0, 4]])
    assert folds.absent_classes(matrix, ["a", "b", "c"]) == ["b"]
    best, constant = folds.constant_answer(matrix)
    assert best == 2 and constant.tolist() == [[0, 0, 3], [0, 0, 0], [0, 0, 5]]
