import numpy as np
import pytest

from emofair.errors import EmofairError
from emofair.reports.groups import group_runs
from emofair.reports.runs import find_runs
from emofair.reports.utterances import scored_utterances


def scored(writer):
    (group,) = group_runs(find_runs([writer.root]))
    return scored_utterances(group)


def test_hits_are_averaged_over_seeds_and_pooled_over_folds(write_grid):
    write_grid("V-FT")
    found = scored(write_grid)
    assert found.ids[:4] == ("1-happy-0", "1-happy-1", "1-sad-0", "1-sad-1") and len(found.ids) == 12
    assert found.labels.tolist()[:4] == [1, 1, 0, 0] and (found.classes, found.seeds) == (("sad", "happy"), 2)
    # Seed 1 says happy, happy, sad, happy; seed 2 sad, happy, sad, sad.
    assert found.hits.tolist()[:4] == [0.5, 1, 1, 0.5]
    assert found.hits.mean() == pytest.approx((9 + 8) / 24)
    assert np.bincount(found.labels).tolist() == [5, 7]


def test_the_order_of_rows_does_not_matter(write_grid):
    write_grid("V-FT")
    expected = scored(write_grid)
    path = write_grid.root / "V-FT-2-1" / "predictions.tsv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    found = scored(write_grid)
    assert found.ids == expected.ids and (found.hits == expected.hits).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), r"V-FT-2-1/predictions.tsv: no such file\. Make it again"),
        (lambda path: path.write_text(""), "predictions.tsv:1: no table with columns id, prediction and label"),
        (lambda path: path.write_text("id\tvalue\tlabel\n"), "predictions.tsv:1: no table with columns"),
        (lambda path: path.write_bytes(b"id\tprediction\tlabel\n\xff\n"), "predictions.tsv: cannot be read"),
        (lambda path: path.write_text(path.read_text() + "x\tsad\n"), "predictions.tsv:6: 2 columns, and the header"),
        (lambda path: path.write_text(path.read_text() + path.read_text()[20:]), "predictions.tsv:6: .* twice"),
        (lambda path: path.write_text(path.read_text() + "x\tsad\tsad\n"), "labels are not those that metrics.json"),
        (lambda path: path.write_text(path.read_text().replace("sad-0", "x")), "seeds 1 and 2 .* different utterances"),
        (lambda path: path.write_text(path.read_text().replace("1-", "2-")), "'2-.*' of fold 2 is tested in an earl"),
    ],
)
def test_bad_predictions(write_grid, change, message):
    write_grid("V-FT")
    change(write_grid.root / "V-FT-2-1" / "predictions.tsv")
    with pytest.raises(EmofairError, match=message):
        scored(write_grid)


def test_an_incomplete_grid(write_grid):
    matrix = [[1, 1], [0, 2]]
    write_grid("V-FT", {1: {"1": matrix, "2": matrix}, 2: {"1": matrix}})
    with pytest.raises(EmofairError, match="seed 2 has no run of fold 2"):
        scored(write_grid)
