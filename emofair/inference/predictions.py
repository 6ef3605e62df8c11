"""Predictions by utterance: what a head's outputs mean, and the table file that ``--save-predictions`` writes."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from emofair.errors import EmofairError

if TYPE_CHECKING:
    from torch import Tensor

    from emofair.data.labels import TargetMode

logger = logging.getLogger(__name__)

REMEDY = "Give a file in a folder that you can write to by --save-predictions"


def decode(mode: TargetMode, logits: Tensor) -> Tensor:
    """Turn logits ``[N, num_outputs]`` into float32 values ``[N, k]``.

    Softmax: the probability of each class. Binary: the probability that each emotion is present. Regression: the score,
    ``[N, 1]``.
    """
    logits = logits.detach().float()
    if mode.kind == "softmax":
        return logits.softmax(dim=-1)
    if mode.kind == "binary":
        return logits.view(len(logits), -1, 2).softmax(dim=-1)[..., 1]
    return logits.view(-1, 1)


class PredictionWriter:
    """Writes the predictions of the latest validation pass as a tab-separated table.

    Columns: ``id``, ``prediction`` (the most likely class; for scores the rounded score, for sentiment clamped to
    -3 .. 3), ``p_<class>`` for every class or ``value``, ``label``. The file is opened on the first write of a pass,
    and the subsets of one pass follow each other in it. With several workers each writes ``FILE.rank<r>`` and
    `finish` merges them into FILE on rank 0, in data-set order, one row per utterance.
    """

    def __init__(self, path: str | os.PathLike[str], mode: TargetMode, rank: int = 0, world_size: int = 1) -> None:
        self.path, self.mode, self.rank, self.world_size = Path(path).absolute(), mode, rank, world_size
        self._file: TextIO | None = None
        self._fresh = True
        # Found out now, not after the first epoch.
        if self.path.is_dir():
            raise EmofairError("this is a folder, and a file is needed", file=self.path, remedy=REMEDY)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EmofairError(f"cannot make the folder ({error.strerror})", file=path, remedy=REMEDY) from None
        if not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            raise EmofairError("not writable", file=self.path, remedy=REMEDY)

    def header(self) -> list[str]:
        """Names of the columns."""
        values = [f"p_{name}" for name in self.mode.classes] or ["value"]
        return ["id", "prediction", *values, "label"]

    def begin_pass(self) -> None:
        """Start over: the next write empties the file."""
        self._close()
        self._fresh = True

    def write(self, split: str, indices: Sequence[int], ids: Sequence[str], logits: Tensor, target: Tensor) -> None:
        """Add one batch.

        ``indices`` [N] point into ``ids``, those of the whole data set; ``logits`` [N, num_outputs] and ``target`` [N]
        are the criterion's.
        """
        rows = [[ids[i], *cells] for i, cells in zip(indices, self._cells(logits, target), strict=True)]
        if self.world_size > 1:
            rows = [[split, str(i), *row] for i, row in zip(indices, rows, strict=True)]
        if self._file is None:
            self._open()
        _write_rows(self._file, rows)
        self._file.flush()

    def finish(self) -> None:
        """End a pass over one subset, on every worker; with several, rank 0 merges their files."""
        wrote = self._file is not None
        if self.world_size == 1:
            if wrote:
                self._file.flush()
            return
        self._close()
        if not wrote:
            self._part(self.rank).unlink(missing_ok=True)
        _wait_for_all_ranks()
        if self.rank == 0:
            self._merge()
        _wait_for_all_ranks()

    def _cells(self, logits: Tensor, target: Tensor) -> list[list[str]]:
        values, classes = decode(self.mode, logits), self.mode.classes
        if classes:
            best, actual = values.argmax(dim=1).tolist(), target.tolist()
            return [
                [classes[b], *(f"{v:.6f}" for v in row), classes[a]]
                for b, row, a in zip(best, values.tolist(), actual, strict=True)
            ]
        scores = values.view(-1)
        rounded = (scores.clamp(-3, 3) if self.mode.kind == "l1" else scores).round() + 0.0  # no "-0"
        columns = (rounded.tolist(), scores.tolist(), target.tolist())
        return [[f"{r:.0f}", f"{v:.6g}", f"{y:.6g}"] for r, v, y in zip(*columns, strict=True)]

    def _open(self) -> None:
        try:
            if self.world_size > 1:
                self._file = open(self._part(self.rank), "w", encoding="utf-8", newline="\n")  # noqa: SIM115
            else:
                self._file = self._open_table()
        except OSError as error:
            raise EmofairError(f"cannot be written ({error.strerror})", file=self.path, remedy=REMEDY) from None

    def _open_table(self) -> TextIO:
        file = open(self.path, "w" if self._fresh else "a", encoding="utf-8", newline="\n")  # noqa: SIM115
        if self._fresh:
            _write_rows(file, [self.header()])
        self._fresh = False
        return file

    def _merge(self) -> None:
        parts = [part for part in map(self._part, range(self.world_size)) if part.exists()]
        lines = [line.split("\t", 2) for part in parts for line in part.read_text(encoding="utf-8").split("\n") if line]
        if not lines:
            return
        # A worker without data evaluates a filler batch of the training set; rank 0 never lacks data first.
        split = lines[0][0]
        rows = {int(index): row for name, index, row in lines if name == split}
        with self._open_table() as table:
            _write_rows(table, [[rows[index]] for index in sorted(rows)])
        for part in parts:
            part.unlink()
        logger.info("predictions of %d utterances of %r: %s", len(rows), split, self.path)

    def _part(self, rank: int) -> Path:
        return self.path.with_name(f"{self.path.name}.rank{rank}")

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _write_rows(file: TextIO, rows: Sequence[Sequence[str]]) -> None:
    file.writelines("\t".join(row) + "\n" for row in rows)


def _wait_for_all_ranks() -> None:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
