"""Cross-validation folds: leave sessions or speakers out, hold out a validation set, divide training for P-TAPT.

Speakers (or sessions) are taken in sorted order, numbers by value. Fold k tests on the k-th of them, or on the k-th
group of neighbours, and trains on the others. Nothing here depends on the order in which clips were found.

What validates comes out of the training part: nothing (``none``, the published protocol of "Exploring wav2vec 2.0
fine-tuning", arXiv 2110.06309: the last epoch counts), whole speakers or sessions (``speaker``: those that follow
the test group, going round, or later ones where a class would be missing), or clips of each class drawn by lot
(``random``: the same speakers are trained on and selected by).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from typing import Any

from emofair.data.manifests import Utterance
from emofair.errors import EmofairError

UNITS = ("session", "speaker")
VALID = ("none", "speaker", "random")
SEED = 58
"""The seed by which upstream draws the validation clips of P-TAPT's first stage."""

Splits = dict[str, list[Utterance]]


@dataclass(frozen=True)
class FoldPlan:
    """How to divide a corpus.

    ``by`` is "session", "speaker" or "none" (all clips are for training). Test groups have one session or speaker each,
    or there are ``count`` of them, or they have ``per_fold`` speakers. ``valid`` is "none", "speaker" or "random", and
    ``valid_fraction`` its share of the training part (at least one session or speaker; one clip of each class).
    ``p1_valid``, if given, is the share of the training part that selects in P-TAPT's first stage: the splits
    p1_train and p1_valid divide train by ``p1_by`` ("random" or "speaker"). ``seed`` draws what is random.
    """

    by: str = "speaker"
    count: int | None = None
    per_fold: int | None = None
    valid: str = "speaker"
    valid_fraction: float = 0.1
    p1_valid: float | None = None
    p1_by: str = "random"
    seed: int = SEED

    def __post_init__(self) -> None:
        if self.count is not None and self.per_fold is not None:
            raise EmofairError("the number of folds and the speakers per fold cannot both be chosen")
        for name, value in (("valid", self.valid_fraction), ("P-TAPT's validation", self.p1_valid)):
            if value is not None and not 0 < value < 1:
                raise EmofairError(f"the fraction for {name} is {value}", remedy="Give one between 0 and 1")


@dataclass(frozen=True)
class Fold:
    """One division: its name ("1" ...; None where it is the only one), splits, which are parts of others, facts."""

    name: str | None
    splits: Splits
    parts_of: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def make_folds(items: Sequence[Utterance], plan: FoldPlan) -> list[Fold]:
    """Divide a corpus by ``plan``.

    Raises `EmofairError` when an utterance has no speaker or session, and when they are too few.
    """
    if plan.by == "none":
        return [complete(Fold(None, {"train": list(items)}), plan)]
    units = _units(items, plan.by)
    groups = _groups(units, plan)
    facts = {"protocol": _protocol(plan, units, groups), "n_folds": len(groups), **_described(plan)}
    folds = []
    for number, group in enumerate(groups, start=1):
        held_out = set(group)
        splits = {
            "train": [u for u in items if getattr(u, plan.by) not in held_out],
            "test": [u for u in items if getattr(u, plan.by) in held_out],
        }
        follow = units.index(group[-1]) + 1
        fold = Fold(str(number), splits, facts={"fold": str(number), "folds": facts})
        folds.append(complete(fold, plan, units[follow:] + units[:follow]))
    return folds


def given_folds(items: Sequence[Utterance], listed: dict[str, dict[str, str]], plan: FoldPlan) -> list[Fold]:
    """Folds that the corpus lists itself: ``listed`` maps the fold's name to the split of every id in it."""
    facts = {"protocol": "as listed", "n_folds": len(listed), **_described(replace(plan, by="none"))}
    folds = []
    for name, split_of in listed.items():
        splits: Splits = {}
        for utterance in items:
            if split := split_of.get(utterance.id):
                splits.setdefault(split, []).append(utterance)
        if "train" not in splits:
            raise EmofairError(f"nothing usable is left in train of fold {name}")
        folds.append(complete(Fold(name, splits, facts={"fold": name, "folds": facts}), plan))
    return folds


