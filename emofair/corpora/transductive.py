"""What unlabelled pre-training may hear of a fold under the transductive protocol: its training and test clips.

A stage that is trained on it has heard the test clips, so fine-tuning and scoring on the fold refuse it under protocol
clean (`emofair.data.leak_check`), and accept it under protocol transductive where it used no labels.
"""

from __future__ import annotations

import os

from emofair.data.audio import PathLike
from emofair.data.fold_folders import check_replaced, fold_dirs
from emofair.data.manifests import Utterance, read_corpus, read_labels, read_split, splits_of, write_corpus
from emofair.errors import EmofairError

HEARD = ("train", "test")
PROTOCOL = "transductive"
# Facts of the fold that hold for what is made of it.
_KEPT = ("fold", "shared_groups", "resample", "text_only")


def write_transductive(fold_dir: PathLike, out_dir: PathLike, *, allow_overlap: bool = False) -> str | None:
    """Write a corpus whose ``train`` are the train and test clips of a fold, and ``valid`` its valid clips, if any.

    Labels stay, so that clusters can be described by them; name and fold stay too. Returns what was replaced, as
    `check_replaced` does. Raises `EmofairError` when ``fold_dir`` is no corpus with both splits, when ``out_dir`` is
    the fold or holds another corpus, and for ids that valid shares with the others unless ``allow_overlap``.
    """
    if folds := fold_dirs(fold_dir):
        raise EmofairError(
            "this folder holds folds", file=fold_dir, remedy=f"Name one, as {next(iter(folds.values()))}"
        )
    if os.path.realpath(out_dir) == os.path.realpath(fold_dir):
        raise EmofairError("the fold itself would be overwritten", file=out_dir, remedy="Name another --out")
    corpus = read_corpus(fold_dir)
    if missing := [split for split in HEARD if split not in splits_of(fold_dir)]:
        raise EmofairError(
            f"no fold: it has no {missing[0]} split", file=fold_dir, remedy="--fold-dir is a prepared fold"
        )
    name = corpus.get("name", os.path.basename(os.path.abspath(fold_dir)))
    replaced = check_replaced(out_dir, name, protocol=PROTOCOL)
    heard: list[Utterance] = []
    by_id: dict[str, Utterance] = {}
    for split in HEARD:
        for utterance in read_split(fold_dir, split):
            # A fold that was allowed to overlap has a clip in both.
            if by_id.get(utterance.id) != utterance:
                heard.append(utterance)
            by_id[utterance.id] = utterance
    splits = {"train": heard}
    if "valid" in splits_of(fold_dir):
        splits["valid"] = read_split(fold_dir, "valid")
    write_corpus(
        out_dir,
        splits,
        root=corpus.get("root", os.path.abspath(fold_dir)),
        name=name,
        allow_overlap=allow_overlap,
        labels=read_labels(fold_dir),
        **{fact: corpus[fact] for fact in _KEPT if fact in corpus},
        protocol=PROTOCOL,
        fold_dir=os.path.abspath(fold_dir),
    )
    return replaced
