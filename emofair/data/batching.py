"""Cutting an ordered list of items into batches, without fairseq's compiled code and without losing an item."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emofair.errors import EmofairError


def batch_by_size(
    indices: np.ndarray,
    num_tokens_vec: np.ndarray,
    max_tokens: int | None = None,
    max_sentences: int | None = None,
    required_batch_size_multiple: int = 1,
    *,
    name_of: Callable[[int], str] = str,
) -> list[np.ndarray]:
    """Cut ``indices`` into consecutive batches that respect both limits.

    ``num_tokens_vec[k]`` is the size of item ``indices[k]``; a batch of n items costs n times its largest size (that is
    what padding makes of it) and may cost at most ``max_tokens``; it holds at most ``max_sentences`` items. With a
    multiple of 1 the batches are those of fairseq's ``data_utils.batch_by_size``. A larger multiple only shortens
    batches that ``max_tokens`` has cut: the items left over open the next batch, a batch size asked for by
    ``max_sentences`` is given as asked, and the last batch is kept whatever its size (fairseq drops it).

    Raises EmofairError, naming the item with ``name_of``, when one item alone exceeds ``max_tokens``.
    """
    indices = np.asarray(indices, dtype=np.int64)
    sizes = np.asarray(num_tokens_vec, dtype=np.int64)
    if sizes.shape != indices.shape:
        raise ValueError(f"{len(indices)} indices but {len(sizes)} sizes")
    max_tokens = int(max_tokens) if max_tokens and max_tokens > 0 else None
    max_sentences = int(max_sentences) if max_sentences and max_sentences > 0 else None
    total = len(indices)
    if total == 0:
        return []
    if max_tokens is None:
        return np.split(indices, np.arange(max_sentences or total, total, max_sentences or total))
    if sizes.max() > max_tokens:
        worst = int(sizes.argmax())
        raise EmofairError(
            f"item {name_of(int(indices[worst]))} has {sizes[worst]} tokens, over --max-tokens {max_tokens}",
            remedy=f"Give --max-tokens {sizes[worst]} or more, or cap the length of the inputs",
        )
    ends = []
    start, guess = 0, 16
    while start < total:
        count = _count_that_fits(sizes, start, min(max_sentences or total, total - start), max_tokens, guess)
        guess = 2 * count
        cut_by_tokens = start + count < total and count != max_sentences
        if cut_by_tokens and count > required_batch_size_multiple > 1:
            count -= count % required_batch_size_multiple
        start += count
        ends.append(start)
    return np.split(indices, ends[:-1])


def _count_that_fits(sizes: np.ndarray, start: int, limit: int, max_tokens: int, guess: int) -> int:
    """Largest n <= limit with n * max(sizes[start:start + n]) <= max_tokens; looks no further ahead than it must."""
    window = min(max(guess, 16), limit)
    while True:
        largest = np.maximum.accumulate(sizes[start : start + window])
        cost = largest * np.arange(1, window + 1)
        count = int(np.searchsorted(cost, max_tokens, side="right"))
        if count < window or window == limit:
            return count
        window = min(2 * window, limit)