def complete(fold: Fold, plan: FoldPlan, order: Sequence[str] | None = None) -> Fold:
    """Take the validation set and the parts for P-TAPT out of a fold's train, and note who is where.

    ``order`` are the speakers or sessions in the order in which they are to be held out.
    """
    unit = plan.by if plan.by in UNITS else "speaker"
    splits = dict(fold.splits)
    where = f"fold {fold.name}: " if fold.name else ""
    if plan.valid != "none":
        if "valid" in splits:
            raise EmofairError(f"{where}there is a validation set already", remedy="Leave --valid out")
        splits["train"], splits["valid"] = _hold_out(
            splits["train"], plan.valid, plan.valid_fraction, f"{plan.seed} {fold.name} valid", unit, order, where
        )
    splits = {name: splits[name] for name in ("train", "valid", "test") if name in splits} | splits
    parts_of = dict(fold.parts_of)
    if plan.p1_valid is not None:
        splits["p1_train"], splits["p1_valid"] = _hold_out(
            splits["train"], plan.p1_by, plan.p1_valid, f"{plan.seed} {fold.name} p1", unit, order, where
        )
        parts_of |= {"p1_train": "train", "p1_valid": "train"}
    members = {
        f"{column}s": {name: _distinct(part, column) for name, part in splits.items()}
        for column in dict.fromkeys(("speaker", unit))
        if all(getattr(u, column) is not None for part in splits.values() for u in part)
    }
    return Fold(fold.name, splits, parts_of, {**fold.facts, **members})


def stratified(items: Sequence[Utterance], fraction: float, seed: str) -> tuple[list[Utterance], list[Utterance]]:
    """Draw ``fraction`` of the clips of every class, at least one of each that has two: (the rest, the drawn).

    Those with the smallest SHA-256 of "seed id" are drawn, so that any program can do the same.
    """
    by_label: dict[str, list[str]] = defaultdict(list)
    for utterance in items:
        by_label[utterance.label or ""].append(utterance.id)
    drawn: set[str] = set()
    for ids in by_label.values():
        n = min(max(round(fraction * len(ids)), 1), len(ids) - 1)
        drawn.update(sorted(ids, key=lambda each: _lot(f"{seed} {each}"))[:n])
    return [u for u in items if u.id not in drawn], [u for u in items if u.id in drawn]


def _lot(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


def in_order(values: set[str]) -> list[str]:
    """Names sorted as people do: numbers in them by value."""
    return sorted(values, key=lambda name: [(part.isdecimal(), part.zfill(20)) for part in re.split(r"(\d+)", name)])


def _hold_out(
    items: list[Utterance], how: str, fraction: float, seed: str, unit: str, order: Sequence[str] | None, where: str
) -> tuple[list[Utterance], list[Utterance]]:
    if how == "random":
        rest, held = stratified(items, fraction, seed)
        if not held:
            raise EmofairError(f"{where}no class has two training clips, so none can be held out")
        return rest, held
    units = _units(items, unit)
    units = [name for name in order or units if name in units]
    n = max(1, round(fraction * len(units)))
    if len(units) <= n:
        raise EmofairError(
            f"{where}{len(units)} training {unit}s are too few to hold out {n} of them",
            remedy="Make more folds, or let clips validate (random) or nothing (none)",
        )
    labels = {u.label for u in items}
    choices = [[*units, *units][start : start + n] for start in range(len(units))]
    divisions = [_divide(items, unit, set(chosen)) for chosen in choices]
    for rest, held in divisions:
        if {u.label for u in held} == labels == {u.label for u in rest}:
            return rest, held
    return divisions[0]


def _divide(items: list[Utterance], unit: str, held_out: set[str]) -> tuple[list[Utterance], list[Utterance]]:
    return (
        [u for u in items if getattr(u, unit) not in held_out],
        [u for u in items if getattr(u, unit) in held_out],
    )


def _units(items: Sequence[Utterance], by: str) -> list[str]:
    missing = [u.id for u in items if not getattr(u, by)]
    if missing:
        raise EmofairError(
            f"{len(missing)} utterances have no {by}, for example {missing[0]}", remedy=f"Folds by {by} need it"
        )
    return in_order({getattr(u, by) for u in items})


def _groups(units: list[str], plan: FoldPlan) -> list[list[str]]:
    count = plan.count or len(units)
    if plan.per_fold is not None:
        count = -(-len(units) // plan.per_fold)
    if not 2 <= count <= len(units):
        raise EmofairError(f"{len(units)} {plan.by}s cannot make {count} folds", remedy=f"Ask for 2 to {len(units)}")
    if plan.per_fold is not None:
        return [units[start : start + plan.per_fold] for start in range(0, len(units), plan.per_fold)]
    # The first groups have one more where it doesn't come out even.
    small, more = divmod(len(units), count)
    ends = [number * small + min(number, more) for number in range(count + 1)]
    return [units[start:end] for start, end in pairwise(ends)]


def _protocol(plan: FoldPlan, units: list[str], groups: list[list[str]]) -> str:
    if len(groups) == len(units):
        return f"leave-one-{plan.by}-out"
    return f"{len(groups)} groups of {plan.by}s left out"


def _described(plan: FoldPlan) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(plan).items() if value is not None}
    if plan.valid == "none":
        del facts["valid_fraction"]
    if plan.p1_valid is None:
        del facts["p1_by"]
    if "random" not in (plan.valid, facts.get("p1_by")):
        del facts["seed"]
    return facts


def _distinct(items: Sequence[Utterance], column: str) -> list[str]:
    return in_order({getattr(u, column) for u in items})
