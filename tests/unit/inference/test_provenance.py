import hashlib
import json
import subprocess

import pytest

from emofair.inference import provenance


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_commit_of_a_checkout(tmp_path):
    package = tmp_path / "emofair"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    assert provenance.source_commit(package) is None  # no repository
    git(tmp_path, "init", "-q")
    assert provenance.source_commit(package) is None  # somebody else's, as for a virtual environment inside it
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    clean = provenance.source_commit(package)
    assert len(clean) >= 7 and not clean.endswith("-dirty")
    (package / "__init__.py").write_text("x = 2\n")
    assert provenance.source_commit(package) == f"{clean}-dirty"


def test_hashes(tmp_path):
    (tmp_path / "x").write_bytes(b"a" * 3_000_000)
    assert provenance.file_sha256(tmp_path / "x") == hashlib.sha256(b"a" * 3_000_000).hexdigest()
    same = provenance.items_sha256(["a", "b"], [1, 2])
    assert same == provenance.items_sha256(["b", "a"], [2, 1])
    assert same != provenance.items_sha256(["a", "b"], [2, 1]) != provenance.items_sha256(["a", "b"], None)


@pytest.mark.parametrize(
    ("path", "fold"),
    [
        *(("data/fold3/T_data", "3"), ("Fold_2", "2"), ("a/fold-10", "10"), ("fold1/fold2", "2")),
        *(("data/3", None), ("scaffold3/x", None), ("/data/folder/T_data", None), ("folds/all", None)),
    ],
)
def test_fold_of_a_path(path, fold):
    assert provenance.fold_of(path) == fold


def test_fold_of_a_prepared_corpus(tmp_path):
    (tmp_path / "corpus.json").write_text(json.dumps({"fold": 4}))
    assert provenance.fold_of(tmp_path) == "4"


def test_versions():
    import torch

    found = provenance.versions()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0] and found["fairseq"]
