"""Cluster ids stay aligned with the audio through crops, padding and masks."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from emofair.data.manifests import Utterance
from emofair.data.pseudo_label_dataset import PseudoLabelDataset, read_units
from emofair.errors import EmofairError

HOP, FIELD = 320, 400


def n_frames(n_samples):
    return max((n_samples - FIELD) // HOP + 1, 1)


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    items = []
    for index, n in enumerate((16000, 9000, 30000, 500)):
        # Frame t begins at sample 320 t, whose value is t.
        soundfile.write(folder / f"{index}.wav", (np.arange(n) // HOP).astype(np.int16), 16000)
        items.append(Utterance(f"clip{index}", str(folder / f"{index}.wav"), n_samples=n))
    return items


def make(items, units=None, **options):
    # The id of a frame is its number, and at the second granularity its half.
    units = units or [[np.arange(n_frames(i.n_samples)) // step for i in items] for step in (1, 2)]
    given = {"mask_prob": 0.65, "mask_length": 3, "min_spans": 2, "mask_mode": "per_row", "crop_hop": HOP}
    return PseudoLabelDataset(items, "train", units, n_frames, training=True, **{**given, **options})


@pytest.mark.parametrize("max_samples", [None, 8000])
def test_a_target_is_the_id_of_the_frame_that_it_stands_for(items, max_samples):
    dataset = make(items, max_samples=max_samples)
    for epoch in range(5):
        dataset.set_epoch(epoch)
        batch = dataset.collater([dataset[i] for i in range(4)])
        masked, index = batch["net_input"]["masked"], batch["net_input"]["index"]
        wav = batch["net_input"]["wav"]
        size = masked.size(1)
        assert size == n_frames(wav.size(1))
        rows, frames = index // size, index % size
        assert masked.sum() == len(index)
        heard = (wav[rows, frames * HOP] * 2**15).round().long()
        assert batch["target"][:, 0].tolist() == heard.tolist()
        assert batch["target"][:, 1].tolist() == (heard // 2).tolist()
        assert batch["n_frames"] == sum(n_frames(n) for n in batch["net_input"]["n_samples"].tolist())


def test_masks_follow_from_seed_epoch_and_items(items):
    def masked(seed, epoch):
        dataset = make(items, seed=seed)
        dataset.set_epoch(epoch)
        return dataset.collater([dataset[0], dataset[1]])["net_input"]["masked"].tolist()

    assert masked(1, 1) == masked(1, 1)
    assert masked(1, 1) != masked(1, 2)
    assert masked(1, 1) != masked(2, 1)


def test_missing_last_ids_are_not_predicted(items):
    units = [[np.arange(n_frames(i.n_samples) - 1) for i in items[:2]]]
    with pytest.raises(EmofairError, match=r"clip0 .row 1 of split train. has 48 cluster ids for 49 frames"):
        make(items[:2], units)
    dataset = make(items[:2], units, slack=1, mask_prob=0.99, mask_length=1)
    for epoch in range(10):
        dataset.set_epoch(epoch)
        batch = dataset.collater([dataset[0], dataset[1]])
        assert (batch["target"] >= 0).all()


def test_units_are_read_and_bad_lines_told(tmp_path):
    path = tmp_path / "train.km8"
    path.write_text("1 2 3\n7\n")
    assert [u.tolist() for u in read_units(path, 2, 8)] == [[1, 2, 3], [7]]
    with pytest.raises(EmofairError, match="2 lines for 3 utterances"):
        read_units(path, 3, 8)
    with pytest.raises(EmofairError, match=r"train.km8:2: cluster ids must be there and be from 0 to 6"):
        read_units(path, 2, 7)
    for line in ("1 x", "", "-1", "1.5", "99999999999"):
        path.write_text(f"1\n{line}\n")
        with pytest.raises(EmofairError, match=r"train\.km8:2"):
            read_units(path, 2, 8)
    with pytest.raises(EmofairError, match="cannot be read"):
        read_units(tmp_path / "none", 1)
