"""Pickles that try to run code: every payload would create a file, and none may."""

import argparse
import builtins
import collections
import contextlib
import copyreg
import functools
import importlib
import io
import logging
import operator
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from omegaconf import DictConfig, OmegaConf

from emofair.checkpoints import numpy_pickle, safe
from emofair.errors import EmofairError


class Call:
    """Pickles as the call of ``function`` with ``args``, and ``state`` given to the result."""

    def __init__(self, function, *args, state=None):
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.parts

    def __call__(self):
        """Only callables may be pickled in the place of a function."""


class Meddler:
    """Acts when its state is restored."""

    def __init__(self, code):
        self.code = code

    def __setstate__(self, state):
        exec(state["code"])


def payloads(marker):
    """Name → an object whose unpickling creates the file ``marker``."""
    code, shell = f"open({str(marker)!r}, 'w').close()", f"touch {marker}"
    evil = Call(os.system, shell)
    array = np.empty(2, object)
    array[:] = [1.0, evil]
    namespace_globals = Call(getattr, argparse.Namespace.__init__, "__globals__")
    return {
        "os.system": evil,
        "eval": Call(builtins.eval, code),
        "exec": Call(builtins.exec, code),
        "open": Call(builtins.open, str(marker), "w"),
        "__import__": Call(Call(getattr, Call(builtins.__import__, "os"), "system"), shell),
        "importlib": Call(Call(getattr, Call(importlib.import_module, "os"), "system"), shell),
        "getattr from an allowed class": Call(
            Call(getattr, Call(operator.getitem, namespace_globals, "_os"), "system"), shell
        ),
        "attrgetter": Call(Call(operator.attrgetter("system"), Call(importlib.import_module, "os")), shell),
        "methodcaller": Call(operator.methodcaller("system", shell), Call(importlib.import_module, "os")),
        "partial": Call(functools.partial(os.system, shell)),
        "numpy object array": array,
        "__setstate__": Meddler(code),
        "state of a Namespace": Call(argparse.Namespace, state={"x": evil}),
        "state of a fairseq dictionary": Call(Dictionary, state={"symbols": [evil]}),
        "factory of a defaultdict": Call(
            operator.getitem, Call(collections.defaultdict, functools.partial(os.system, shell)), 0
        ),
        "copyreg": Call(copyreg._reconstructor, logging.FileHandler, logging.FileHandler, str(marker)),
        "argument type of argparse": Call(argparse.FileType("w"), str(marker)),
        "tensor subclass": Call(torch._tensor._rebuild_from_type_v2, os.system, int, (shell,), {}),
        "a key": {evil: 1},
        "deep inside": {"model": [({"a": (evil,)},)]},
    }


NAMES = list(payloads("marker"))


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it_ran"


def unpickle(path):
    """Load ``path`` without any protection, as the proof that a payload works."""
    with contextlib.suppress(Exception):
        torch.load(path, weights_only=False)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", NAMES)
