import re

import pytest

from emofair.reports import fold_tables
from emofair.reports.document import Items, Table
from emofair.reports.groups import group_runs
from emofair.reports.results import build
from emofair.reports.runs import find_runs


@pytest.fixture
def blocks(write_grid):
    return lambda: fold_tables.blocks(group_runs(find_runs([write_grid.root])))


def tables(blocks):
    return [block for block in blocks if isinstance(block, Table)]


def notes(blocks):
    return [item for block in blocks if isinstance(block, Items) for item in block.items]


def test_hand_computed(write_grid, blocks):
    """Pooled: 9 and 8 of 12 right, recalls (3/5, 6/7) and (3/5, 5/7), F1 (6/9, 12/15) and (6/10, 10/14)."""
    write_grid("V-FT")
    pooled, by_fold = tables(blocks())
    assert pooled.header == ["model", "protocol", "seeds", "items", "WA", "UA", "macro F1"]
    assert pooled.rows == [
        ["V-FT", "clean", "2", "12", "70.8 ± 5.9", "69.3 ± 5.1", "69.5 ± 5.4"],
        ["always happy", "clean", "–", "12", "58.3", "50.0", "36.8"],
    ]
    assert by_fold.header == ["fold", "model", "protocol", "runs", "items", "WA", "UA", "macro F1"]
    assert by_fold.rows == [
        ["1", "V-FT", "clean", "2", "4", "75.0 ± 0.0", "75.0 ± 0.0", "73.3 ± 0.0"],
        ["1", "always sad", "clean", "–", "4", "50.0", "50.0", "33.3"],
        ["2", "V-FT", "clean", "2", "4", "87.5 ± 17.7", "91.7 ± 11.8", "86.7 ± 18.9"],
        ["2", "always happy", "clean", "–", "4", "75.0", "50.0", "42.9"],
        ["3", "V-FT", "clean", "2", "4", "50.0 ± 0.0", "50.0 ± 0.0", "41.7 ± 11.8"],
        ["3", "always sad", "clean", "–", "4", "50.0", "50.0", "33.3"],
    ]
    assert notes(blocks()) == []


def test_methods_and_protocols_have_rows_of_their_own_and_share_the_floor(write_grid, blocks):
    write_grid("V-FT")
    write_grid("TAPT", protocol="paper")
    pooled, by_fold = tables(blocks())
    assert [row[:2] for row in pooled.rows] == [["TAPT", "paper"], ["V-FT", "clean"], ["always happy", "clean, paper"]]
    assert [row[1] for row in by_fold.rows[:3]] == ["TAPT", "V-FT", "always sad"]


def test_an_absent_class_is_told_and_counts_when_pooled(write_grid, blocks):
    write_grid("V-FT", {1: {"1": [[0, 0], [1, 3]], "2": [[2, 0], [0, 2]]}})
    pooled, by_fold = tables(blocks())
    # Fold 1: recall of happy alone, F1 of both, since sad was said. Pooled: recalls 1 and 5/6.
    assert by_fold.rows[0] == ["1", "V-FT", "clean", "1", "4", "75.0", "75.0", "42.9"]
    assert pooled.rows[0][4:6] == ["87.5", "91.7"]
    assert notes(blocks()) == ["fold 1 has no item of sad: its UA is over the other 1"]


def test_an_incomplete_seed_is_not_pooled(write_grid, blocks):
    matrix = [[1, 1], [0, 2]]
    write_grid("V-FT", {1: {"1": matrix, "2": matrix}, 2: {"1": matrix}})
    pooled, by_fold = tables(blocks())
    assert pooled.rows[0][:4] == ["V-FT", "clean", "1", "8"]
    assert [row[3] for row in by_fold.rows if row[1] == "V-FT"] == ["2", "1"]
    assert notes(blocks()) == ["not pooled, V-FT (clean): seed 2 has no run of fold 2"]


def test_folds_with_the_same_items_are_not_pooled(write_grid, blocks):
    write_grid("V-FT", data_sha256="same")
    assert len(tables(blocks())) == 1
    assert notes(blocks()) == ["not pooled, V-FT (clean): folds 1 2 3 test the same items"]


def test_a_run_without_matrix_shows(write_grid, write_run, blocks):
    write_grid("V-FT", {1: {"1": [[1, 1], [0, 2]]}})
    write_run("b", name="V-FT", fold="2", data="data/fold2", data_sha256="d2", confusion=None)
    (by_fold,) = tables(blocks())
    assert by_fold.rows[-1] == ["2", "V-FT", "clean", "1", "–", "–", "–", "–"]
    assert notes(blocks()) == ["not pooled, V-FT (clean): seed 1 has no confusion matrix of fold 2"]


def test_nothing_without_folds(write_run, blocks):
    write_run("a", seed=1)
    write_run("b", seed=2)
    write_run("score", target="score", fold="1", figures={"mae": 1.0})
    assert blocks() == []


def test_the_report_has_them_after_the_main_table(write_grid):
    write_grid("V-FT")
    shown = tables(build(find_runs([write_grid.root]), write_grid.root.parent / "R.md", pictures=False))
    assert [table.header[0] for table in shown[:3]] == ["model", "model", "fold"]
    assert "weighted F1" in shown[0].header and re.fullmatch(r"\d+", shown[1].rows[0][3])
