"""The table of --save-predictions: columns, passes, several workers."""

from __future__ import annotations

import pytest
import torch

from emofair.data.labels import MODES
from emofair.errors import EmofairError
from emofair.inference.predictions import PredictionWriter, decode

MELD, IEMOCAP = MODES["softmax_target_meld"], MODES["binary_target_iemocap"]
SENTIMENT, SCORE = MODES["regression_target_mos"], MODES["regression_target"]
IDS = ["a", "b", "Ünal_03", "-d_4", "e"]


def rows(path):
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def batch(mode, *indices, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(indices), mode.num_outputs, generator=generator)
    return list(indices), IDS, logits, torch.tensor([i % len(mode.classes) for i in indices])


def test_softmax_columns(tmp_path):
    writer = PredictionWriter(tmp_path / "p.tsv", MELD)
    indices, ids, logits, target = batch(MELD, 2, 0)
    writer.write("valid", indices, ids, logits, target)
    head, first, second = rows(tmp_path / "p.tsv")
    assert head == ["id", "prediction", *(f"p_{name}" for name in MELD.classes), "label"]
    assert (first[0], first[-1], second[0], second[-1]) == ("Ünal_03", "anger", "a", "neutral")
    assert first[1] == MELD.classes[int(logits[0].argmax())]
    assert [float(p) for p in first[2:-1]] == pytest.approx(logits[0].softmax(-1).tolist(), abs=1e-6)


def test_binary_columns_are_probabilities_of_presence(tmp_path):
    writer = PredictionWriter(tmp_path / "p.tsv", IEMOCAP)
    indices, ids, logits, target = batch(IEMOCAP, 1)
    writer.write("valid", indices, ids, logits, target)
    head, row = rows(tmp_path / "p.tsv")
    pairs = logits.view(4, 2)
    assert head == ["id", "prediction", "p_neutral", "p_sad", "p_angry", "p_happy", "label"]
    assert [float(p) for p in row[2:-1]] == pytest.approx((pairs[:, 1] - pairs[:, 0]).sigmoid().tolist(), abs=1e-6)
    assert row[1] == IEMOCAP.classes[int((pairs[:, 1] - pairs[:, 0]).argmax())]
    assert row[-1] == "sad"


@pytest.mark.parametrize(("mode", "expected"), [(SENTIMENT, ["3", "0", "2", "0"]), (SCORE, ["7", "0", "2", "0"])])
def test_score_columns(tmp_path, mode, expected):
    writer = PredictionWriter(tmp_path / "p.tsv", mode)
    values = torch.tensor([[7.2], [-0.3], [2.5], [0.5]])
    writer.write("valid", [0, 1, 2, 3], IDS, values, torch.tensor([2.4, -1.0, 0.0, 1 / 3]))
    head, *body = rows(tmp_path / "p.tsv")
    assert head == ["id", "prediction", "value", "label"]
    assert [row[1] for row in body] == expected
    assert [row[2] for row in body] == ["7.2", "-0.3", "2.5", "0.5"]
    assert [row[3] for row in body] == ["2.4", "-1", "0", "0.333333"]


def test_decode_is_in_single_precision():
    assert decode(MELD, torch.zeros(1, 7, dtype=torch.bfloat16)).dtype == torch.float32


def test_the_file_holds_the_last_pass(tmp_path):
    writer = PredictionWriter(tmp_path / "p.tsv", MELD)
    writer.begin_pass()
    assert not (tmp_path / "p.tsv").exists()  # opened on the first write
    writer.write("valid", *batch(MELD, 0, 1))
    writer.finish()
    writer.write("test", *batch(MELD, 2))
    writer.finish()
    assert [row[0] for row in rows(tmp_path / "p.tsv")] == ["id", "a", "b", "Ünal_03"]
    writer.begin_pass()
    writer.write("valid", *batch(MELD, 3))
    writer.finish()
    assert [row[0] for row in rows(tmp_path / "p.tsv")] == ["id", "-d_4"]


def test_workers_are_merged_without_their_filler(tmp_path):
    """The last batch of worker 1 is a filler: fairseq hands it a batch of the training set, ids and all."""
    path = tmp_path / "p.tsv"
    writers = [PredictionWriter(path, MELD, rank, world_size=2) for rank in range(2)]
    for epoch in range(2):
        for writer in writers:
            writer.begin_pass()
        writers[0].write("valid", *batch(MELD, 4, 2, seed=epoch))
        writers[1].write("valid", *batch(MELD, 1, seed=epoch))
        writers[0].write("valid", *batch(MELD, 0, seed=epoch))
        writers[1].write("train", *batch(MELD, 0, 3, seed=7))
        assert (tmp_path / "p.tsv.rank1").exists()
        for writer in reversed(writers):
            writer.finish()
        writers[0].write("test", *batch(MELD, 3))
        writers[1].write("train", *batch(MELD, 3, seed=7))
        for writer in reversed(writers):
            writer.finish()
    alone = PredictionWriter(tmp_path / "alone.tsv", MELD)
    for indices in ((0,), (1,), (4, 2)):
        alone.write("valid", *batch(MELD, *indices, seed=1))
    alone.write("test", *batch(MELD, 3))
    head, first, second, fifth, third, last = rows(tmp_path / "alone.tsv")
    assert rows(path) == [head, first, second, third, fifth, last]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["alone.tsv", "p.tsv"]


def test_a_part_left_by_a_killed_run_is_not_merged(tmp_path):
    path = tmp_path / "p.tsv"
    (tmp_path / "p.tsv.rank1").write_text("valid\t3\told\n")
    writers = [PredictionWriter(path, MELD, rank, world_size=2) for rank in range(2)]
    writers[0].write("valid", *batch(MELD, 0))
    for writer in reversed(writers):
        writer.finish()
    assert [row[0] for row in rows(path)] == ["id", "a"]


def test_missing_folders_are_made(tmp_path):
    PredictionWriter(tmp_path / "new" / "p.tsv", MELD).write("valid", *batch(MELD, 0))
    assert len(rows(tmp_path / "new" / "p.tsv")) == 2


def test_a_folder_or_a_file_in_the_way_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmofairError, match="this is a folder"):
        PredictionWriter(tmp_path, MELD)
    with pytest.raises(EmofairError, match="cannot make the folder"):
        PredictionWriter(tmp_path / "file" / "p.tsv", MELD)
