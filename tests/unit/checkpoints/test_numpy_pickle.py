from pickle import UnpicklingError

import numpy as np
import pytest

from emofair.checkpoints.numpy_pickle import PlainArray, PlainDtype, from_buffer, reconstruct, scalar, to_numpy


def array(dtype, shape, data):
    made = reconstruct(PlainArray, (0,), b"b")
    made.__setstate__((1, shape, dtype, False, data))
    return made


@pytest.mark.parametrize("dtype", ["f8", "<f4", "i1", "u2", "b1", "c16", "S3", "U2"])
def test_plain_contents_equal_numpys(dtype):
    expected = np.array([1, 0], dtype=dtype)
    assert np.array_equal(array(PlainDtype(dtype), (2,), expected.tobytes()), expected)
    assert np.array_equal(from_buffer(expected.tobytes(), np.dtype(dtype), (2,)), expected)
    assert scalar(PlainDtype(dtype), expected[:1].tobytes()) == expected[0]


def test_byte_order_is_kept():
    dtype = PlainDtype("i4", False, True)
    dtype.__setstate__((3, ">", None, None, None, -1, -1, 0))
    assert scalar(dtype, b"\0\0\1\0") == 256


@pytest.mark.parametrize("code", ["V8", "M8[ns]", "f8,i4", "object", "O4", "i8" * 30, "(2,)f8", 5, None])
def test_other_dtypes_are_refused(code):
    with pytest.raises(UnpicklingError):
        PlainDtype(code)


@pytest.mark.parametrize("shape", [(3,), (-2,), (2.0,), (True,), 2, [2], (2,) * 40])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(UnpicklingError):
        array(PlainDtype("i1"), shape, b"ab")


def test_nested_arrays_become_ordinary_ones():
    inner = array(PlainDtype("i1"), (2,), b"ab")
    outer = array(PlainDtype("O"), (1, 2), [inner, {"x": [inner]}])
    result = to_numpy({"a": (outer, inner)})
    found, same = result["a"]
    assert type(found) is type(same) is np.ndarray
    assert type(found[0, 0]) is np.ndarray
    assert found[0, 0] is found[0, 1]["x"][0]
