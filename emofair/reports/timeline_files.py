"""An emotion timeline as JSON, as a table with a row per frame, and as a TextGrid for Praat and ELAN."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emofair.data.textgrid import Interval, IntervalTier, TextGrid, read_textgrid, write_textgrid
from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.inference.timeline import Timeline

EMOTION, CLUSTER = "emotion", "cluster"


def record(timeline: Timeline, **facts: Any) -> dict[str, Any]:
    """The timeline as JSON values, nine digits to a number; ``facts`` come first."""
    classes = timeline.classes
    frames: dict[str, Any] = {
        "time": _numbers(timeline.times),
        "attention": _numbers(timeline.attention),
        "decision": [classes[i] for i in timeline.decisions.tolist()],
    }
    if timeline.clusters is not None:
        frames["cluster"] = timeline.clusters.tolist()
    tables = [("posterior", classes, timeline.posteriors), ("contribution", classes, timeline.contributions)]
    if timeline.cluster_posteriors is not None:
        tables.append(("cluster_posterior", timeline.cluster_classes, timeline.cluster_posteriors))
    for name, labels, values in tables:
        for label, column in zip(labels, values.T, strict=True):
            frames[f"{name}_{label}"] = _numbers(column)
    return {
        **facts,
        **timeline.facts,
        "label": timeline.label,
        "classes": list(classes),
        "logits": dict(zip(classes, _numbers(timeline.logits), strict=True)),
        "probabilities": dict(zip(classes, _numbers(timeline.probabilities), strict=True)),
        "n_frames": len(timeline.times),
        "segments": [{**segment._asdict(), "posterior": _number(segment.posterior)} for segment in timeline.segments],
        "frames": frames,
    }


def write_json(path: str | os.PathLike[str], timeline: Timeline, **facts: Any) -> None:
    """Write `record`, one line per entry and one per column of the frames."""
    content = record(timeline, **facts)
    frames, segments = content.pop("frames"), content.pop("segments")
    lines = [f" {_json(name)}: {_json(value)}," for name, value in content.items()]
    lines += [' "segments": [', ",\n".join(f"  {_json(segment)}" for segment in segments), " ],"]
    lines += [' "frames": {', ",\n".join(f"  {_json(name)}: {_json(values)}" for name, values in frames.items()), " }"]
    text = "\n".join(["{", *lines, "}"]) + "\n"
    Path(path).write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def write_csv(path: str | os.PathLike[str], timeline: Timeline) -> None:
    """Write the columns of the frames in `record`, after the number of the frame."""
    frames = record(timeline)["frames"]
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["frame", *frames])
        table.writerows(zip(range(len(timeline.times)), *frames.values(), strict=True))


def write_textgrid_of(path: str | os.PathLike[str], timeline: Timeline) -> None:
    """Write the segments as tier "emotion" and, where there are any, the runs of clusters as tier "cluster"."""
    tiers = [IntervalTier(EMOTION, [Interval(s.start, s.end, s.label) for s in timeline.segments])]
    if timeline.cluster_runs is not None:
        tiers.append(IntervalTier(CLUSTER, [Interval(r.start, r.end, str(r.cluster)) for r in timeline.cluster_runs]))
    write_textgrid(path, TextGrid(0.0, timeline.seconds, tiers))


def check_json_may_go(path: Path, recording: str | os.PathLike[str]) -> None:
    """Raise EmofairError where ``path`` holds the timeline of another recording, or something else."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))["recording"]
        same = os.path.realpath(earlier) == os.path.realpath(recording)
    except FileNotFoundError:
        return
    except (KeyError, TypeError, ValueError):
        earlier, same = "another program", False
    if not same:
        raise EmofairError(f"is of {earlier}, and would be lost", file=path, remedy="Give another --out")


def check_textgrid_may_go(path: Path) -> None:
    """Raise EmofairError where ``path`` holds somebody's annotation and not an earlier timeline."""
    if path.exists() and {tier.name for tier in read_textgrid(path).tiers} not in ({EMOTION}, {EMOTION, CLUSTER}):
        raise EmofairError(
            "is a TextGrid with other tiers, which would be lost", file=path, remedy="Give another --out"
        )


def _numbers(values: np.ndarray) -> list[float]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float:
    return float(f"{value:.9g}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
