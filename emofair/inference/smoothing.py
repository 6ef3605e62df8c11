"""From posteriors of frames to decisions that do not flicker, and to runs of equal decisions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emofair.errors import EmofairError

# Ten seconds: what is wider takes gigabytes of memory for an hour, and changes of emotion away.
WIDEST = 501
# Beyond it, sums of posteriors of a long recording are lost beside it in rounding.
HIGHEST = 1e9
SMOOTHINGS = ("median", "viterbi", "none")


@dataclass(frozen=True)
class Smoothing:
    """How frames are decided from their posteriors.

    "median": every class's posterior becomes its median over ``width`` frames (odd; at the edges the first or last
    frame is repeated), the class is the largest. "viterbi": the sequence of classes with the largest sum of
    log-posteriors minus ``penalty`` (nats) per change of class. "none": the largest posterior.
    """

    kind: str = "median"
    width: int = 5
    penalty: float = 3.0

    def __post_init__(self) -> None:
        if self.kind not in SMOOTHINGS:
            raise EmofairError(f"smoothing {self.kind!r} is not known", remedy=f"Choose of {', '.join(SMOOTHINGS)}")
        if self.width < 1 or self.width % 2 == 0:
            raise EmofairError(f"a median over {self.width} frames has no middle", remedy="Give an odd number")
        if self.width > WIDEST:
            raise EmofairError(f"a median over {self.width} frames is too wide", remedy=f"Give at most {WIDEST}")
        if not 0 <= self.penalty <= HIGHEST:
            raise EmofairError(f"a switch penalty of {self.penalty}", remedy=f"Give 0 to {HIGHEST:g}")

    def facts(self) -> dict[str, object]:
        """The settings that are in use."""
        used = {"median": {"width": self.width}, "viterbi": {"penalty": self.penalty}, "none": {}}
        return {"kind": self.kind, **used[self.kind]}

    def decide(self, log_posteriors: np.ndarray) -> np.ndarray:
        """Class int64 [T] of every frame from finite log-posteriors [T, K]."""
        if self.kind == "viterbi":
            return viterbi(log_posteriors, self.penalty)
        if self.kind == "median":
            return median(np.exp(log_posteriors), self.width).argmax(axis=1)
        return log_posteriors.argmax(axis=1)


def median(values: np.ndarray, width: int) -> np.ndarray:
    """Running median over ``width`` (odd) rows of values [T, K]; beyond the ends the first or last row is repeated."""
    padded = np.pad(values, ((width // 2, width // 2), (0, 0)), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width, axis=0), axis=-1)


def viterbi(scores: np.ndarray, penalty: float) -> np.ndarray:
    """The states [T] with the largest sum of scores [T, K] minus ``penalty`` per change of state.

    Instead of frame by frame the best scores between two states are found for pairs of frames, pairs of pairs and so
    on, then the states in between from the widest pair to the closest: log2 T steps of whole arrays.
    """
    k = scores.shape[1]
    step = np.full((k, k), -float(penalty))
    np.fill_diagonal(step, 0.0)
    # best[i][s, e]: from state s in frame i to state e in frame i + 1.
    best = step + scores[1:, None, :]
    levels = []
    while len(best) > 1:
        size = len(best)
        if size % 2:
            stay = np.full((1, k, k), -np.inf)
            np.fill_diagonal(stay[0], 0.0)
            best = np.concatenate([best, stay])
        left, right = best[::2], best[1::2]
        levels.append((size, left, right))
        best = left[:, :, 0, None] + right[:, 0, None, :]
        for middle in range(1, k):
            np.maximum(best, left[:, :, middle, None] + right[:, middle, None, :], out=best)
    if not len(best):
        return scores.argmax(axis=1)
    states = np.array(np.unravel_index((scores[0][:, None] + best[0]).argmax(), (k, k)))
    for size, left, right in reversed(levels):
        pairs = np.arange(len(left))
        between = (left[pairs, states[:-1]] + right[pairs, :, states[1:]]).argmax(axis=1)
        both = np.empty(2 * len(left) + 1, dtype=np.int64)
        both[::2], both[1::2] = states, between
        states = both[: size + 1]
    return states


def runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index and one past the last of every run of equal ``values`` [T], T at least 1."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    return np.concatenate([[0], changes]), np.concatenate([changes, [len(values)]])
