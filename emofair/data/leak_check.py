"""No stage may train on what a fold validates or tests on: what a checkpoint remembers of its data, and the guard.

A stage keeps in its task state (and so in its checkpoint) what `facts_of` returns: the fold, and ``trained_ids``, the
sorted hashes of all ids that it, or a stage that it started from, was trained on; ``labelled_ids`` are those of them
whose labels were used. ``selected_ids`` and ``labelled_selected_ids`` are those that chose a checkpoint, by validation.
A hash is the first 8 bytes of the SHA-256 of the id, as 16 hexadecimal digits: 10,000 ids take 170 kB, and among
100,000 trained and 10,000 held-out ids a chance hit has a probability of 5e-11. The corpus is no part of it, so the
same corpus prepared from another source is recognised; two corpora that happen to use the same ids are taken for one,
and the guard then errs on the safe side.

Before a fold is trained or scored with weights of an earlier stage, `check_disjoint` compares these with the ids of
the fold's valid and test splits. Where a checkpoint knows nothing (those of stock fairseq tasks), the folder that it
was trained on takes the place of the facts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emofair.data.audio import PathLike
from emofair.data.manifests import Utterance, read_corpus, read_split, splits_of
from emofair.errors import EmofairError, some

TRAINED_IDS = "trained_ids"
"""Key of the hashes in a task's state."""

LABELLED_IDS = "labelled_ids"
"""Key of the hashes of ids whose labels were used; where it is missing, all were."""

SELECTED_IDS = "selected_ids"
"""Key of the hashes of ids that chose the checkpoint."""

# What is noted of all ids, and the key of those whose labels were used.
_LABELLED = {TRAINED_IDS: LABELLED_IDS, SELECTED_IDS: "labelled_selected_ids"}
ID_LISTS = (*_LABELLED, *_LABELLED.values())
_FACTS = ("corpus", "fold", *ID_LISTS)
HELD_OUT = ("test", "valid")
_DIGITS = 16

Trained = Mapping[str, Any] | PathLike
"""The facts of a stage, or the corpus folder whose train split it was trained on."""


@dataclass(frozen=True)
class Shared:
    """What two lists of utterances have in common: ids, and audio files (real paths)."""

    ids: tuple[str, ...]
    paths: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.ids or self.paths)


def hash_id(identifier: str) -> str:
    """The 16 hexadecimal digits that stand for an id."""
    return hashlib.sha256(identifier.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]


def facts_of(
    corpus_dir: PathLike,
    splits: Iterable[str] = ("train",),
    *,
    selects: Iterable[str] = (),
    earlier: Iterable[Mapping[str, Any]] = (),
    uses_labels: bool = True,
) -> dict[str, Any]:
    """What a stage that trains on ``splits`` of a corpus folder stores: {"corpus", "fold", "trained_ids", ...}.

    ``selects`` are the splits that choose its checkpoint; those that the corpus lacks are passed over. ``earlier`` are
    the facts of the stages whose weights or labels it uses; their ids are taken over.
    """
    corpus, earlier = read_corpus(corpus_dir), list(earlier)
    facts = {"corpus": corpus.get("name"), "fold": corpus.get("fold")}
    used = {TRAINED_IDS: splits, SELECTED_IDS: set(selects) & {*splits_of(corpus_dir)}}
    for name, labelled_name in _LABELLED.items():
        hashes = {hash_id(u.id) for split in used[name] for u in read_split(corpus_dir, split)}
        labelled = set(hashes) if uses_labels else set()
        for facts_before in earlier:
            hashes.update(_hashes(facts_before, name) or ())
            labelled.update(_hashes(facts_before, name, labelled=True) or ())
        facts |= {name: sorted(hashes), labelled_name: sorted(labelled)}
    return facts


def only_facts(state: Mapping[str, Any]) -> dict[str, Any]:
    """Of all that a task's state or a feature dump holds, what `facts_of` put there."""
    return {name: state[name] for name in _FACTS if name in state}


def trained_hashes(trained: Trained, *, labelled: bool = False) -> set[str] | None:
    """Hashes of the ids that a stage was trained on, or of those with labels; None where the facts do not say.

    Raises `EmofairError` for facts that are no list of hashes.
    """
    if isinstance(trained, (str, os.PathLike)):
        return {hash_id(u.id) for u in read_split(trained, "train")}
    return _hashes(trained, TRAINED_IDS, labelled=labelled)


