"""Checks of the numbers and names that layers are built from, told by the option that sets them."""

from __future__ import annotations

from emofair.errors import EmofairError

# Those of fairseq that are functions; it lists "swish" too, and hands out a class for it.
ACTIVATIONS = ("gelu", "gelu_accurate", "gelu_fast", "linear", "relu", "relu_squared", "tanh")


def check_dropout(option: str, value: object) -> None:
    """Raise `EmofairError` unless ``value`` is a probability from 0 to below 1."""
    if not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise EmofairError(f"{option} {value} is no probability", remedy="Give a number from 0 to below 1")


def check_activation(option: str, value: object) -> None:
    """Raise `EmofairError` unless ``value`` names an activation function of fairseq."""
    if value not in ACTIVATIONS:
        raise EmofairError(f"{option} {value} is not known", remedy=f"Choose one of {', '.join(ACTIVATIONS)}")