def test_no_payload_runs_in_a_checkpoint(name, zipped, marker, tmp_path, monkeypatch):
    monkeypatch.delenv("EMOFAIR_TRUST_CHECKPOINTS", raising=False)
    path = tmp_path / "model.pt"
    content = {"model": {"w": torch.zeros(3)}, "extra": payloads(marker)[name]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(EmofairError) as caught:
        safe.load(path)
    assert not marker.exists()
    message = str(caught.value)
    assert "not on the allow-list" in message or "to run code" in message
    assert "EMOFAIR_TRUST_CHECKPOINTS=1" in message
    assert "\n" not in message
    # fairseq's own loading, which only gets the registered list
    safe.register()
    with pytest.raises(Exception, match=r"."):
        torch.load(path)
    assert not marker.exists()
    unpickle(path)
    assert marker.exists(), "the payload would not have done anything"


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", NAMES)
def test_no_payload_runs_in_a_data_pickle(name, protocol, marker, tmp_path):
    path = tmp_path / "features.pkl"
    path.write_bytes(pickle.dumps({"clip": payloads(marker)[name]}, protocol=protocol))
    with pytest.raises(EmofairError, match=r"more than data|plain data"):
        safe.load_data_pickle(path)
    assert not marker.exists()
    with contextlib.suppress(Exception):
        pickle.loads(path.read_bytes())
    assert marker.exists(), "the payload would not have done anything"


def test_the_old_tar_format_is_refused(marker, tmp_path):
    path = tmp_path / "model.pt"
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(Call(os.system, f"touch {marker}"), protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(EmofairError, match="tar format"):
        safe.load(path)
    assert not marker.exists()
    unpickle(path)
    assert marker.exists()


def test_a_compiled_program_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(EmofairError, match="TorchScript"):
        safe.load(path)


def test_omegaconf_resolvers_are_not_evaluated(marker, tmp_path):
    OmegaConf.register_new_resolver("touch_for_test", lambda name: open(name, "w").close(), replace=True)
    try:
        config = OmegaConf.create({"x": f"${{touch_for_test:{marker}}}"})
        path = tmp_path / "model.pt"
        torch.save({"cfg": config, "again": Call(DictConfig, {"x": f"${{touch_for_test:{marker}}}"})}, path)
        loaded = safe.load(path)
        assert not marker.exists()
        assert loaded["cfg"].x is None  # reading the value does evaluate it: the payload works
        assert marker.exists()
    finally:
        OmegaConf.clear_resolver("touch_for_test")


def raw_numpy(dtype, state, shape=(0,)):
    """The pickle of an array with a forged dtype or forged contents, as no numpy would write it."""

    class Forged(np.ndarray):
        def __reduce__(self):
            return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state(dtype)

    return np.zeros(shape).view(Forged)


def forged_fields():
    return Call(np.dtype, "V8", False, True, state=(3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0))


FORGERIES = {
    "objects in raw memory": raw_numpy(forged_fields(), lambda d: (1, (1,), d, False, b"\1" * 8)),
    "fields on a plain number": raw_numpy(
        Call(np.dtype, "i8", False, True, state=(3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)),
        lambda d: (1, (1,), d, False, b"\1" * 8),
    ),
    "more objects than there are": raw_numpy(np.dtype("O"), lambda d: (1, (1000,), d, False, [1])),
    "objects from bytes": raw_numpy(np.dtype("O"), lambda d: (1, (1,), d, False, b"\1" * 8)),
    "more numbers than there are": raw_numpy(np.dtype("f8"), lambda d: (1, (1000,), d, False, b"\1" * 8)),
    "a negative shape": raw_numpy(np.dtype("f8"), lambda d: (1, (-1, -1), d, False, b"\1" * 8)),
    "a scalar that is too short": Call(np._core.multiarray.scalar, np.dtype("f8"), b"\1"),
    "an object scalar": Call(np._core.multiarray.scalar, np.dtype("O"), b"\1" * 8),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_arrays_never_reach_numpy(name, tmp_path):
    """numpy itself crashes on some of these, or would read foreign memory."""
    path = tmp_path / "file.pt"
    torch.save({"model": {}, "x": FORGERIES[name]}, path)
    with pytest.raises(EmofairError, match="numpy"):
        safe.load(path)
    path.write_bytes(pickle.dumps(FORGERIES[name], protocol=2))
    with pytest.raises(EmofairError, match="numpy"):
        safe.load_data_pickle(path)


def test_an_array_class_cannot_be_built_by_hand(tmp_path):
    path = tmp_path / "file.pt"
    for call in (
        Call(np.ndarray, (1 << 40,)),
        Call(np._core.multiarray._reconstruct, argparse.Namespace, (0,), b"b"),
    ):
        torch.save({"model": call}, path)
        with pytest.raises(EmofairError):
            safe.load(path)


def test_a_pickle_cannot_change_the_functions_it_is_given(tmp_path):
    """BUILD with a slot state sets attributes, on functions and classes too."""
    before = dict(vars(numpy_pickle.PlainArray)), collections.OrderedDict.__init__
    path = tmp_path / "file.pkl"
    for name in (b"collections\nOrderedDict", b"numpy\nndarray", b"numpy\ndtype", b"collections\ndefaultdict"):
        for state in (({}, {"__init__": 1, "_call": 2, "kind": 3}), {"_call": 1}):
            path.write_bytes(b"c" + name + b"\n" + pickle.dumps(state, protocol=2)[2:-1] + b"b.")
            with pytest.raises(EmofairError):
                safe.load_data_pickle(path)
    assert (dict(vars(numpy_pickle.PlainArray)), collections.OrderedDict.__init__) == before


def test_a_data_pickle_cannot_ask_for_huge_memory(tmp_path):
    path = tmp_path / "file.pkl"
    for call in (Call(bytearray, 1 << 50), Call(bytes, 1 << 50), Call(list, range(1 << 40))):
        path.write_bytes(pickle.dumps(call, protocol=2))
        with pytest.raises(EmofairError):
            safe.load_data_pickle(path)


def test_every_listed_class_only_stores_what_it_is_given(marker):
    """Called with a path, with code, or with nothing, none of them opens, runs or imports anything."""
    code = f"open({str(marker)!r}, 'w').close()"
    for entry in safe.SAFE_GLOBALS():
        function = entry[0] if isinstance(entry, tuple) else entry
        for args in ((), (str(marker),), (code,), (code, code), (str(marker), "w"), (["a"],), ({"a": code},)):
            with contextlib.suppress(Exception):
                built = function(*args)
                assert not callable(built) or isinstance(built, type)
    assert not marker.exists()