def _hashes(facts: Mapping[str, Any], name: str, *, labelled: bool = False) -> set[str] | None:
    hashes = facts.get(_LABELLED[name] if labelled and _LABELLED[name] in facts else name)
    if hashes is None:
        return None
    if isinstance(hashes, str) or not all(isinstance(each, str) and len(each) == _DIGITS for each in hashes):
        raise EmofairError(f"{name} is no list of hashes of {_DIGITS} digits")
    return set(hashes)


def leaked(trained: Collection[str], items: Iterable[Utterance]) -> list[str]:
    """Ids of ``items`` whose hashes are among ``trained``, sorted."""
    return sorted(u.id for u in items if hash_id(u.id) in trained)


def check_disjoint(
    trained: Trained,
    corpus_dir: PathLike,
    *,
    splits: Sequence[str] = HELD_OUT,
    validates: Sequence[str] = ("valid",),
    name: PathLike | None = None,
    labelled: bool = False,
) -> bool:
    """Refuse weights of a stage that was trained on what a corpus folder validates or tests on.

    So are weights that were chosen by what is in one of the ``splits``, except those that ``validates`` names.
    ``name`` says in the error where the weights come from, by default the folder ``trained``. With ``labelled``,
    training without labels is allowed. Splits that the corpus lacks are passed over. Returns False when nothing could
    be compared, because the facts do not say what was trained on. Raises `EmofairError` with the folds and some of the
    shared ids.
    """
    hashes = trained_hashes(trained, labelled=labelled)
    if hashes is None:
        return False
    if isinstance(trained, (str, os.PathLike)):
        name, its_fold, selected = name or trained, read_corpus(trained).get("fold"), None
    else:
        its_fold, selected = trained.get("fold"), _hashes(trained, SELECTED_IDS, labelled=labelled)
    fold = read_corpus(corpus_dir).get("fold")
    for split in splits:
        if split not in splits_of(corpus_dir):
            continue
        items = read_split(corpus_dir, split)
        used = {"trained{} on": hashes, "chosen{} by": () if split in validates else selected or ()}
        for how, seen in used.items():
            if shared := leaked(seen, items):
                raise EmofairError(
                    f"{how.format(_fold('in', its_fold))} {len(shared)} utterances that are in the {split} split"
                    f"{_fold('of', fold)}, {os.fspath(corpus_dir)} ({some(shared)})",
                    file=name,
                    remedy="Take the checkpoint of the same fold: a score with this one would not be a test score",
                )
    return True


def shared_utterances(left: Iterable[Utterance], right: Iterable[Utterance]) -> Shared:
    """Ids and audio files that two lists share.

    Files are compared by their real path, with start and end where a clip is cut from a longer one.
    """
    left, right = list(left), list(right)
    ids = {u.id for u in left} & {u.id for u in right}
    clips = {_clip(u) for u in left if u.has_audio} & {_clip(u) for u in right if u.has_audio}
    return Shared(tuple(sorted(ids)), tuple(sorted({clip[0] for clip in clips})))


def compare_folders(
    train_dir: PathLike, test_dir: PathLike, *, train: Sequence[str] = ("train",), test: Sequence[str] = ("test",)
) -> Shared:
    """What the ``train`` splits of one corpus folder share with the ``test`` splits of another, or of the same."""
    return shared_utterances(
        [u for split in train for u in read_split(train_dir, split)],
        [u for split in test for u in read_split(test_dir, split)],
    )


def check_folders(
    train_dir: PathLike, test_dir: PathLike, *, train: Sequence[str] = ("train",), test: Sequence[str] = ("test",)
) -> None:
    """Raise `EmofairError` when `compare_folders` finds something; splits that a folder lacks are passed over."""
    train = [split for split in train if split in splits_of(train_dir)]
    test = [split for split in test if split in splits_of(test_dir)]
    shared = compare_folders(train_dir, test_dir, train=train, test=test)
    if shared:
        what = f"{len(shared.ids)} ids ({some(shared.ids)})" if shared.ids else ""
        files = f"{len(shared.paths)} audio files ({some([Path(p).name for p in shared.paths])})"
        raise EmofairError(
            f"{', '.join(train)} shares {what or files} with {', '.join(test)} of {os.fspath(test_dir)}",
            file=train_dir,
            remedy="Train on the training part of the same fold",
        )


def _clip(utterance: Utterance) -> tuple[str, float | None, float | None]:
    return os.path.realpath(utterance.path), utterance.start, utterance.end


def _fold(preposition: str, fold: Any) -> str:
    return "" if fold is None else f" {preposition} fold {fold}"
