"""The lists in T_data say which clips are in which split of the usual folds: ours must stay the same."""

import csv
import os
from itertools import product
from pathlib import Path

import pytest

from emofair.corpora import cremad, emodb, ravdess
from emofair.corpora.folds import FoldPlan, make_folds
from emofair.data.manifests import Utterance, ids_hash

LISTS = Path(__file__).parents[3] / "T_data"
REAL = Path(os.environ.get("EMOFAIR_TEST_DATA", "/nonexistent")) / "emodb"

# Of 12 sentences, one of them at three levels, by 91 actors these were not recorded.
NOT_IN_CREMAD = {
    "1002_TIE_NEU",
    "1076_ITS_NEU",
    *(f"1008_WSI_{emotion}" for emotion in cremad.EMOTIONS),
    *(f"1009_MTI_{emotion}" for emotion in cremad.EMOTIONS),
    *(f"1019_ITH_{emotion}" for emotion in cremad.EMOTIONS),
}


def rows(file):
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def splits_of_list(corpus):
    listed = {}
    for row in rows(LISTS / corpus / "splits.tsv"):
        listed[row["fold"], row["split"]] = (int(row["n"]), row["speakers"], row["ids_sha256"])
    return listed


def splits_of_plan(items, plan):
    return {
        (fold.name, split): (len(part), ",".join(fold.facts["speakers"][split]), ids_hash(part))
        for fold in make_folds(items, plan)
        for split, part in fold.splits.items()
    }


def listed_emodb():
    return [
        Utterance(row["id"], "", label=row["label"], speaker=row["speaker"])
        for row in rows(LISTS / "emodb" / "utterances.tsv")
    ]


def test_emodb_from_its_names():
    items = listed_emodb()
    assert len(items) == sum(emodb.COUNTS.values())
    assert all((u.speaker, emodb.EMOTIONS[u.id[5]]) == (u.id[:2], u.label) for u in items)
    listed = splits_of_list("emodb")
    assert len(listed) == 50
    assert splits_of_plan(items, FoldPlan(p1_valid=0.1)) == listed


def test_clips_that_validate_p_tapt_on_emodb():
    drawn = {}
    for row in rows(LISTS / "emodb" / "p1_valid.tsv"):
        drawn.setdefault(row["fold"], []).append(Utterance(row["id"], ""))
    listed = splits_of_list("emodb")
    assert {fold: ids_hash(items) for fold, items in drawn.items()} == {
        fold: sha for (fold, split), (_, _, sha) in listed.items() if split == "p1_valid"
    }


def test_the_hash_is_that_of_a_plain_list_of_ids():
    """``sort ids | sha256sum``, without the last line break: anybody can check it."""
    import hashlib

    ids = sorted(u.id for u in listed_emodb() if u.speaker == "03")
    assert hashlib.sha256("\n".join(ids).encode()).hexdigest() == splits_of_list("emodb")["1", "test"][2]


@pytest.mark.skipif(not REAL.is_dir(), reason="EMOFAIR_TEST_DATA names no folder with emodb")
def test_emodb_from_the_download():
    items = emodb.read(REAL).splits["all"]
    assert splits_of_plan(items, FoldPlan(p1_valid=0.1)) == splits_of_list("emodb")


def test_ravdess_from_its_naming_scheme():
    items = []
    for actor, emotion, intensity, statement, repetition in product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2)):
        if not (emotion == 1 and intensity == 2):
            name = f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}"
            items.append(Utterance(name, "", label=ravdess.EMOTIONS[f"{emotion:02d}"], speaker=f"{actor:02d}"))
    assert len(items) == sum(ravdess.COUNTS.values()) == 1440
    assert splits_of_plan(items, FoldPlan(p1_valid=0.1)) == splits_of_list("ravdess")


def test_cremad_from_its_naming_scheme():
    items = []
    for actor, sentence, emotion in product(range(1001, 1092), cremad.SENTENCES, cremad.EMOTIONS):
        name = f"{actor}_{sentence}_{emotion}"
        for level in ("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",):
            if name not in NOT_IN_CREMAD:
                items.append(Utterance(f"{name}_{level}", "", label=cremad.EMOTIONS[emotion], speaker=str(actor)))
    assert len(items) == sum(cremad.COUNTS.values()) == 7442
    assert splits_of_plan(items, FoldPlan(count=5, p1_valid=0.1)) == splits_of_list("cremad")
