import numpy as np
import pytest
from fairseq.data import data_utils

from emofair.data.batching import batch_by_size
from emofair.errors import EmofairError


def random_case(rng):
    n = int(rng.integers(1, 400))
    sizes = rng.integers(1, 300, n)
    if rng.random() < 0.3:
        sizes = np.sort(sizes)
    if rng.random() < 0.2:
        sizes[:] = sizes[0]
    max_tokens = int(rng.integers(sizes.max(), 8 * sizes.max() + 1)) if rng.random() < 0.8 else None
    max_sentences = int(rng.integers(1, 40)) if rng.random() < 0.6 else None
    return rng.permutation(n), sizes, max_tokens, max_sentences


def test_same_batches_as_fairseq_for_multiple_one():
    rng = np.random.default_rng(0)
    for _ in range(400):
        indices, sizes, max_tokens, max_sentences = random_case(rng)
        ours = batch_by_size(indices, sizes, max_tokens, max_sentences, 1)
        theirs = data_utils.batch_by_size(
            indices, None, sizes, max_tokens=max_tokens, max_sentences=max_sentences, required_batch_size_multiple=1
        )
        assert [list(batch) for batch in ours] == [list(batch) for batch in theirs]


def test_any_multiple_keeps_every_item_in_order_and_both_limits():
    rng = np.random.default_rng(1)
    for _ in range(400):
        indices, sizes, max_tokens, max_sentences = random_case(rng)
        multiple = int(rng.integers(1, 17))
        batches = batch_by_size(indices, sizes, max_tokens, max_sentences, multiple)
        assert np.array_equal(np.concatenate(batches), indices)
        size_of = dict(zip(indices, sizes, strict=True))
        for position, batch in enumerate(batches):
            largest = max(size_of[index] for index in batch)
            assert 0 < len(batch) <= (max_sentences or len(indices))
            assert max_tokens is None or len(batch) * largest <= max_tokens
            last = position == len(batches) - 1
            assert last or len(batch) < multiple or len(batch) % multiple == 0 or len(batch) == max_sentences


def test_fairseq_loses_the_tail_that_we_keep():
    sizes = np.full(22, 10)
    theirs = data_utils.batch_by_size(np.arange(22), None, sizes, max_sentences=8, required_batch_size_multiple=8)
    ours = batch_by_size(np.arange(22), sizes, max_sentences=8, required_batch_size_multiple=8)
    assert sum(map(len, theirs)) == 16
    assert [len(batch) for batch in ours] == [8, 8, 6]


def test_a_batch_size_is_given_as_asked_whatever_the_multiple():
    batches = batch_by_size(np.arange(30), np.ones(30), max_sentences=12, required_batch_size_multiple=8)
    assert [len(batch) for batch in batches] == [12, 12, 6]


def test_an_item_over_the_limit_is_named():
    with pytest.raises(EmofairError, match="item clip-7 has 51 tokens, over --max-tokens 50"):
        batch_by_size(np.array([3, 7]), np.array([10, 51]), max_tokens=50, name_of=lambda index: f"clip-{index}")


def test_edges():
    assert batch_by_size(np.array([], dtype=int), np.array([], dtype=int), max_tokens=5) == []
    assert [list(b) for b in batch_by_size([4, 2], [0, 0], max_tokens=5)] == [[4, 2]]
    assert [list(b) for b in batch_by_size([4, 2], [9, 1])] == [[4, 2]]
    assert [list(b) for b in batch_by_size([4, 2], [9, 1], max_tokens=-1, max_sentences=1)] == [[4], [2]]
    with pytest.raises(ValueError, match="2 indices but 1 sizes"):
        batch_by_size([4, 2], [9])
