import os
import re
from collections import Counter
from pathlib import Path

import pytest

from emofair.corpora import emodb
from emofair.corpora.measure import measure
from emofair.errors import EmofairError
from emofair.testing.downloads import fake_emodb, write_noise


@pytest.fixture
def root(tmp_path):
    return fake_emodb(tmp_path / "emodb")


def items(source):
    return {u.id: u for u in source.splits["all"]}


def test_fields(root):
    source = emodb.read(root)
    clip = items(source)["08b10Fa"]
    assert (clip.label, clip.speaker, clip.text) == ("happiness", "08", emodb.SENTENCES["b10"])
    assert clip.path == str(root / "wav" / "08b10Fa.wav")
    assert clip.extra == {
        "sex": "female",
        "sentence": "b10",
        "version": "a",
        # The table has decimal commas and stray no-break spaces.
        "recognition": "24.5",
        "naturalness": "75.0",
    }
    assert source.problems == [] and source.notes == []
    assert Counter(u.label for u in items(source).values()) == dict.fromkeys(emodb.COUNTS, 6)


def test_the_wav_folder_itself_will_do(root):
    (root / "wav" / "._03a01Fa.wav").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    source = emodb.read(root / "wav")
    assert len(items(source)) == 42 and "recognition" in items(source)["03a01Wa"].extra


def test_published_counts(root):
    mismatches = emodb.read(root).mismatches
    assert mismatches[:2] == ["42 clips, 535 are published", "6 clips of anger, 127 are published"]
    assert mismatches[-1] == "3 speakers, 10 are published"


def test_without_the_listeners(root):
    (root / "erkennung.txt").unlink()
    assert "recognition" not in items(emodb.read(root))["03a01Wa"].extra


def test_gaps_and_damage_in_the_table_of_listeners(root):
    table = root / "erkennung.txt"
    lines = table.read_bytes().split(b"\r\n")
    table.write_bytes(b"\r\n".join([lines[0], *lines[2:3], lines[3].replace(b",50", b";5x"), *lines[4:]]))
    source = emodb.read(root)
    assert str(source.problems[0]).startswith(f"{table}:3: erkannt '3;5x")
    assert source.notes == ["1 clips are not in erkennung.txt: 03a01Wa"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03a01Xa.wav", r"unknown emotion letter 'X' \(known: W anger, L boredom"),
        ("03a03Fa.wav", "unknown sentence 'a03'"),
        ("07a01Fa.wav", "unknown speaker '07'"),
        ("3a01Fa.wav", r"not a name of EMO-DB \(speaker, sentence, emotion, version: 03a01Fa\.wav\)"),
        ("copy/03a01Fa.wav", "03a01Fa is here a second time, first in .*wav"),
    ],
)
def test_files_that_do_not_belong(root, name, message):
    file = write_noise(root / "wav" / name, 1600, 99)
    (problem,) = emodb.read(root).problems
    assert re.search(message, str(problem))
    assert str(problem).startswith(f"{file}: ") or name.startswith("copy")


def test_another_folder(tmp_path):
    with pytest.raises(EmofairError, match=r"no \*\.wav here\. --root is the folder that holds wav/"):
        emodb.read(tmp_path)


REAL = Path(os.environ.get("EMOFAIR_TEST_DATA", "/nonexistent")) / "emodb"


@pytest.mark.skipif(not REAL.is_dir(), reason="EMOFAIR_TEST_DATA names no folder with emodb")
def test_the_published_corpus():
    source = emodb.read(REAL)
    measure(source)
    assert source.mismatches == [] == source.problems == source.notes
    assert len(source.splits["all"]) == 535 and sum(u.n_samples for u in source.splits["all"]) == 23_793_475
    assert items(source)["03a01Fa"].extra["recognition"] == "90.0"
    assert items(source)["03a01Fa"].n_samples == 30372
