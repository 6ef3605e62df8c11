"""How far each group is from a baseline, with intervals from a paired bootstrap over the utterances."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from emofair.errors import EmofairError
from emofair.metrics.paired_bootstrap import N_RESAMPLES, Difference, paired_bootstrap
from emofair.reports.columns import MINUS, number
from emofair.reports.document import Block, Items, Table, Text
from emofair.reports.folds import is_classified
from emofair.reports.groups import Group, table_of
from emofair.reports.utterances import Scored, scored_utterances

READING = (
    "Difference to {baseline} in points, pooled over folds, with the interval of 95 % of {n} paired bootstrap "
    "resamples of the utterances; on each utterance a system counts with the share of its seeds that are right. The "
    "interval says how far the difference hangs on the utterances tested, not on seeds or speakers."
)


def check_baseline(groups: Sequence[Group], baseline: str) -> None:
    """Raise `EmofairError` unless ``baseline`` names a group, and no two that could be meant."""
    if not any(_is(group, baseline) for group in groups):
        labels = ", ".join(sorted({repr(group.label) for group in groups}))
        raise EmofairError(f"no group {baseline!r} to compare with", remedy=f"There are {labels}")
    for group in groups:
        _baseline_of(group, groups, baseline)


def blocks(groups: Sequence[Group], baseline: str, tell: Callable[[str], object] = lambda note: None) -> list[Block]:
    """The table of differences among ``groups``, all on the same data, and why any is not in it; ``tell`` hears why."""
    rows, notes = [], []
    known: dict[int, Scored] = {}
    for group in groups:
        if _is(group, baseline):
            continue
        protocol = str(group.get("protocol"))
        try:
            if not is_classified(group):
                raise EmofairError("it does not choose one class of several")
            other = _baseline_of(group, groups, baseline)
            if other is None:
                raise EmofairError(f"no {baseline} with this protocol on this data")
            for each in (other, group):
                if id(each) not in known:
                    known[id(each)] = _scored(each)
            ours, theirs = known[id(group)], known[id(other)]
            differences = _differences(ours, theirs)
        except EmofairError as error:
            notes.append(f"not compared with {baseline}, {group.label} ({protocol}): {error}")
            tell(notes[-1])
            continue
        seeds = f"{ours.seeds} / {theirs.seeds}"
        cells = [_cell(differences[figure]) for figure in ("accuracy", "uar")]
        rows.append([group.label, protocol, seeds, str(len(ours.ids)), *cells])
    header = ["model", "protocol", f"seeds (its / {baseline})", "items", "WA", "UA"]
    reading = Text(READING.format(baseline=baseline, n=f"{N_RESAMPLES:,}"))
    return [*([reading, Table(header, rows, numeric=4)] if rows else []), *([Items(notes)] if notes else [])]


def _scored(group: Group) -> Scored:
    try:
        return scored_utterances(group)
    except EmofairError as error:
        raise EmofairError(f"{group.label}: {error}") from None


def _differences(ours: Scored, theirs: Scored) -> dict[str, Difference]:
    """Raises `EmofairError` unless both were tested on the same labelled utterances."""
    if ours.classes != theirs.classes:
        raise EmofairError("its classes are not the same")
    if ours.ids != theirs.ids:
        only = len(set(ours.ids) ^ set(theirs.ids))
        raise EmofairError(f"not tested on the same utterances: {only} are in one of both only")
    if (ours.labels != theirs.labels).any():
        raise EmofairError("the same utterances have other labels")
    return paired_bootstrap(ours.hits, theirs.hits, ours.labels, len(ours.classes))


def _cell(difference: Difference) -> str:
    points = (f"{_signed(100 * value)}" for value in (difference.value, difference.low, difference.high))
    return "{} [{}, {}]".format(*points)


def _signed(value: float) -> str:
    """A difference with its sign, also where it is shown as 0: whether an interval includes 0 is to be seen."""
    value = round(value, 9)  # of sums in floats that cancel out
    return ("+" if value > 0 else MINUS if value < 0 else "") + number(abs(value), 1)


def _is(group: Group, name: str) -> bool:
    return name in (group.label, group.get("name"))


def _baseline_of(group: Group, groups: Sequence[Group], name: str) -> Group | None:
    """The group called ``name`` that was tested as ``group`` was; a label counts before the name of a run."""
    place = (table_of(group), group.get("protocol"))
    alike = [each for each in groups if (table_of(each), each.get("protocol")) == place]
    found = [each for each in alike if each.label == name] or [each for each in alike if each.get("name") == name]
    if len(found) > 1:
        labels = ", ".join(repr(each.label) for each in found)
        raise EmofairError(f"several groups are called {name!r}", remedy=f"Compare with one of {labels}")
    return found[0] if found else None
