"""`emofair prepare --root DIR` with a relative DIR had it twice in the paths of the manifests."""

from pathlib import Path

from emofair.cli.main import main
from emofair.data.manifests import read_split
from emofair.testing.downloads import fake_iemocap


def test_a_relative_root(tmp_path, monkeypatch):
    fake_iemocap(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "iemocap", "--root", "in", "--out", "out", "--allow-count-mismatch", "--check"]) == 0
    assert all(Path(utterance.path).is_file() for utterance in read_split("out", "train"))
