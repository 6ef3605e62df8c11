"""A look at the frame labels that stock fairseq's ``hubert_pretraining`` is about to read: it would only warn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofair.checkpoints.fairseq_form import as_dict
from emofair.checkpoints.loaded_speech import SPECIAL_LABELS
from emofair.errors import EmofairError
from emofair.units.unit_labels import REMEDY, read_frame_labels, read_record, refuse_mixture

if TYPE_CHECKING:
    from emofair.data.audio import PathLike
    from emofair.data.manifests import Utterance

LABELS = "frame_labels"
"""Key in a task's state of what its table of label embeddings was trained on: by the name of the labels, which k-means
made them. Empty: on nothing yet, the table is new."""


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
    for (name, path), dictionary in zip(files(task, split).items(), task.dictionaries, strict=True):
        record = read_record(path)
        read_frame_labels(
            path,
            record,
            items,
            dictionary.symbols[dictionary.nspecial :],
            f"dict.{name}.txt",
            rate=task.cfg.label_rate,
            sample_rate=task.cfg.sample_rate,
            remedy=f"{REMEDY}, or give their own rate (task.label_rate)",
        )
        if record:
            refuse_mixture(path.parent, split, name, record["kmeans_sha256"])


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
