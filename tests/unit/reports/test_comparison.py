import re

import pytest

from emofair.errors import EmofairError
from emofair.metrics.paired_bootstrap import Difference
from emofair.reports import comparison
from emofair.reports.document import Items, Table
from emofair.reports.groups import group_runs
from emofair.reports.results import build
from emofair.reports.runs import find_runs

RIGHT = {seed: {"1": [[2, 0], [0, 2]], "2": [[1, 0], [0, 3]], "3": [[2, 0], [0, 2]]} for seed in (1, 2, 3)}


@pytest.fixture
def compare(write_grid):
    def make(baseline):
        blocks = comparison.blocks(group_runs(find_runs([write_grid.root])), baseline)
        table = next((block for block in blocks if isinstance(block, Table)), None)
        return table, [item for block in blocks if isinstance(block, Items) for item in block.items]

    return make


def test_differences(write_grid, compare):
    """V-FT is right on 17 of 24, recalls 6 of 10 sad and 11 of 14 happy; TAPT is always right."""
    write_grid("V-FT")
    write_grid("TAPT", RIGHT)
    table, notes = compare("V-FT")
    assert table.header == ["model", "protocol", "seeds (its / V-FT)", "items", "WA", "UA"] and notes == []
    (row,) = table.rows
    assert row[:4] == ["TAPT", "clean", "3 / 2", "12"]
    wa, ua = (re.fullmatch(r"(\+[\d.]+) \[(\S+), (\S+)\]", cell) for cell in row[4:])
    assert (wa[1], ua[1]) == ("+29.2", "+30.7")
    assert 0 < float(wa[2]) < 29.2 < float(wa[3]) < 60
    (back,) = compare("TAPT")[0].rows
    assert back[0] == "V-FT" and back[4] == f"−{wa[1][1:]} [−{wa[3][1:]}, −{wa[2][1:]}]"


def test_no_difference_has_no_sign(write_grid, compare):
    write_grid("V-FT")
    write_grid("twin")
    assert compare("V-FT")[0].rows == [["twin", "clean", "2 / 2", "12", "0.0 [0.0, 0.0]", "0.0 [0.0, 0.0]"]]


def test_a_bound_that_rounds_to_zero_keeps_its_sign():
    cell = comparison._cell(Difference(0.0212, -0.00048, 0.00031))
    assert cell == "+2.1 [−0.0, +0.0]"


def test_protocols_are_not_compared_with_each_other(write_grid, compare):
    write_grid("V-FT")
    write_grid("TAPT", protocol="paper")
    table, notes = compare("V-FT")
    assert table is None and notes == ["not compared with V-FT, TAPT (paper): no V-FT with this protocol on this data"]
    write_grid("V-FT", protocol="paper")
    assert [row[:2] for row in compare("V-FT")[0].rows] == [["TAPT", "paper"]]


def test_other_utterances_are_told(write_grid, compare):
    write_grid("V-FT")
    write_grid("TAPT", RIGHT)
    for seed in RIGHT:
        path = write_grid.root / f"TAPT-{seed}-1" / "predictions.tsv"
        path.write_text(path.read_text().replace("1-sad-0", "1-sad-x"))
    table, (note,) = compare("V-FT")
    assert table is None and note.endswith("TAPT (clean): not tested on the same utterances: 2 are in one of both only")


def test_other_labels_are_told(write_grid, compare):
    write_grid("V-FT")
    write_grid("TAPT", RIGHT)
    for seed in RIGHT:
        path = write_grid.root / f"TAPT-{seed}-1" / "predictions.tsv"
        swapped = path.read_text().replace("1-sad-0", "x").replace("1-happy-0", "1-sad-0").replace("x", "1-happy-0")
        path.write_text(swapped)
    assert compare("V-FT")[1][0].endswith("the same utterances have other labels")


def test_absent_predictions_are_told(write_grid, compare):
    write_grid("V-FT")
    write_grid("TAPT", RIGHT)
    write_grid("P-TAPT", RIGHT)
    (write_grid.root / "TAPT-1-2" / "predictions.tsv").unlink()
    table, (note,) = compare("V-FT")
    assert [row[0] for row in table.rows] == ["P-TAPT"]
    assert re.search(r"TAPT \(clean\): TAPT: .*TAPT-1-2/predictions.tsv: no such file\. Make it again", note)


def test_scores_are_not_compared(write_run, compare):
    write_run("a", name="V-FT", target="score", figures={"mae": 0.5})
    write_run("b", name="TAPT", target="score", figures={"mae": 0.4})
    table, (note,) = compare("V-FT")
    assert table is None and note.endswith("TAPT (clean): it does not choose one class of several")


def test_the_baseline_is_a_label_or_the_name_of_runs(write_grid, write_run):
    write_grid("V-FT")
    write_grid("TAPT", settings={"lr": [0.1]})
    for folder in sorted(write_grid.root.glob("TAPT*")):
        record = folder / "metrics.json"
        record.write_text(record.read_text().replace('"name": "TAPT"', '"name": "V-FT"'))
    groups = group_runs(find_runs([write_grid.root]))
    comparison.check_baseline(groups, "V-FT, lr 0.1")
    with pytest.raises(EmofairError, match=r"several groups are called 'V-FT'\. Compare with one of 'V-FT, lr 0.001',"):
        comparison.check_baseline(groups, "V-FT")
    with pytest.raises(EmofairError, match=r"no group 'TAPT' to compare with\. There are 'V-FT, lr 0.001', 'V-FT, lr"):
        comparison.check_baseline(groups, "TAPT")


def test_the_report_has_the_table(write_grid):
    write_grid("V-FT")
    write_grid("TAPT", RIGHT)
    runs, out = find_runs([write_grid.root]), write_grid.root.parent / "R.md"
    shown = [b for b in build(runs, out, baseline="V-FT", pictures=False) if isinstance(b, Table)]
    assert [table.header[-3] for table in shown[:4]] == ["UA", "WA", "WA", "items"]
    with pytest.raises(EmofairError, match="no group 'other'"):
        build(runs, out, baseline="other", pictures=False)
