"""Learning curves from the log of fairseq-train, in its JSON form or its plain one."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# `--log-format simple`: "epoch 003 | loss 1.2 | ..." and "epoch 003 | valid on 'valid' subset | loss 1.2 | ...".
PLAIN = re.compile(r"epoch (\d+) \| (?:valid on '([^']+)' subset \| )?([\w-]+ [-+.\dInfa]+(?: \| .*)?)$")


@dataclass
class Curves:
    """Figures by epoch: ``values[subset][figure][epoch]``, where the training set's subset is "train"."""

    values: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)

    def add(self, subset: str, epoch: int, figures: dict[str, float]) -> None:
        """Add the end of an epoch; a later one (a resumed training, a second validation) replaces an earlier one."""
        for name, value in figures.items():
            self.values.setdefault(subset, {}).setdefault(name, {})[epoch] = value

    def of(self, subset: str, figure: str) -> dict[int, float]:
        """Values by epoch, empty where there are none."""
        return self.values.get(subset, {}).get(figure, {})

    def validation(self) -> str | None:
        """The first subset that is not the training set."""
        return next((name for name in self.values if name != "train"), None)


def read_log(path: Path) -> Curves:
    """Read what fairseq logged at the end of epochs and validations (``--log-file``, or its standard output).

    Lines that are cut off or are about something else are passed over. fairseq writes a record several times into a
    log file; that does no harm.
    """
    curves = Curves()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            for subset, epoch, figures in _records(line.rstrip("\n")):
                curves.add(subset, epoch, figures)
    return curves


def _records(line: str) -> Iterator[tuple[str, int, dict[str, float]]]:
    start = line.find("{")
    if start >= 0:
        try:
            record = json.loads(line[start:])
        except json.JSONDecodeError:
            return
        # Within an epoch the figures have no prefix; at its end they are called <subset>_<figure>.
        if not isinstance(record, dict) or not isinstance(record.get("epoch"), int) or "loss" in record:
            return
        subsets = sorted((name[: -len("_loss")] for name in record if name.endswith("_loss")), key=len)
        if subsets:
            prefix = subsets[0] + "_"
            own = {name[len(prefix) :]: value for name, value in record.items() if name.startswith(prefix)}
            yield subsets[0], record["epoch"], _numbers(own)
    elif match := PLAIN.search(line):
        pairs = (pair.split(" ", 1) for pair in match[3].split(" | "))
        figures = _numbers({pair[0]: pair[1] for pair in pairs if len(pair) == 2})
        if "loss" in figures:
            yield match[2] or "train", int(match[1]), figures


def _numbers(texts: dict[str, object]) -> dict[str, float]:
    result = {}
    for name, text in texts.items():
        try:
            value = float(text)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        if math.isfinite(value):
            result[name] = value
    return result
