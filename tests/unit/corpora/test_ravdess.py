from collections import Counter

import pytest

from emofair.corpora import ravdess
from emofair.corpora.measure import measure
from emofair.errors import EmofairError
from emofair.testing.downloads import fake_ravdess, write_noise


@pytest.fixture
def root(tmp_path):
    return fake_ravdess(tmp_path / "in", actors=(1, 2), song=True, rate=16000)


def items(source):
    return {u.id: u for u in source.splits["all"]}


def test_fields(root):
    clip = items(ravdess.read(root))["03-01-06-02-01-02-02"]
    assert (clip.label, clip.speaker, clip.text) == ("fearful", "02", "Kids are talking by the door.")
    assert clip.path == str(root / "Audio_Speech_Actors_01-24" / "Actor_02" / "03-01-06-02-01-02-02.wav")
    assert clip.extra == {
        "sex": "female",
        "channel": "speech",
        "intensity": "strong",
        "statement": "01",
        "repetition": "02",
    }


def test_song_is_left_out_unless_asked_for(root):
    speech, both = ravdess.read(root), ravdess.read(root, song=True)
    assert len(items(speech)) == 30 and len(items(both)) == 30 + 22
    assert speech.dropped == Counter({"the channel song (--song adds it)": 22}) and not both.dropped
    assert Counter(u.label for u in items(speech).values())["neutral"] == 2


def test_actors_right_under_the_root(tmp_path):
    write_noise(tmp_path / "Actor_03" / "03-01-01-01-02-01-03.wav", 1600, 1)
    (clip,) = ravdess.read(tmp_path).splits["all"]
    assert clip.extra["sex"] == "male" and clip.text.startswith("Dogs")


def test_published_counts(root):
    speech = ravdess.read(root).mismatches
    assert speech[:2] == ["30 clips, 1440 are published", "2 clips of neutral, 96 are published"]
    assert "4 clips of disgust, 192 are published" in speech and speech[-1] == "2 speakers, 24 are published"
    both = ravdess.read(root, song=True).mismatches
    assert both[:2] == ["52 clips, 2452 are published", "4 clips of neutral, 188 are published"]


def test_it_is_at_48_khz(tmp_path):
    root = fake_ravdess(tmp_path, actors=(1,))
    source = ravdess.read(root)
    with pytest.raises(EmofairError, match=r"none of the 15 clips .*the audio is at 48000 Hz.*--resample"):
        measure(source)
    source = ravdess.read(root)
    measure(source, resample=True)
    assert items(source)["03-01-01-01-01-02-01"].n_samples == 1601


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Actor_01/03-01-09-01-01-01-01.wav", r"unknown emotion code '09' \(known: 01 neutral, 02 calm"),
        ("Actor_01/03-03-01-01-01-01-01.wav", "unknown channel '03'"),
        ("Actor_01/03-01-01-03-01-01-01.wav", "unknown intensity '03'"),
        ("Actor_01/01-01-01-01-01-01-01.wav", "modality '01', audio only is 03"),
        ("Actor_25/03-01-01-01-01-01-25.wav", "unknown actor '25'"),
        ("Actor_01/03-01-01-01-01-01-02.wav", "a clip of actor 02 in the folder Actor_01"),
        ("Actor_01/03-01-01-01-01-01.wav", "not a name of RAVDESS"),
        ("again/Actor_01/03-01-01-01-01-02-01.wav", "is here a second time, first in .*Actor_01.*--root"),
    ],
)
def test_files_that_do_not_belong(root, name, message):
    write_noise(root / "Audio_Speech_Actors_01-24" / name, 1600, 99)
    problems = ravdess.read(root).problems
    assert len(problems) == 1
    with pytest.raises(EmofairError, match=message):
        raise problems[0]


def test_another_folder(tmp_path):
    with pytest.raises(EmofairError, match=r"no \*\.wav here.*Actor_01"):
        ravdess.read(tmp_path)
