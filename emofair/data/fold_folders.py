"""Folds on disk: ``OUT/fold1``, ``OUT/fold2`` ... are corpus folders each, ``OUT/folds.json`` lists them.

``folds.json`` holds the protocol and for every fold its folder, the speakers (or sessions) of its splits, and the hash
of the sorted ids of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from emofair.data import manifests
from emofair.data.audio import PathLike
from emofair.data.corpus_check import Clip, Heard, Problem, check_corpus, without_parts
from emofair.data.corpus_files import read_json, write_json
from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

FOLDS = "folds.json"


def fold_dirs(out_dir: PathLike) -> dict[str, Path]:
    """The folder of every fold, in their order, from ``folds.json``; empty where there is none."""
    return {fold["fold"]: Path(out_dir) / fold["folder"] for fold in read_folds(out_dir).get("folds", [])}


def read_folds(out_dir: PathLike) -> dict[str, Any]:
    """What ``folds.json`` says; empty where there is none. Raises `EmofairError` for a damaged one."""
    path = Path(out_dir) / FOLDS
    return read_json(path) if path.is_file() else {}


def list_folds(out_dir: PathLike, corpora: Iterable[Mapping[str, Any]]) -> None:
    """Write ``folds.json`` for the folds whose ``corpus.json`` facts are ``corpora``, all written before."""
    folds, common = [], {}
    for corpus in corpora:
        common = {"name": corpus["name"], "emofair": corpus["emofair"], "command": corpus["command"], **corpus["folds"]}
        hashes = {split: facts["ids_sha256"] for split, facts in corpus["splits"].items()}
        members = {key: corpus[key] for key in ("sessions", "speakers") if key in corpus}
        folds.append(
            {"fold": corpus["fold"], "folder": folder_of(corpus["fold"]), **members, "ids_sha256": hashes},
        )
    write_json(Path(out_dir) / FOLDS, {**common, "folds": folds})


def folder_of(fold: str) -> str:
    """Name of a fold's folder."""
    return f"fold{fold}"


def remove_folds(out_dir: PathLike) -> None:
    """Take away the folds of an earlier corpus here; what others put into their folders stays."""
    folders = fold_dirs(out_dir).values()
    (Path(out_dir) / FOLDS).unlink(missing_ok=True)
    for folder in folders:
        if folder.is_dir():
            manifests.remove_corpus(folder)
            if not any(folder.iterdir()):
                folder.rmdir()


def check_replaced(out_dir: PathLike, name: str, *, protocol: str | None = None) -> str | None:
    """What a new corpus ``name`` in ``out_dir`` is going to replace: an earlier one of the same name and protocol.

    None where there is none. Raises `EmofairError` where another corpus lies there, also in folders of folds that may
    be overwritten, or one that cannot be read.
    """
    out_dir = Path(out_dir)
    try:
        listed = read_folds(out_dir)
        own = [manifests.read_corpus(out_dir), {"name": listed.get("name")} if listed else {}]
        in_folds = [manifests.read_corpus(folder) for folder in sorted(out_dir.glob(folder_of("*")))]
    except EmofairError as error:
        raise EmofairError(error.what, file=error.file, remedy="delete it, or choose another --out") from None
    for corpus in filter(None, [*own, *in_folds]):
        if (corpus.get("name"), corpus.get("protocol")) != (name, protocol):
            problem = f"holds the corpus {_described(corpus)}"
            raise EmofairError(problem, file=out_dir, remedy="choose another --out, or delete it")
    if not any(own):
        return None
    folds = f" with {len(listed.get('folds', ()))} folds" if listed else ""
    return f"{_described(own[0] or own[1])}{folds} in {out_dir}"


def _described(corpus: Mapping[str, Any]) -> str:
    more = [corpus["protocol"]] if "protocol" in corpus else []
    more += [f"fold {corpus['fold']}"] if "fold" in corpus else []
    return f"{corpus.get('name')} ({', '.join(more)})" if more else str(corpus.get("name"))


def check_folds(
    out_dir: PathLike, *, audio: bool = True, allow_overlap: bool = False, progress: bool = False
) -> list[Problem]:
    """`check_corpus` of every fold, and whether each utterance is tested once.

    Audio is decoded once, and what is wrong with a clip is told for the first fold that has it.
    """
    heard: dict[Clip, Heard | str] = {}
    told: set[str] = set()
    problems: list[Problem] = []
    for folder in fold_dirs(out_dir).values():
        found = check_corpus(folder, audio=audio, allow_overlap=allow_overlap, progress=progress, heard=heard)
        problems += [p for p in found if p.text.partition(": ")[2] not in told]
        paths = tuple(path for path, _, _ in heard)
        told.update(rest for p in found if (rest := p.text.partition(": ")[2]).startswith(paths))
    return [*problems, *_check_tested(Path(out_dir))]


def _check_tested(out_dir: Path) -> Iterator[Problem]:
    tested: dict[str, str] = {}
    everything: set[str] = set()
    for name, folder in fold_dirs(out_dir).items():
        splits = _splits(folder)
        everything.update(u.id for items in splits.values() for u in items)
        for utterance in splits.get("test", []):
            first = tested.setdefault(utterance.id, name)
            if first != name:
                text = f"{out_dir}: {utterance.id!r} is tested in fold {first} and in fold {name}"
                yield Problem(text, warning=True)
    untested = sorted(everything - set(tested))
    if tested and untested:
        text = f"{out_dir}: {len(untested)} utterances are tested in no fold, for example {untested[0]}"
        yield Problem(text, warning=True)


def _splits(folder: Path) -> dict[str, list[Utterance]]:
    splits = {}
    for name in manifests.splits_of(folder):
        try:
            splits[name] = manifests.read_split(folder, name)
        except EmofairError:
            continue  # told by check_corpus
    return without_parts(splits, manifests.read_corpus(folder).get("parts_of", {}))
