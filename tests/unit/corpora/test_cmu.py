import pytest

from emofair.corpora import cmu
from emofair.corpora.measure import measure
from emofair.errors import EmofairError
from emofair.testing.downloads import fake_mosei, fake_mosi


def test_mosi_segments(tmp_path):
    source = cmu.read_mosi(fake_mosi(tmp_path))
    assert {split: len(items) for split, items in source.splits.items()} == {"train": 2, "valid": 2, "test": 2}
    utterance = source.splits["test"][1]
    assert (utterance.id, utterance.session, utterance.text) == ("c7UH_rxdZv4_2", "c7UH_rxdZv4", "WORDS OF 2_test")
    assert utterance.sentiment == pytest.approx(0.2, abs=1e-6)
    assert utterance.path.endswith("Segmented/c7UH_rxdZv4_2.wav") and utterance.start is None
    assert "train has 2 segments, 1284 are published" in source.mismatches


def test_mosei_cuts_whole_videos(tmp_path):
    source = cmu.read_mosei(fake_mosei(tmp_path))
    assert source.problems == [] and source.shared_groups == ("session",)
    utterance = source.splits["train"][1]
    assert (utterance.id, utterance.session, utterance.sentiment) == ("-3g5y_ACwYnA__1", "-3g5y_ACwYnA_", 0.5)
    assert utterance.text == "I see 1, that___it is"
    assert (utterance.start, utterance.end) == (0.4, pytest.approx(0.7))
    measure(source)
    assert utterance.n_samples == 4800


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("summary.csv", ("Filename,Start,End,Score,Sentiment,Type", "abc_1,0.5,0.7,-1.0,negative,train")),
        ("label.csv", ("video_id,clip_id,text,label,mode,start,end", "abc,1,,-1.0,train,0.5,0.7")),
        ("CMU_MOSEI_Labels.csv", ("file,index,start,end,sentiment,split", "abc,1,0.5,0.7,-1.0,0")),
        ("labels.csv", ("id,sentiment,split,start,end", "abc_1,-1,train,0.5,0.7")),
    ],
)
def test_public_label_tables(tmp_path, name, lines):
    fake_mosei(tmp_path / "root")
    (tmp_path / "labels").mkdir()
    write(tmp_path / "labels" / name, *lines)
    for place in (tmp_path / "labels", tmp_path / "labels" / name):
        source = cmu.read_mosei(tmp_path / "root", labels=place)
        (utterance,) = source.splits["train"]
        assert (utterance.id, utterance.sentiment, utterance.start, utterance.end) == ("abc_1", -1.0, 0.5, 0.7)
        assert utterance.text == "I see 1, that___it is"


def test_plain_layout(tmp_path):
    fake_mosi(tmp_path / "raw")
    (tmp_path / "audio").symlink_to(tmp_path / "raw/Raw/Audio/WAV_16000/Segmented")
    (tmp_path / "transcripts").mkdir()
    (tmp_path / "transcripts" / "WKA5OygbEKI_1.txt").write_text("two\nlines\n")
    source = cmu.read_mosi(tmp_path, labels=tmp_path / "raw")
    assert source.splits["valid"][0].text == "two lines"
    assert source.notes == ["5 segments have no transcript"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("abc_0,4.5,train", "4.5 is not within -3 and 3"),
        ("abc_0,nan,train", "nan is not within"),
        ("abc_0,good,train", "'good' is not a number"),
        ("abc_0,1,lost", "unknown split 'lost'"),
        ("abc,1,train", "'abc' is not a segment"),
        ("abc_7,1,train", "abc_7 has no start and end"),
        ("abc_1,1,train", "abc_1 occurs twice"),
        ("abc_0,1", "2 cells, the header has 3"),
    ],
)
def test_bad_rows_are_named(tmp_path, line, message):
    fake_mosei(tmp_path)
    write(tmp_path / "labels.csv", "id,sentiment,split", "abc_1,1,train", line)
    source = cmu.read_mosei(tmp_path)
    (problem,) = source.problems
    assert message in str(problem) and str(problem).startswith(f"{tmp_path / 'labels.csv'}:3: ")


def test_published_lists_take_their_times_from_the_summary(tmp_path):
    fake_mosei(tmp_path / "root")
    write(tmp_path / "label_file_train.csv", "FileName,sentiment_score", "abc_9,1.5")
    write(tmp_path / "summary.csv", "Filename,Start,End,Score,Sentiment,Type", "abc_9,0.2,0.4,1.5,positive,train")
    (utterance,) = cmu.read_mosei(tmp_path / "root", labels=tmp_path).splits["train"]
    assert (utterance.start, utterance.end, utterance.sentiment) == (0.2, 0.4, 1.5)


def test_texts_need_no_times(tmp_path):
    fake_mosei(tmp_path)
    write(tmp_path / "labels.csv", "id,sentiment,split", "abc_7,1,train")
    assert cmu.read_mosei(tmp_path, audio=False).problems == []


def test_bad_transcript_line(tmp_path):
    fake_mosi(tmp_path)
    file = tmp_path / "Raw/Transcript/Segmented/WKA5OygbEKI.annotprocessed"
    file.write_text("1_DELIM_FINE\nnothing here\n")
    (problem,) = cmu.read_mosi(tmp_path).problems
    assert str(problem).startswith(f"{file}:2: not a line")


def test_table_without_the_needed_column(tmp_path):
    fake_mosei(tmp_path)
    write(tmp_path / "labels.csv", "id,mood,split", "abc_1,1,train")
    (problem,) = cmu.read_mosei(tmp_path).problems
    assert "no column for the score" in str(problem)


def test_nothing_there(tmp_path):
    with pytest.raises(EmofairError, match="no such folder"):
        cmu.read_mosei(tmp_path / "absent")
    with pytest.raises(EmofairError, match="--label-files"):
        cmu.read_mosei(tmp_path)


def test_missing_audio_is_a_problem_of_measuring(tmp_path):
    fake_mosi(tmp_path)
    (tmp_path / "Raw/Audio/WAV_16000/Segmented/c7UH_rxdZv4_2.wav").unlink()
    source = cmu.read_mosi(tmp_path)
    measure(source)
    assert "c7UH_rxdZv4_2.wav: no such audio file" in str(source.problems[0]) and len(source.splits["test"]) == 1
