import logging
import pickle

import numpy as np
import pytest
import torch

from emofair.data.labels import MODES
from emofair.data.t_data import ItemTable
from emofair.data.token_cache import TokenCache
from emofair.data.token_dataset import SpeechTextTokenDataset, collate_tokens
from emofair.errors import EmofairError

IEMOCAP, MOS = MODES["binary_target_iemocap"], MODES["regression_target_mos"]
KINDS = {"audio": "audio_token", "text": "text"}


def by_hand(sequences, cap):
    """The published collation, one id at a time."""
    width = min(max(map(len, sequences)), cap)
    rows = []
    for sequence in sequences:
        row = list(sequence[:width])
        if len(sequence) > width:
            row[-1] = 2
        rows.append(row + [1] * (width - len(row)))
    return rows


def test_collation_equals_the_definition_on_random_batches():
    rng = np.random.default_rng(0)
    for _ in range(200):
        lengths = rng.integers(1, 30, int(rng.integers(1, 9)))
        sequences = [rng.integers(0, 60000, length).astype(np.uint16) for length in lengths]
        cap = int(rng.integers(2, 35))
        out = collate_tokens(sequences, cap)
        assert out.tolist() == by_hand([sequence.tolist() for sequence in sequences], cap)
        assert out.dtype == np.int64


def test_truncation_keeps_the_first_ids_and_ends_in_two():
    exact, longer, shorter = np.array([0, 5, 6, 2]), np.array([0, 5, 6, 7, 8]), np.array([0, 2])
    assert collate_tokens([exact, longer, shorter], 4).tolist() == [[0, 5, 6, 2], [0, 5, 6, 2], [0, 2, 1, 1]]


AUDIO = [[0, 10, 11, 12, 13, 2], [0, 10, 2], [0, 10, 11, 2]]
TEXT = [[0, 7, 2], [0, 7, 8, 2], [0, 9, 2]]


def build(root, labels=(2, 0, 3), mode=IEMOCAP, sizes=(-1, -1, -1), kinds=("audio", "text"), **options):
    names = ["a-1", "b_2", "c"]
    contents = {"audio": AUDIO, "text": TEXT}
    for kind in kinds:
        folder = root / "train" / KINDS[kind]
        folder.mkdir(parents=True, exist_ok=True)
        for name, tokens in zip(names, contents[kind], strict=True):
            (folder / f"{name}.txt").write_text("\t".join(map(str, tokens)))
    dtype = np.float64 if mode is MOS else np.int64
    table = np.array(labels, dtype=dtype) if labels is not None else None
    items = ItemTable("train", names, table, n_audio=np.array(sizes), n_text=np.full(3, -1))
    caches = {kind: TokenCache.open(root, "train", KINDS[kind], names) for kind in kinds}
    return SpeechTextTokenDataset(items, mode, **caches, **options)


def test_a_batch_of_both_modalities(tmp_path):
    dataset = build(tmp_path)
    batch = dataset.collater([dataset[2], dataset[0]])
    assert batch["id"].tolist() == [2, 0]
    assert [dataset.ids[i] for i in batch["id"]] == ["c", "a-1"]
    assert batch["net_input"]["audio"].tolist() == [[0, 10, 11, 2, 1, 1], AUDIO[0]]
    assert batch["net_input"]["text"].tolist() == [TEXT[2], TEXT[0]]
    assert batch["target"].tolist() == [3, 2]
    assert batch["target"].dtype == torch.int64
    assert batch["net_input"]["audio"].dtype == torch.int64
    assert (batch["nsentences"], batch["ntokens"]) == (2, 4 + 6 + 3 + 3)
    assert dataset.collater([]) == {}


def test_sizes_are_truncated_audio_lengths_or_text_lengths(tmp_path):
    assert build(tmp_path).sizes.tolist() == [6, 3, 4]
    assert build(tmp_path, max_audio_tokens=4).sizes.tolist() == [4, 3, 4]
    assert build(tmp_path, max_sample_size=3).sizes.tolist() == [3, 3, 3]
    assert build(tmp_path, kinds=("text",)).sizes.tolist() == [3, 4, 3]
    assert build(tmp_path).ordered_indices().tolist() == [1, 2, 0]


def test_the_cap_of_each_modality(tmp_path):
    dataset = build(tmp_path, max_audio_tokens=4, max_text_tokens=3)
    batch = dataset.collater([dataset[i] for i in range(3)])
    assert batch["net_input"]["audio"].tolist() == by_hand(AUDIO, 4)
    assert batch["net_input"]["text"].tolist() == by_hand(TEXT, 3)
    assert batch["ntokens"] == (4 + 3 + 4) + (3 + 3 + 3)
    with pytest.raises(EmofairError, match="--max-text-tokens 1 leaves no room"):
        build(tmp_path, max_text_tokens=1)


@pytest.mark.parametrize("kind", ["audio", "text"])
def test_one_modality(tmp_path, kind):
    dataset = build(tmp_path, kinds=(kind,))
    batch = dataset.collater([dataset[1]])
    assert list(batch["net_input"]) == [kind]
    with pytest.raises(ValueError, match="audio, text or both"):
        SpeechTextTokenDataset(ItemTable("train", [], None, np.zeros(0), np.zeros(0)), None)


def test_scores_are_float_and_unlabelled_items_have_no_target(tmp_path):
    dataset = build(tmp_path, (2.4, -1.0, 0.0), MOS)
    target = dataset.collater([dataset[0], dataset[1]])["target"]
    assert target.dtype == torch.float64
    assert target.tolist() == pytest.approx([2.4, -1.0])
    dataset = build(tmp_path, None, None)
    assert "target" not in dataset.collater([dataset[0]])


def test_ids_beyond_a_vocabulary_are_refused_at_once(tmp_path):
    build(tmp_path, audio_vocab=14, text_vocab=10)
    with pytest.raises(EmofairError, match=r"audio_token/a-1\.txt: token id 13 .* 13 entries"):
        build(tmp_path, audio_vocab=13)
    with pytest.raises(EmofairError, match=r"text/c\.txt: token id 9 .* 9 entries"):
        build(tmp_path, text_vocab=9)


def test_ends_and_size_file_are_checked_with_one_line_each(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        build(tmp_path, init_token=0, separator_token=2, sizes=(6, 3, 4))
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]
    build(tmp_path, init_token=5, sizes=(6, 9, -1))
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 3
    assert "1 of 3 audio token files differ in length from the size file (b_2: 3, listed 9)" in "".join(lines)


def test_a_cache_of_other_items_is_refused(tmp_path):
    dataset = build(tmp_path)
    other = ItemTable("train", ["c", "b_2", "a-1"], None, np.full(3, -1), np.full(3, -1))
    with pytest.raises(ValueError, match="opened for other ids"):
        SpeechTextTokenDataset(other, None, dataset.caches["audio"])


def test_workers_give_the_same_batches(tmp_path):
    dataset = build(tmp_path)
    batches = [[0, 1], [2]]
    expected = [dataset.collater([dataset[i] for i in batch]) for batch in batches]
    loader = torch.utils.data.DataLoader(
        pickle.loads(pickle.dumps(dataset)), batch_sampler=batches, collate_fn=dataset.collater, num_workers=2
    )
    for got, want in zip(loader, expected, strict=True):
        assert got["net_input"]["audio"].equal(want["net_input"]["audio"])
        assert got["net_input"]["text"].equal(want["net_input"]["text"])
        assert got["target"].equal(want["target"])
