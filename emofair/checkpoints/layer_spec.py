"""Convolution layers written as text, such as ``[(512, 10, 5)] + [(512, 3, 2)] * 4``, read without evaluating code."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from emofair.errors import EmofairError

MAX_LAYERS = 100
MAX_LENGTH = 10_000


def parse_layers(text: object) -> list[tuple[int, int, int]]:
    """(width, kernel, stride) of each layer, from lists of such triples joined by ``+`` and repeated by ``*``.

    ``text`` is a string, or the list itself. fairseq keeps this text in checkpoints and evaluates it as Python. Raises
    `EmofairError` for any other expression.
    """
    text = str(text)
    try:
        if len(text) > MAX_LENGTH:
            raise ValueError("too long")
        layers = _value(ast.parse(text, mode="eval").body)
        if isinstance(layers, list) and layers and all(map(_is_layer, layers)):
            return layers
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    raise EmofairError(f"not a list of convolution layers (width, kernel, stride): {text[:80]!r}")


def _value(node: ast.expr) -> list | int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        layers = [_layer(item) for item in node.elts]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mult)):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
            layers = left + right
        else:
            layers, times = (left, right) if isinstance(left, list) else (right, left)
            if isinstance(node.op, ast.Add) or not isinstance(layers, list) or not isinstance(times, int):
                raise ValueError("only lists are added, and only a list is repeated")
            if times > MAX_LAYERS:
                raise ValueError("too many layers")
            layers = layers * times
    else:
        raise ValueError("not a list of layers")
    if len(layers) > MAX_LAYERS:
        raise ValueError("too many layers")
    return layers


def _layer(node: ast.expr) -> tuple[int, ...]:
    return tuple(ast.literal_eval(node))


def _is_layer(layer: object) -> bool:
    return (
        isinstance(layer, tuple)
        and len(layer) == 3
        and all(type(number) is int and 0 < number < 2**20 for number in layer)
    )


def geometry(layers: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """Hop and receptive field, in input steps, of a stack of convolutions (width, kernel, stride)."""
    hop, field = 1, 1
    for _, kernel, stride in layers:
        field += (kernel - 1) * hop
        hop *= stride
    return hop, field
