import numpy as np
import pytest
import torch
from fairseq.tasks import FairseqTask

from emofair.data.base import EmofairDataset
from emofair.errors import EmofairError


class Numbers(EmofairDataset):
    def __getitem__(self, index):
        return {"id": index}

    def collate(self, samples):
        return {"id": torch.tensor([sample["id"] for sample in samples])}


def ids_of(iterator):
    return [batch["id"].tolist() for batch in iterator if batch]


def epoch_of(dataset, epoch, **options):
    """What stock fairseq makes of the dataset: its batches of one epoch, shuffled."""
    return FairseqTask(None).get_batch_iterator(dataset, epoch=epoch, seed=1, **options).next_epoch_itr()


def test_order_is_by_size_with_ties_by_index_or_by_seed_and_epoch():
    sizes = [5, 3, 5, 3, 5, 1] * 10
    plain = Numbers(sizes)
    order = plain.ordered_indices()
    assert list(order) == sorted(range(60), key=lambda i: (sizes[i], i))
    training = Numbers(sizes, training=True, seed=4)
    orders = {}
    for epoch in (1, 2):
        training.set_epoch(epoch)
        orders[epoch] = training.ordered_indices()
        assert sorted(orders[epoch]) == list(range(60))
        assert [sizes[i] for i in orders[epoch]] == sorted(sizes)
    assert list(orders[1]) != list(orders[2])
    other_seed = Numbers(sizes, training=True, seed=5)
    assert list(other_seed.ordered_indices()) != list(orders[1])
    again = Numbers(sizes, training=True, seed=4)
    assert list(again.ordered_indices()) == list(orders[1])


def test_the_order_does_not_touch_or_follow_the_global_generator():
    training = Numbers([1] * 50, training=True)
    np.random.seed(0)
    first = training.ordered_indices()
    state = np.random.get_state()[1].copy()
    second = training.ordered_indices()
    assert np.array_equal(first, second)
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize("n", [3, 8, 22])
@pytest.mark.parametrize("training", [False, True])
def test_stock_fairseq_iterates_every_item_with_its_default_multiple(n, training):
    dataset = Numbers(np.arange(n) + 1, training=training)
    batches = ids_of(epoch_of(dataset, 1, max_sentences=8, required_batch_size_multiple=8))
    assert sorted(index for batch in batches for index in batch) == list(range(n))


def test_uneven_shards_get_empty_batches():
    dataset = Numbers([1] * 9)
    shards = [list(epoch_of(dataset, 1, max_sentences=4, num_shards=2, shard_id=s)) for s in (0, 1)]
    assert [len(shard) for shard in shards] == [2, 2]
    assert shards[1][1] == {}
    assert dataset.collater([]) == {}


def test_a_resumed_epoch_equals_an_uninterrupted_one():
    task = FairseqTask(None)
    dataset = Numbers([7] * 40, training=True)
    one = ids_of(task.get_batch_iterator(dataset, max_sentences=4, epoch=1).next_epoch_itr())
    two = ids_of(task.get_batch_iterator(dataset, max_sentences=4, epoch=2).next_epoch_itr())
    assert one != two
    fresh = Numbers([7] * 40, training=True)
    assert ids_of(FairseqTask(None).get_batch_iterator(fresh, max_sentences=4, epoch=2).next_epoch_itr()) == two
    killed = FairseqTask(None).get_batch_iterator(Numbers([7] * 40, training=True), max_sentences=4, epoch=2)
    running = killed.next_epoch_itr()
    seen = [next(running)["id"].tolist() for _ in range(3)]
    resumed = FairseqTask(None).get_batch_iterator(Numbers([7] * 40, training=True), max_sentences=4, epoch=2)
    resumed.load_state_dict(killed.state_dict())
    assert seen + ids_of(resumed.next_epoch_itr()) == two


def test_evaluation_iterators_are_cached_and_training_ones_are_not():
    task = FairseqTask(None)
    for training in (False, True):
        dataset = Numbers([7] * 4, training=training)
        same = task.get_batch_iterator(dataset, epoch=1) is task.get_batch_iterator(dataset, epoch=2)
        assert same is not training


def test_nothing_is_filtered_silently():
    dataset = Numbers([10, 500, 20], ids=["a", "b", "c"], training=True)
    with pytest.raises(EmofairError, match=r"1 of 3 items are longer than 100 .*b, has 500"):
        epoch_of(dataset, 1, max_tokens=100, max_positions=100, ignore_invalid_inputs=True)
    with pytest.raises(EmofairError, match="longer than 100"):
        epoch_of(dataset, 1, max_positions=(None, 100), ignore_invalid_inputs=True)
    with pytest.raises(EmofairError, match="item b has 500 tokens, over --max-tokens 100"):
        epoch_of(dataset, 1, max_tokens=100)
    batches = ids_of(epoch_of(dataset, 1, max_positions=500, ignore_invalid_inputs=True))
    assert sorted(index for batch in batches for index in batch) == [0, 1, 2]


def test_sizes_do_not_overflow():
    dataset = Numbers(np.array([2**31 - 1, 2**31 - 1], dtype=np.int32))
    assert dataset.num_tokens_vec(np.array([0, 1])).sum() == 2**32 - 2
    assert [len(batch) for batch in dataset.batch_by_size(np.array([0, 1]), max_tokens=2**32)] == [2]
    assert type(dataset.size(0)) is int
    assert type(dataset.num_tokens(0)) is int


def test_ids_must_match_sizes():
    with pytest.raises(ValueError, match="1 ids but 2 sizes"):
        Numbers([1, 2], ids=["a"])
