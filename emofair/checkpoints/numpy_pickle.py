"""Checked stand-ins for the numpy functions that pickles call.

numpy's own trust the pickle: a forged dtype or too short a list makes them read memory that is not theirs. These take
plain numbers, strings and objects only, and compare every length before numpy sees it.
"""

from __future__ import annotations

import math
import re
from pickle import UnpicklingError
from typing import Any

import numpy as np

_CODE = re.compile(r"[<>|=]?(?:[biufcSU][0-9]{1,9}|O8?)")


class PlainDtype:
    """What a pickle gets for ``numpy.dtype``: a dtype without fields, sub-arrays or metadata."""

    __slots__ = ("dtype",)

    def __init__(self, code: str | bytes, align: bool = False, copy: bool = False) -> None:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise UnpicklingError(f"numpy dtype {code!r:.60} is not a plain one")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, sub-array, names, fields, item size, alignment, flags[, metadata])
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise UnpicklingError("numpy dtype with fields or sub-arrays")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise UnpicklingError(f"numpy byte order {order!r:.20}")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)


class PlainArray(np.ndarray):
    """What a pickle gets for ``numpy.ndarray``: an array that checks its contents; it pickles as an ordinary one."""

    def __new__(cls, *args: Any, **kwargs: Any) -> PlainArray:
        raise UnpicklingError("numpy arrays are only restored from their contents")

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise UnpicklingError("numpy array in an unknown form")
        shape, dtype, fortran, data = state[-4:]
        dtype, size = _dtype(dtype), count(shape)
        if dtype.hasobject:
            if not isinstance(data, list) or len(data) != size:
                raise UnpicklingError("numpy object array whose contents do not fit its shape")
        else:
            data = _bytes(data)
            if len(data) != size * dtype.itemsize:
                raise UnpicklingError("numpy array whose contents do not fit its shape")
        super().__setstate__((1, shape, dtype, bool(fortran), data))

    def __reduce__(self) -> Any:
        return self.view(np.ndarray).__reduce__()

    def __reduce_ex__(self, protocol: int) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def reconstruct(kind: type, shape: Any, code: Any) -> PlainArray:
    """``numpy._core.multiarray._reconstruct``: an empty array, whose contents follow."""
    if kind is not PlainArray:
        raise UnpicklingError("numpy array of a foreign class")
    return np.ndarray.__new__(PlainArray, (0,), "i1")


def scalar(dtype: Any, data: Any) -> np.generic:
    """``numpy._core.multiarray.scalar``: one number or string from its bytes."""
    dtype, data = _dtype(dtype), _bytes(data)
    if dtype.hasobject or len(data) != dtype.itemsize or not data:
        raise UnpicklingError("numpy scalar whose contents do not fit its dtype")
    return np.frombuffer(data, dtype)[0]


def from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    """``numpy._core.numeric._frombuffer``: how arrays come in pickle protocol 5."""
    dtype, size, data = _dtype(dtype), count(shape), _bytes(data)
    if dtype.hasobject or len(data) != size * dtype.itemsize or order not in ("C", "F"):
        raise UnpicklingError("numpy array whose contents do not fit its shape")
    return np.frombuffer(bytearray(data), dtype).reshape(shape, order=order)


def to_numpy(value: Any) -> Any:
    """``value`` with every `PlainArray` in nested dicts, lists, tuples and object arrays made an ordinary array."""
    return _settle(value, {})


def _settle(value: Any, seen: dict[int, Any]) -> Any:
    if id(value) in seen:
        return seen[id(value)][0]
    result = value
    if isinstance(value, PlainArray):
        result = value.view(np.ndarray)
    # The original is kept beside the result, so that its id is not given to another object meanwhile.
    seen[id(value)] = (result, value)
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _settle(item, seen)
    elif isinstance(value, list):
        value[:] = [_settle(item, seen) for item in value]
    elif type(value) is tuple:
        result = tuple(_settle(item, seen) for item in value)
        seen[id(value)] = (result, value)
    elif isinstance(value, np.ndarray) and result.dtype.hasobject:
        flat = result.reshape(-1) if result.flags.c_contiguous else result.T.reshape(-1)
        for i, item in enumerate(flat):
            flat[i] = _settle(item, seen)
    return result


def _dtype(value: Any) -> np.dtype:
    if isinstance(value, PlainDtype):
        return value.dtype
    if isinstance(value, np.dtype) and value.kind in "biufcSUO" and value.fields is None:
        return PlainDtype(value.str).dtype
    raise UnpicklingError("numpy array of an unknown dtype")


def count(shape: Any) -> int:
    """Elements of an array of a shape that a pickle names."""
    if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
        raise UnpicklingError("numpy array of an impossible shape")
    return math.prod(shape)


def _bytes(data: Any) -> bytes:
    if isinstance(data, str):  # Python 2 wrote its bytes as text
        data = data.encode("latin1")
    if not isinstance(data, (bytes, bytearray)):
        raise UnpicklingError("numpy data that are not bytes")
    return bytes(data)


STAND_INS = {
    "numpy.dtype": PlainDtype,
    "numpy.ndarray": PlainArray,
    **{f"numpy.{core}.multiarray._reconstruct": reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": from_buffer for core in ("core", "_core")},
}
