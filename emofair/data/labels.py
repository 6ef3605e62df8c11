"""Target modes of the emotion task: which labels count, what they map to, how many outputs the head needs.

The maps and output widths are those of the robertaEMO recipes (arXiv 2008.06682): IEMOCAP merges *happy* and *excited*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from emofair.errors import EmofairError

Kind = Literal["binary", "softmax", "l1", "mse"]

# One family per emotion: every spelling the corpora use. The first is the class name, the second the IEMOCAP code.
_FAMILIES = (
    ("neutral", "neu"),
    ("sad", "sad", "sadness"),
    ("angry", "ang", "anger"),
    ("happy", "hap", "happiness", "joy"),
    ("excited", "exc", "excitement"),
    ("frustrated", "fru", "frustration"),
    ("surprised", "sur", "surprise"),
    ("fearful", "fea", "fear"),
    ("disgusted", "dis", "disgust"),
)
_FAMILY = {name: family for family in _FAMILIES for name in family}
_FULL_NAME = {family[1]: family[0] for family in _FAMILIES}


@dataclass(frozen=True)
class TargetMode:
    """What the head predicts.

    ``kind`` is "binary" (one two-way softmax per class), "softmax" (one softmax over the classes), "l1" or "mse" (one
    number). ``classes`` names the classes by index (empty for regression); ``label_map`` maps every accepted spelling
    (lower case) to a class index; ``num_outputs`` is the width of the output layer.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    num_outputs: int
    label_map: dict[str, int] = field(default_factory=dict, hash=False)

    @property
    def is_regression(self) -> bool:
        """Whether labels are numbers."""
        return self.kind in ("l1", "mse")

    def class_index(self, label: str) -> int | None:
        """Index of a label's class, or None when this mode does not know the label."""
        return self.label_map.get(label.strip().lower())


def _classification(name: str, kind: Kind, classes: tuple[str, ...], *, merge_excited: bool) -> TargetMode:
    label_map: dict[str, int] = {}
    for index, cls in enumerate(classes):
        for spelling in dict.fromkeys(_FAMILY.get(cls, (cls,))):
            if spelling in label_map:
                raise EmofairError(
                    f"emotion classes {classes[label_map[spelling]]!r} and {cls!r} stand for the same labels",
                    remedy="Name each emotion once in --emotions",
                )
            label_map[spelling] = index
    if merge_excited and "happy" in label_map and "excited" not in label_map:
        label_map.update(dict.fromkeys(_FAMILY["excited"], label_map["happy"]))
    return TargetMode(name, kind, classes, len(classes) * (2 if kind == "binary" else 1), label_map)


_IEMOCAP = ("neutral", "sad", "angry", "happy")
_MELD = ("neutral", "sadness", "anger", "joy", "surprise", "fear", "disgust")

#: Task option (without dashes) -> its mode.
MODES: dict[str, TargetMode] = {
    "regression_target": TargetMode("regression", "mse", (), 1),
    "regression_target_mos": TargetMode("mos", "l1", (), 1),
    "binary_target_iemocap": _classification("binary_iemocap", "binary", _IEMOCAP, merge_excited=True),
    "softmax_target_iemocap": _classification("softmax_iemocap", "softmax", _IEMOCAP, merge_excited=True),
    "softmax_target_meld": _classification("softmax_meld", "softmax", _MELD, merge_excited=False),
    "softmax_target_binary_meld": _classification("binary_meld", "binary", _MELD, merge_excited=False),
}


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def _with_emotions(option: str, mode: TargetMode, emotions: str) -> TargetMode:
    if mode.kind != "softmax":
        raise EmofairError(
            f"--emotions cannot be combined with {_flag(option)}",
            remedy="It replaces the classes of --softmax-target-iemocap or --softmax-target-meld",
        )
    names = [name.strip().lower() for name in emotions.split(",")]
    if len(names) < 2 or not all(names):
        raise EmofairError(f"--emotions {emotions!r} is not a comma-separated list of at least two class names")
    classes = tuple(_FULL_NAME.get(name, name) for name in names)
    return _classification(mode.name, "softmax", classes, merge_excited=option == "softmax_target_iemocap")


def resolve_target_mode(cfg: Any) -> TargetMode:
    """Return the one target mode that a task configuration asks for.

    ``cfg`` is any object with the mode options as attributes, ``num_classes`` (-1 or None: infer) and ``emotions``.
    Raises EmofairError when no or several modes are chosen, or when ``num_classes`` contradicts the mode.
    """
    chosen = [option for option in MODES if getattr(cfg, option, False)]
    if len(chosen) != 1:
        said = (
            f"{len(chosen)} targets are chosen ({', '.join(map(_flag, chosen))})" if chosen else "no target is chosen"
        )
        raise EmofairError(said, remedy=f"Choose exactly one of {', '.join(map(_flag, MODES))}")
    option = chosen[0]
    mode = MODES[option]
    emotions = getattr(cfg, "emotions", None)
    if emotions is not None:
        mode = _with_emotions(option, mode, emotions)
    wanted = getattr(cfg, "num_classes", -1)
    if wanted not in (-1, None, mode.num_outputs):
        why = {
            "binary": f"2 for each of {len(mode.classes)} emotions",
            "softmax": f"one for each of {', '.join(mode.classes)}",
        }.get(mode.kind, "the score")
        raise EmofairError(
            f"--num-classes {wanted} does not fit {_flag(option)}, which has {mode.num_outputs} outputs ({why})",
            remedy=f"Use --num-classes {mode.num_outputs} or leave it out",
        )
    return mode
