"""Reading pickles that hold data, such as the features of a published corpus, without running any code in them."""

from __future__ import annotations

import collections
import os
import pickle
from collections.abc import Callable
from typing import Any

from emofair.checkpoints import numpy_pickle
from emofair.checkpoints.diagnosis import check_file, way_back
from emofair.errors import EmofairError


def load_data_pickle(path: str | os.PathLike[str]) -> Any:
    """The contents of a pickle of plain containers, numbers, text, numpy arrays and numpy scalars.

    Python 2 pickles are read as Latin-1. Raises `EmofairError` for anything else in it, naming it, and for a file that
    is missing, truncated or no pickle. There is no unsafe alternative.
    """
    path = check_file(path)
    try:
        with path.open("rb") as stream:
            value = _Unpickler(stream, encoding="latin1").load()
        return numpy_pickle.to_numpy(value)
    except EmofairError:
        raise
    except NotData as error:
        raise EmofairError(f"holds more than data: it asks for {error}", file=path) from None
    except (EOFError, pickle.UnpicklingError) as error:
        if "truncated" in str(error) or "Ran out of input" in str(error) or isinstance(error, EOFError):
            raise EmofairError("is truncated: its end is missing", file=path, remedy=way_back(path)) from None
        raise EmofairError(f"is not a pickle of plain data ({error})", file=path) from None
    except MemoryError:
        raise EmofairError("is not a pickle of plain data (it asks for impossibly much memory)", file=path) from None
    except Exception as error:  # a forged pickle can make any opcode fail in any way
        raise EmofairError(f"is not a pickle of plain data ({type(error).__name__}: {error})", file=path) from None


class NotData(Exception):
    """A pickle asks for a class or function that is no data; its name."""


class _Frozen:
    """A function for the unpickler to call, which a pickle cannot change, subclass or look into."""

    __slots__ = ("_call", "kind")

    def __init__(self, call: Callable[..., Any], kind: type | None = None) -> None:
        object.__setattr__(self, "_call", call)
        object.__setattr__(self, "kind", kind)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("a pickle may not change functions")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return find_data(module, name)


def find_data(module: str, name: str) -> Any:
    """What an unpickler gets for a class or function that only holds data; `NotData` for any other."""
    full = f"{module.replace('__builtin__', 'builtins')}.{name}"
    if full not in _ALLOWED:
        raise NotData(f"{module}.{name}")
    return _ALLOWED[full]


def _bytes(value: Any = b"", codec: str = "latin1") -> bytes:
    if isinstance(value, str) and codec in ("latin1", "latin-1"):
        return value.encode("latin1")
    if not isinstance(value, (bytes, bytearray)):  # a number would ask for that many bytes
        raise pickle.UnpicklingError("bytes made from something else")
    return bytes(value)


def _default_dict(factory: Any = None) -> collections.defaultdict:
    if factory is not None and (not isinstance(factory, _Frozen) or factory.kind is None):
        raise pickle.UnpicklingError("a defaultdict with an unusual factory")
    return collections.defaultdict(None if factory is None else factory.kind)


def _only_as_factory(*_: Any) -> Any:
    raise pickle.UnpicklingError("a container built by a call")


def _reconstruct(kind: Any, shape: Any, code: Any) -> Any:
    kind = numpy_pickle.PlainArray if kind is _ALLOWED["numpy.ndarray"] else None
    return numpy_pickle.reconstruct(kind, shape, code)


_ALLOWED = {
    "_codecs.encode": _Frozen(_bytes),
    "builtins.bytes": _Frozen(_bytes),
    "builtins.bytearray": _Frozen(lambda *args: bytearray(_bytes(*args))),
    "builtins.complex": _Frozen(complex),
    "builtins.set": _Frozen(set, set),
    "builtins.frozenset": _Frozen(frozenset),
    **{f"builtins.{kind.__name__}": _Frozen(_only_as_factory, kind) for kind in (dict, list, int, float, str)},
    "collections.OrderedDict": _Frozen(collections.OrderedDict),
    "collections.Counter": _Frozen(collections.Counter, collections.Counter),
    "collections.deque": _Frozen(collections.deque),
    "collections.defaultdict": _Frozen(_default_dict),
    **{name: _Frozen(stand_in) for name, stand_in in numpy_pickle.STAND_INS.items()},
    **{f"numpy.{core}.multiarray._reconstruct": _Frozen(_reconstruct) for core in ("core", "_core")},
}
