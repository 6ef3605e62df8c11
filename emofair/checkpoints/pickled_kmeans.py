"""Centres of a scikit-learn k-means from its pickle or joblib file, as HuBERT's are published, without running it.

joblib interleaves a pickle with the bytes of its arrays. Read here are numbers, text, containers and numpy arrays;
objects of scikit-learn and numpy's random generators become bags of attributes, so that neither the version of
scikit-learn that wrote a file matters, nor what its author put into it. Any other class or function is refused by name.
"""

from __future__ import annotations

import pickle
from os import PathLike
from typing import Any, BinaryIO

import numpy as np

from emofair.checkpoints import numpy_pickle
from emofair.checkpoints.data_pickle import NotData, find_data
from emofair.checkpoints.diagnosis import check_file, way_back
from emofair.errors import EmofairError

_COMPRESSED = {b"\x78": "zlib", b"\x1f": "gzip", b"BZ": "bz2", b"\xfd": "xz", b"\x5d": "lzma"}


def read_centres(path: str | PathLike[str]) -> np.ndarray:
    """``cluster_centers_`` of a pickled k-means, as it is stored [K, D].

    Raises `EmofairError` for a file that is missing, truncated, compressed, no k-means, or holds more than one.
    """
    path = check_file(path)
    try:
        with path.open("rb") as stream:
            first = stream.read(2)
            for magic, name in _COMPRESSED.items():
                if first.startswith(magic):
                    raise EmofairError(
                        f"is compressed ({name})", file=path, remedy="Save it again with joblib.dump(..., compress=0)"
                    )
            stream.seek(0)
            value = _Unpickler(stream, path.stat().st_size).load()
    except EmofairError:
        raise
    except NotData as error:
        raise EmofairError(f"holds more than a k-means: it asks for {error}", file=path) from None
    except EOFError:
        raise EmofairError("is truncated: its end is missing", file=path, remedy=way_back(path)) from None
    except Exception as error:  # a forged pickle can make any opcode fail in any way
        raise EmofairError(f"is not a pickled k-means ({type(error).__name__}: {error})", file=path) from None
    centres = getattr(value, "cluster_centers_", None)
    if not isinstance(centres, np.ndarray):
        raise EmofairError("is not a pickled k-means: it has no cluster_centers_", file=path)
    return numpy_pickle.to_numpy(centres)


class _Bag:
    """An object whose class is not loaded: its attributes alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(name): value for name, value in state.items()})


class _ArrayBehind(_Bag):
    """joblib's note that the bytes of an array follow in the file."""

    def read(self, stream: BinaryIO, left: int) -> np.ndarray:
        """The array; ``left`` bytes are left of the file at most."""
        state = self.__dict__
        dtype, shape, order = state.get("dtype"), state.get("shape"), state.get("order")
        if not isinstance(dtype, numpy_pickle.PlainDtype) or dtype.dtype.hasobject or order not in ("C", "F"):
            raise pickle.UnpicklingError("an array of an unknown kind")
        if state.get("numpy_array_alignment_bytes") is not None:
            stream.read(stream.read(1)[0])
        size = numpy_pickle.count(shape) * dtype.dtype.itemsize
        data = stream.read(size) if size <= left else b""
        if len(data) < size:
            raise EOFError
        return np.frombuffer(bytearray(data), dtype.dtype).reshape(shape, order=order)


# In C it would read ahead, past the place where the bytes of an array begin.
class _Unpickler(pickle._Unpickler):
    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__(stream, encoding="latin1")
        self.stream, self.size = stream, size
        # Classes of this file alone: what a pickle does to them ends with it.
        self.bag, self.array = type("Bag", (_Bag,), {}), type("ArrayBehind", (_ArrayBehind,), {})

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            return self.array
        if module.split(".")[0] == "sklearn" or module.startswith("numpy.random"):
            return self.bag
        return find_data(module, name)

    def load_build(self) -> None:
        """Fill an object; where it is joblib's note, the array takes its place."""
        super().load_build()
        if type(self.stack[-1]) is self.array:
            self.stack[-1] = self.stack[-1].read(self.stream, self.size)

    dispatch[pickle.BUILD[0]] = load_build
