"""A look at the frame labels that stock fairseq's ``hubert_pretraining`` is about to read: it would only warn."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofair.checkpoints.fairseq_form import as_dict
from emofair.checkpoints.loaded_speech import SPECIAL_LABELS
from emofair.errors import EmofairError
from emofair.units.unit_labels import check_record, read_record, refuse_mixture

if TYPE_CHECKING:
    from emofair.data.audio import PathLike
    from emofair.data.manifests import Utterance

LABELS = "frame_labels"
"""Key in a task's state of what its table of label embeddings was trained on: by the name of the labels, which k-means
made them. Empty: on nothing yet, the table is new."""

# Frames that may be missing at the end of a clip: each kind of frames has its own way to end.
_TOLERANCE = 3
_REMEDY = "Make the labels of this list with emofair units"


def files(task: Any, split: str) -> dict[str, Path]:
    """The label files of a split by the name of the labels."""
    folder = Path(task.get_label_dir())
    return {name: folder / f"{split}.{name}" for name in task.cfg.labels}


def identity(task: Any, split: str) -> dict[str, str]:
    """What made the labels of a split: the hash of the k-means, or where it is not known, of the labels."""
    from emofair.inference.provenance import file_sha256

    return {
        name: read_record(path).get("kmeans_sha256") or file_sha256(path) for name, path in files(task, split).items()
    }


def check_labels(task: Any, split: str, items: Sequence[Utterance]) -> None:
    """Raise `EmofairError` unless the label files of a split fit the clips of its list ``{split}.tsv``.

    That is: a line for every clip, as many labels as it has frames, all of them in the dictionary; and, where `emofair
    units` made them, of these clips and by the k-means of the other splits.
    """
    cfg = task.cfg
    for (name, path), dictionary in zip(files(task, split).items(), task.dictionaries, strict=True):
        clips = [line.split() for line in _lines(path)]
        if len(clips) != len(items):
            raise EmofairError(
                f"has labels of {len(clips)} clips, the list {split}.tsv has {len(items)}", file=path, remedy=_REMEDY
            )
        known = set(dictionary.symbols[dictionary.nspecial :])
        for row, (item, labels) in enumerate(zip(items, clips, strict=True), start=1):
            frames = item.n_samples * cfg.label_rate / cfg.sample_rate
            if not frames - _TOLERANCE <= len(labels) <= frames + 1:
                raise EmofairError(
                    f"{len(labels)} labels for {os.path.basename(item.path)}, which has {int(frames)} frames at "
                    f"{cfg.label_rate:g} a second",
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
            n_made = as_dict(record.get("features")).get("n_frames")
            if n_made not in (None, n_labels := sum(map(len, clips))):
                raise EmofairError(f"has {n_labels} labels, {n_made} were made", file=path, remedy=_REMEDY)
            refuse_mixture(path.parent, split, name, record["kmeans_sha256"])
            check_record(record, items, path)


def check_table(task: Any, stored: Mapping[str, Any], path: PathLike, split: str, *, resumes: bool) -> None:
    """Raise `EmofairError` where the checkpoint ``stored`` has a table of label embeddings for other labels.

    A table fits any labels of the same number, but those of another clustering mean something else. Only a training
    that ``resumes`` is trusted where the checkpoint does not tell.
    """
    table = (stored.get("model") or {}).get("label_embs_concat")
    if table is None:
        return
    rows, n_labels = table.shape[0], sum(len(dictionary) for dictionary in task.dictionaries)
    state = as_dict(stored.get("task_state"))
    known, n_sets = state.get(LABELS), len(state.get("dictionaries") or task.dictionaries)
    what = None
    if rows != n_labels or n_sets != len(task.dictionaries):
        expected = rows - SPECIAL_LABELS * n_sets
        given = [len(dictionary) - SPECIAL_LABELS for dictionary in task.dictionaries]
        has = ", ".join(f"dict.{name}.txt has {n}" for name, n in zip(task.cfg.labels, given, strict=True))
        what = f"expects {expected} labels, and {has}"
    elif known is None and not resumes:
        what = "has learned labels of its own, which mean something else than those of another clustering"
    elif known and known != identity(task, split):
        what = f"has learned other labels than those in {task.get_label_dir()}"
    if what is not None:
        remedy = "emofair convert THIS --to fairseq --reset-labels K makes of it what can learn K others"
        raise EmofairError(what, file=path, remedy=f"{remedy}; go on from that in a new save_dir")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise EmofairError(f"cannot be read ({error.strerror})", file=path, remedy=_REMEDY) from None
