"""A look at the frame labels that stock fairseq's ``hubert_pretraining`` is about to read: it would only warn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emofair.data import manifests
from emofair.errors import EmofairError
from emofair.units.unit_labels import check_record, read_record, refuse_mixture

if TYPE_CHECKING:
    from emofair.data.audio import PathLike

# Frames that may be missing at the end of a clip: each kind of frames has its own way to end.
_TOLERANCE = 3
_REMEDY = "Make the labels of this list with emofair units"


def check_labels(
    data: PathLike, split: str, label_dir: PathLike, name: str, symbols: Sequence[str], *, rate: float, sample_rate: int
) -> None:
    """Raise `EmofairError` unless ``{split}.{name}`` in ``label_dir`` fits the list ``{split}.tsv`` in ``data``.

    That is: a line for every clip, as many labels as it has frames at ``rate`` (per second), all of them ``symbols``
    (of the dictionary); and, where `emofair units` made them, of these clips and by the k-means of the other splits.
    """
    path = Path(label_dir) / f"{split}.{name}"
    clips, lines = _lines(Path(data) / f"{split}.tsv")[1:], _lines(path)
    if len(clips) != len(lines):
        raise EmofairError(
            f"has labels of {len(lines)} clips, the list {split}.tsv has {len(clips)}", file=path, remedy=_REMEDY
        )
    known = set(symbols)
    for row, (clip, line) in enumerate(zip(clips, lines, strict=True), start=1):
        labels = line.split()
        audio, _, n_samples = clip.rpartition("\t")
        frames = int(n_samples) * rate / sample_rate
        if not frames - _TOLERANCE <= len(labels) <= frames + 1:
            raise EmofairError(
                f"{len(labels)} labels for {os.path.basename(audio)}, which has {int(frames)} frames at {rate:g} per "
                "second",
                file=path,
                row=row,
                remedy=f"{_REMEDY}, or give their own rate (task.label_rate)",
            )
        if unknown := set(labels) - known:
            raise EmofairError(
                f"label {min(unknown)} is not one of the {len(known)} of dict.{name}.txt",
                file=path,
                row=row,
                remedy="Labels and dictionary are of different k-means: make them again with emofair units",
            )
    if record := read_record(path):
        refuse_mixture(Path(label_dir), split, name, record["kmeans_sha256"])
        check_record(record, manifests.read_split(data, split), path)


def check_table(path: PathLike) -> None:
    """Raise `EmofairError` where pre-training would go on from ``path`` with what its old labels meant.

    A table of label embeddings fits any labels of the same number; those of another clustering mean something else.
    """
    from emofair.checkpoints import safe

    checkpoint = safe.load(path, weights=False)
    history = checkpoint.get("optimizer_history") or [{}]
    converted = history[-1].get("optimizer_name") is None
    if "label_embs_concat" in (checkpoint.get("model") or {}) and not converted:
        raise EmofairError(
            "has learned labels of its own, which mean something else than those of another clustering",
            file=path,
            remedy=f"Go on from what emofair convert {os.fspath(path)} --to fairseq --reset-labels K makes of it",
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path, remedy=_REMEDY) from None
