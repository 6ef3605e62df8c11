import collections
import datetime
import io
import pickle

import numpy as np
import pytest

from emofair.checkpoints.data_pickle import load_data_pickle
from emofair.errors import EmofairError

DATA = {
    "text": "déjà",
    "bytes": b"\xff\0",
    "bytearray": bytearray(b"xy"),
    "numbers": [1, -(2**70), 2.5, 1j, True, None],
    "tuple": ("a", (np.arange(3), [np.float32(2)])),
    "set": {1, 2},
    "frozenset": frozenset("a"),
    "ordered": collections.OrderedDict(b=1, a=2),
    "default": collections.defaultdict(list, {"a": [1]}),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2]),
    "float": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big endian": np.arange(4, dtype=">i4"),
    "empty": np.zeros((0, 3)),
    "zero-dimensional": np.array(3.5),
    "bool": np.array([True, False]),
    "strings": np.array(["a", "bcd"]),
    "byte strings": np.array([b"a", b"bcd"]),
    "objects": np.array([["a", np.arange(2)], [None, {"x": np.ones(1)}]], dtype=object),
    "scalar": np.int64(7),
}


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        if expected.dtype.hasobject:
            for one, other in zip(found.flat, expected.flat, strict=True):
                assert_same(one, other)
        else:
            assert np.array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", range(6))
def test_data_come_back_equal(protocol, tmp_path):
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps(DATA, protocol=protocol))
    assert_same(load_data_pickle(path), pickle.loads(path.read_bytes()))


def test_shared_and_recursive_containers_stay_so(tmp_path):
    inner = [np.arange(2)]
    data = {"a": inner, "b": inner}
    data["self"] = data
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(data))
    found = load_data_pickle(tmp_path / "data.pkl")
    assert found["a"] is found["b"]
    assert found["self"] is found
    found["a"][0][0] = 5  # arrays are writable


def test_python_2_pickles_are_read(tmp_path):
    # {'x': numpy.array([1, 2], '<i4')} as Python 2 wrote it: names, bytes and contents are old strings
    text = (
        b"(dp0\nS'x'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'i4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S'\\x01\\x00\\x00\\x00\\x02\\x00\\x00\\x00'\ntbs."
    )
    (tmp_path / "data.pkl").write_bytes(text)
    assert_same(load_data_pickle(tmp_path / "data.pkl"), {"x": np.array([1, 2], dtype="<i4")})


def test_other_things_than_data_are_named(tmp_path):
    path = tmp_path / "data.pkl"
    for value, name in ((datetime.date(2020, 1, 1), "datetime.date"), (io.StringIO("a"), "StringIO"), (len, "len")):
        path.write_bytes(pickle.dumps({"x": value}))
        with pytest.raises(EmofairError, match=f"holds more than data.*{name}"):
            load_data_pickle(path)
    path.write_bytes(pickle.dumps(np.zeros(2, dtype=[("a", "f8")])))
    with pytest.raises(EmofairError, match="numpy dtype"):
        load_data_pickle(path)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_truncated_pickles_are_called_so(protocol, keep, tmp_path):
    data = pickle.dumps({"x": np.arange(1000)}, protocol=protocol)
    (tmp_path / "data.pkl").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(EmofairError, match="truncated"):
        load_data_pickle(tmp_path / "data.pkl")


def test_what_is_no_pickle_is_refused(tmp_path):
    path = tmp_path / "data.pkl"
    for content, message in ((b"hello there", "not a pickle"), (b"<!doctype html>", "web page"), (b"", "empty")):
        path.write_bytes(content)
        with pytest.raises(EmofairError, match=message):
            load_data_pickle(path)
    with pytest.raises(EmofairError, match="no such file"):
        load_data_pickle(tmp_path / "none.pkl")
