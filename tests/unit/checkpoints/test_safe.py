import argparse
import collections
import os
import pickle

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.meters import AverageMeter
from omegaconf import OmegaConf

from emofair.checkpoints import safe
from emofair.errors import EmofairError


@pytest.fixture(autouse=True)
def untrusting(monkeypatch):
    monkeypatch.delenv("EMOFAIR_TRUST_CHECKPOINTS", raising=False)


def contents():
    meter = AverageMeter()
    meter.update(3.0)
    return {
        "args": argparse.Namespace(arch="x", lr=[0.1]),
        "cfg": OmegaConf.create({"model": {"name": "x", "sizes": [1, 2.5, None, True]}, "dir": "${oc.env:HOME}"}),
        "model": collections.OrderedDict(w=torch.arange(3.0)),
        "best": np.float64(0.5),
        "flag": np.bool_(True),
        "counts": np.arange(6, dtype=np.int32).reshape(2, 3).T,
        "names": np.array(["a", "bc"]),
        "mixed": np.array(["a", None, 3], dtype=object),
        "meter": meter,
        "dictionary": Dictionary(),
        "task_state": [{"tuple": (1, {2})}],
    }


def assert_equal_contents(loaded):
    expected = contents()
    assert loaded.keys() == expected.keys()
    assert loaded["args"] == expected["args"]
    assert loaded["cfg"] == expected["cfg"]
    assert torch.equal(loaded["model"]["w"], expected["model"]["w"])
    for name in ("best", "flag", "counts", "names", "mixed"):
        assert np.array_equal(loaded[name], expected[name])
        assert loaded[name].dtype == expected[name].dtype
    assert loaded["meter"].avg == 3.0
    assert len(loaded["dictionary"]) == 4
    assert loaded["task_state"] == expected["task_state"]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_fairseq_stores_is_loaded(zipped, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(contents(), path, _use_new_zipfile_serialization=zipped)
    loaded = safe.load(path)
    assert_equal_contents(loaded)
    assert type(loaded["counts"]) is np.ndarray


def test_meters_are_known_under_their_old_module(tmp_path, monkeypatch):
    monkeypatch.setattr(AverageMeter, "__module__", "fairseq.meters")
    torch.save(contents(), tmp_path / "model.pt")
    assert_equal_contents(safe.load(tmp_path / "model.pt"))


def test_registering_is_idempotent_and_serves_plain_torch_load(tmp_path):
    torch.save(contents(), tmp_path / "model.pt")
    safe.register()
    registered = len(torch.serialization.get_safe_globals())
    safe.register()
    safe.load(tmp_path / "model.pt")
    assert len(torch.serialization.get_safe_globals()) == registered
    loaded = torch.load(tmp_path / "model.pt")
    assert_equal_contents(loaded)
    # What went through fairseq's loading is written as ordinary numpy again.
    torch.save(loaded, tmp_path / "again.pt")
    assert b"emofair" not in (tmp_path / "again.pt").read_bytes()
    assert_equal_contents(safe.load(tmp_path / "again.pt"))


class Foreign:
    pass


def test_what_is_not_allowed_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"model": {}, "a": Foreign(), "b": pickle.PickleBuffer, "c": os.getcwd}, path)
    with pytest.raises(EmofairError) as caught:
        safe.load(path)
    for part in (str(path), "Foreign", "PickleBuffer", "posix.getcwd", "EMOFAIR_TRUST_CHECKPOINTS=1", "trust"):
        assert part in str(caught.value)
    torch.save({"model": {}, "a": Foreign()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(EmofairError, match="Foreign"):
        safe.load(path)


def test_trust_is_explicit(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    torch.save({"model": {}, "a": Foreign()}, path)
    assert isinstance(safe.load(path, trust=True)["a"], Foreign)
    monkeypatch.setenv("EMOFAIR_TRUST_CHECKPOINTS", "1")
    assert isinstance(safe.load(path)["a"], Foreign)
    with pytest.raises(EmofairError, match="Foreign"):
        safe.load(path, trust=False)
    monkeypatch.setenv("EMOFAIR_TRUST_CHECKPOINTS", "0")
    with pytest.raises(EmofairError, match="Foreign"):
        safe.load(path)


def test_trust_reaches_fairseqs_own_loading(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    torch.save({"model": {}, "a": Foreign()}, path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0")
    monkeypatch.setenv("EMOFAIR_TRUST_CHECKPOINTS", "1")
    safe.register()
    assert isinstance(torch.load(path)["a"], Foreign)


def write_truncated(path, zipped, keep=0.7):
    torch.save(contents() | {"big": torch.zeros(5000)}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("keep", [0.02, 0.2, 0.7, 0.999])
def test_a_truncated_file_is_called_truncated(zipped, keep, tmp_path):
    path = tmp_path / "model.pt"
    write_truncated(path, zipped, keep)
    with pytest.raises(EmofairError, match=r"model\.pt: is truncated.*Download or copy it again"):
        safe.load(path)


def test_a_truncated_last_checkpoint_comes_with_the_way_back(tmp_path):
    for age, name in enumerate(["checkpoint_best.pt", "checkpoint_2_400.pt", "checkpoint_1_200.pt"]):
        torch.save({"model": {}}, tmp_path / name)
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    (tmp_path / "checkpoint_3_600.pt").write_bytes(b"PK\3\4 broken too")
    os.utime(tmp_path / "checkpoint_best.pt", (9e8, 9e8))
    last = tmp_path / "checkpoint_last.pt"
    write_truncated(last, zipped=True)
    with pytest.raises(EmofairError) as caught:
        safe.load(last)
    assert str(caught.value).startswith(f"{last}: is truncated")
    assert f"--restore-file {tmp_path / 'checkpoint_2_400.pt'}" in str(caught.value)


def test_a_truncated_last_checkpoint_alone_says_so(tmp_path):
    last = tmp_path / "checkpoint_last.pt"
    write_truncated(last, zipped=True)
    with pytest.raises(EmofairError, match="no older checkpoint"):
        safe.load(last)


def test_explain_serves_fairseqs_errors(tmp_path):
    last = tmp_path / "checkpoint_last.pt"
    write_truncated(last, zipped=True)
    try:
        torch.load(last)
    except Exception as error:
        explained = safe.explain(last, error)
    assert isinstance(explained, EmofairError)
    assert "truncated" in str(explained)
    torch.save({"model": {}}, last)
    assert "KeyError: 'x'" in str(safe.explain(last, KeyError("x")))
    assert "no such file" in str(safe.explain(tmp_path / "none.pt", FileNotFoundError("none.pt")))


def damaged(path):
    torch.save({"model": {"w": torch.arange(20000.0)}}, path)
    data = bytearray(path.read_bytes())
    data[100:4000] = bytes(3900)
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html><body>Not found</body></html>", "web page"),
        (b"<html lang=en>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git-LFS pointer.*git lfs pull"),
        (b"hello, this is no checkpoint", "not a checkpoint$"),
        (b'{"a": 1}', "not a checkpoint"),
        (pickle.dumps({"a": 1}), "not a checkpoint"),
        (pickle.dumps({"a": 1}, protocol=4), "not a checkpoint$"),
        (b"RIFF\x00\x00", "not a checkpoint$"),
        (bytes(1000), "nothing but zeros"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_checkpoint_is_told_apart(content, message, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(EmofairError, match=message) as caught:
        safe.load(path)
    assert "model.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(damaged(path))
    with pytest.raises(EmofairError, match=r"damaged|not a checkpoint"):
        safe.load(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(EmofairError, match=r"nothing\.pt: no such file"):
        safe.load(tmp_path / "nothing.pt")
    with pytest.raises(EmofairError, match="is a folder"):
        safe.load(tmp_path)


def test_a_lone_tensor_is_no_checkpoint(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "model.pt")
    with pytest.raises(EmofairError, match="holds a Tensor"):
        safe.load(tmp_path / "model.pt")
