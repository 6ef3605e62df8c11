"""Waveforms in batches: crops, windows, order, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from emofair.data.manifests import Utterance, read_split
from emofair.data.speech_dataset import SpeechDataset, normalized, windows_of
from emofair.errors import EmofairError
from emofair.testing.clips import tone_corpus

LENGTHS = (4000, 16000, 9000, 12000, 300, 20000)


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ramps")
    items = []
    for index, n in enumerate(LENGTHS):
        # Sample k has the value k / 2^15, so a crop tells where it was cut.
        soundfile.write(folder / f"{index}.wav", np.arange(n, dtype=np.int16), 16000)
        items.append(Utterance(f"clip{index}", str(folder / f"{index}.wav"), n_samples=n))
    return items


def starts(batch):
    return (batch["net_input"]["wav"][:, 0] * 2**15).long().tolist()


def test_evaluation_pads_whole_clips(items):
    dataset = SpeechDataset(items, "test")
    batch = dataset.collater([dataset[0], dataset[2]])
    assert batch["net_input"]["wav"].shape == (2, 9000)
    assert batch["net_input"]["n_samples"].tolist() == [4000, 9000]
    assert batch["net_input"]["wav"][0, 4000:].eq(0).all()
    assert (batch["id"].tolist(), batch["split"], batch["nsentences"], batch["ntokens"]) == ([0, 2], "test", 2, 13000)
    assert dataset.collater([]) == {}


def test_training_crops_at_a_place_that_follows_from_seed_epoch_and_item(items):
    def crop_starts(seed, epoch, **options):
        dataset = SpeechDataset(items, "train", max_samples=8000, seed=seed, training=True, **options)
        dataset.set_epoch(epoch)
        batch = dataset.collater([dataset[i] for i in range(6)])
        assert batch["net_input"]["n_samples"].tolist() == [4000, 8000, 8000, 8000, 300, 8000]
        return starts(batch)

    first = crop_starts(1, 1)
    assert first == crop_starts(1, 1)
    assert first != crop_starts(1, 2)
    assert first != crop_starts(2, 1)
    assert first[0] == first[4] == 0
    assert crop_starts(1, 1, crop="head") == [0] * 6
    assert all(start % 320 == 0 for epoch in range(5) for start in crop_starts(1, epoch, crop_hop=320))


def test_crops_reach_every_place(items):
    dataset = SpeechDataset(items, "train", max_samples=8998, crop_hop=1, training=True)
    seen = set()
    for epoch in range(60):
        dataset.set_epoch(epoch)
        seen.add(dataset[2]["start"])
    assert seen == {0, 1, 2}


def test_min_crops_a_batch_to_its_shortest_clip_but_not_below_the_floor(items):
    dataset = SpeechDataset(items, "train", crop="min", min_samples=5000, training=True)
    batch = dataset.collater([dataset[i] for i in (1, 2, 5)])
    assert batch["net_input"]["n_samples"].tolist() == [9000] * 3
    assert starts(batch)[1] == 0
    batch = dataset.collater([dataset[i] for i in (1, 4)])
    assert batch["net_input"]["n_samples"].tolist() == [5000, 300]


def test_evaluation_may_hear_the_beginning_alone(items):
    dataset = SpeechDataset(items, "test", max_samples=3000, eval_samples=5000)
    assert dataset.sizes.tolist() == [4000, 5000, 5000, 5000, 300, 5000]
    batch = dataset.collater([dataset[i] for i in (0, 1, 4)])
    assert batch["net_input"]["n_samples"].tolist() == [4000, 5000, 300]
    assert starts(batch) == [0, 0, 0]
    dataset = SpeechDataset(items, "test", eval_samples=9000, window=8000, hop=4000)
    batch = dataset.collater([dataset[1]])
    assert starts(batch) == [0, 1000] and batch["net_input"]["n_samples"].tolist() == [8000, 8000]
    training = SpeechDataset(items, "train", max_samples=3000, eval_samples=5000, training=True)
    assert training.sizes.max() == 3000


def test_windows_cover_a_clip_and_end_with_it():
    assert windows_of(100, 100, 50) == [(0, 100)]
    assert windows_of(101, 100, 50) == [(0, 100), (1, 101)]
    assert windows_of(250, 100, 50) == [(0, 100), (50, 150), (100, 200), (150, 250)]
    assert windows_of(10, 100, 50) == [(0, 10)]


def test_windows_in_a_batch_know_their_item(items):
    dataset = SpeechDataset(items, "test", window=8000, hop=4000)
    batch = dataset.collater([dataset[0], dataset[1], dataset[2]])
    assert batch["net_input"]["item"].tolist() == [0, 1, 1, 1, 2, 2]
    assert batch["net_input"]["n_items"] == batch["nsentences"] == 3
    assert starts(batch) == [0, 0, 4000, 8000, 0, 1000]


def test_normalization_is_that_of_torch_and_leaves_silence(items):
    wav = SpeechDataset(items, "test", normalize=True).waveform(1)
    raw = torch.from_numpy(SpeechDataset(items, "test").waveform(1))
    torch.testing.assert_close(torch.from_numpy(wav), torch.nn.functional.layer_norm(raw, raw.shape))
    assert normalized(np.zeros(400, dtype=np.float32)).tolist() == [0.0] * 400


@pytest.mark.parametrize("order", ["length", "bucket", "random"])
def test_every_order_has_every_item_once_and_follows_seed_and_epoch(items, order):
    def indices(seed, epoch):
        dataset = SpeechDataset(items * 1, "train", order=order, n_buckets=2, seed=seed, training=True)
        dataset.set_epoch(epoch)
        return dataset.ordered_indices().tolist()

    assert sorted(indices(1, 1)) == list(range(6))
    assert indices(1, 1) == indices(1, 1)
    if order == "length":
        assert indices(1, 1) == [4, 0, 2, 3, 1, 5]
    else:
        assert len({tuple(indices(1, epoch)) for epoch in range(8)}) > 1
    if order == "bucket":
        assert set(indices(1, 1)[:3]) == {4, 0, 2}
    evaluation = SpeechDataset(items, "test", order=order)
    assert evaluation.ordered_indices().tolist() == [4, 0, 2, 3, 1, 5]


def test_the_last_batch_is_left_out_only_on_request(items):
    def batches(**options):
        dataset = SpeechDataset(items, "train", **options)
        return [len(b) for b in dataset.batch_by_size(dataset.ordered_indices(), max_sentences=4)]

    assert batches(training=True) == [4, 2]
    assert batches(training=True, drop_last=True) == [4]
    assert batches(drop_last=True) == [4, 2]


def test_what_cannot_be_read_is_told(items, tmp_path):
    with pytest.raises(EmofairError, match="have no audio \\(text"):
        SpeechDataset([*items, Utterance("text", "", text="hello")], "train")
    with pytest.raises(EmofairError, match="1 ids twice \\(clip0\\)"):
        SpeechDataset([*items, items[0]], "train")
    with pytest.raises(EmofairError, match="the manifest says 1000"):
        SpeechDataset([Utterance("a", items[0].path, n_samples=1000)], "train")[0]
    soundfile.write(tmp_path / "fast.wav", np.zeros(44100), 44100)
    fast = Utterance("fast", str(tmp_path / "fast.wav"), n_samples=16000)
    with pytest.raises(EmofairError, match=r"fast.wav: the audio is at 44100 Hz.*resample"):
        SpeechDataset([fast], "train")[0]
    assert len(SpeechDataset([fast], "train", resample=True)[0]["waves"][0]) == 16000


def test_a_prepared_corpus_comes_out_whole(tmp_path):
    corpus = tone_corpus(tmp_path / "tones")
    items = read_split(corpus, "train")
    dataset = SpeechDataset(items, "train")
    assert [len(dataset[i]["waves"][0]) for i in range(len(items))] == [item.n_samples for item in items]
