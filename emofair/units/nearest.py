"""The nearest centroid of every frame, the same on every machine and for every way of cutting the frames into blocks.

Squared distances are ranked as ``|c|^2 - 2 x.c``, one matrix product. What is closer together than its rounding error
is ranked once more by ``|x - c|^2`` in double precision; exact ties go to the lowest id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emofair.device import find_device

if TYPE_CHECKING:
    import torch

# Scores that are held at once: 64 MB.
_SCORES_AT_ONCE = 1 << 24
_LEAST_FRAMES, _MOST_FRAMES = 512, 8192
_ROUNDING = 2.0**-24
# Numbers in double precision that are held at once where ties are decided.
_EXACT_AT_ONCE = 1 << 22


class NearestCentroid:
    """Finds the nearest of ``centroids`` [K, D] by Euclidean distance."""

    def __init__(self, centroids: np.ndarray, device: str | torch.device = "cpu") -> None:
        import torch

        self.device = find_device(device)
        self.centroids = torch.from_numpy(np.ascontiguousarray(centroids, dtype=np.float32)).to(self.device)
        squares = self.centroids.double().square().sum(dim=1)
        self.squares = squares.float()
        self.longest = float(squares.max().sqrt())

    @property
    def block(self) -> int:
        """Frames to give at once."""
        return min(max(_SCORES_AT_ONCE // len(self.centroids), _LEAST_FRAMES), _MOST_FRAMES)

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 [n] of finite float32 frames [n, D], and the squared distances float64 [n] to these centroids."""
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(frames).to(self.device)
            scores = torch.addmm(self.squares, x, self.centroids.T, alpha=-2)
            ids = _argmin(scores)
            best = scores.gather(1, ids[:, None]).squeeze(1)
            lengths = torch.from_numpy(np.einsum("nd,nd->n", frames, frames)).to(self.device)
            if len(self.centroids) > 1:
                scores.scatter_(1, ids[:, None], torch.inf)
                close = scores.amin(dim=1) <= best + 2 * self._error(lengths)
                if close.any():
                    self._decide(x, scores, ids, best, lengths, close.nonzero().squeeze(1))
            distances = (best.double() + lengths.double()).clamp(min=0)
            return ids.cpu().numpy(), distances.cpu().numpy()

    def _error(self, lengths: torch.Tensor) -> torch.Tensor:
        """Bound [n] of the rounding error of a score: of D products and sums, and of the squared length."""
        n = self.centroids.size(1) + 4
        return n * _ROUNDING * (2 * lengths.sqrt() * self.longest + self.longest**2)

    def _decide(
        self,
        x: torch.Tensor,
        scores: torch.Tensor,
        ids: torch.Tensor,
        best: torch.Tensor,
        lengths: torch.Tensor,
        rows: torch.Tensor,
    ) -> None:
        import torch

        candidates = scores[rows] <= (best[rows] + 2 * self._error(lengths[rows]))[:, None]
        candidates.scatter_(1, ids[rows][:, None], True)
        which, centre = candidates.nonzero(as_tuple=True)
        exact = torch.full(candidates.shape, torch.inf, dtype=torch.float64, device=self.device)
        step = max(1, _EXACT_AT_ONCE // x.size(1))
        for start in range(0, len(which), step):
            part = slice(start, start + step)
            difference = x[rows[which[part]]].double() - self.centroids[centre[part]].double()
            exact[which[part], centre[part]] = difference.square().sum(dim=1)
        ids[rows] = _argmin(exact)


def _argmin(scores: torch.Tensor) -> torch.Tensor:
    """The first smallest of each row."""
    import torch

    if scores.device.type == "cpu":  # numpy's is five times as fast there
        return torch.from_numpy(scores.numpy().argmin(axis=1))
    return scores.argmin(dim=1)
