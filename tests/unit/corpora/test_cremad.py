import pytest

from emofair.corpora import cremad
from emofair.corpora.measure import measure
from emofair.errors import EmofairError
from emofair.testing.downloads import fake_cremad, write_noise


@pytest.fixture
def root(tmp_path):
    return fake_cremad(tmp_path / "in")


def items(source):
    return {u.id: u for u in source.splits["all"]}


def test_fields(root):
    source = cremad.read(root)
    assert source.problems == [] == source.notes
    clip = items(source)["1002_DFA_SAD_XX"]
    assert (clip.label, clip.speaker, clip.text) == ("sad", "1002", "Don't forget a jacket.")
    assert clip.path == str(root / "AudioWAV" / "1002_DFA_SAD_XX.wav")
    # Only those who listened: not the nine who saw the face, nor the five who did both.
    assert clip.votes == {"sad": 7, "neutral": 1}
    assert clip.extra == {
        "sentence": "DFA",
        "level": "unspecified",
        "sex": "female",
        "age": "42",
        "voice_vote": "S:N",
        "voice_level": "69.1:50",
        "face_vote": "A",
        "face_level": "92.22",
        "multimodal_vote": "N",
        "multimodal_level": "64.78",
    }


def test_the_wav_folder_itself_will_do(root):
    assert items(cremad.read(root / "AudioWAV"))["1001_DFA_ANG_XX"].votes == {"anger": 7, "neutral": 1}


def test_without_tables(root):
    (root / "VideoDemographics.csv").unlink()
    (root / "processedResults" / "summaryTable.csv").unlink()
    (root / "processedResults" / "tabulatedVotes.csv").unlink()
    source = cremad.read(root)
    clip = items(source)["1001_DFA_ANG_XX"]
    assert clip.votes is None and clip.extra == {"sentence": "DFA", "level": "unspecified"}
    assert source.notes[1] == "there is no processedResults/tabulatedVotes.csv, so its columns are left out"


def test_published_counts(root):
    mismatches = cremad.read(root).mismatches
    assert mismatches[:2] == ["18 clips, 7442 are published", "3 clips of anger, 1271 are published"]
    assert mismatches[-1] == "3 speakers, 91 are published"


def test_early_copies_have_one_odd_name(root):
    (root / "AudioWAV" / "1001_DFA_SAD_XX.wav").rename(root / "AudioWAV" / "1001_DFA_SAD_X.wav")
    clip = items(cremad.read(root))["1001_DFA_SAD_XX"]
    assert clip.path.endswith("_X.wav") and clip.votes


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1001_DFA_JOY_XX.wav", r"unknown emotion code 'JOY' \(known: ANG anger"),
        ("1001_ABC_ANG_XX.wav", "unknown sentence 'ABC'"),
        ("1001_DFA_ANG_YY.wav", "unknown level 'YY'"),
        ("1001_DFA_ANG.wav", "not a name of CREMA-D"),
        ("more/1001_DFA_ANG_XX.wav", "is here a second time"),
    ],
)
def test_files_that_do_not_belong(root, name, message):
    write_noise(root / "AudioWAV" / name, 1600, 99)
    (problem,) = cremad.read(root).problems
    with pytest.raises(EmofairError, match=message):
        raise problem


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"100002",0', '"face",0', r"tabulatedVotes\.csv:5: the row is named 'face'"),
        ('"100002",0', '"100002",0.5', r"tabulatedVotes\.csv:5: the votes are not whole numbers"),
        ('"100002",0,', '"100002",', r"tabulatedVotes\.csv:5: 9 cells, the header has 10"),
    ],
)
def test_damaged_votes(root, old, new, message):
    table = root / "processedResults" / "tabulatedVotes.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new))
    (problem,) = cremad.read(root).problems
    with pytest.raises(EmofairError, match=message):
        raise problem


def test_a_table_of_something_else(root):
    (root / "VideoDemographics.csv").write_text("Actor,Age\n1001,51\n")
    with pytest.raises(EmofairError, match=r"VideoDemographics\.csv:1: the column 'ActorID' is missing"):
        cremad.read(root)


def test_a_copy_without_git_lfs(root):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\nsize 72862\n"
    for file in (root / "AudioWAV").iterdir():
        file.write_text(pointer)
    with pytest.raises(EmofairError, match="the first: a pointer of git-lfs, not the audio itself"):
        measure(cremad.read(root))
