"""`emofair tokenize` on good, bad, half-done and shared work."""

import argparse
import os

import numpy as np
import pytest
import soundfile

from emofair.cli import tokenize
from emofair.data.labels import MODES
from emofair.data.manifests import Utterance, write_corpus
from emofair.data.t_data import read_items
from emofair.data.token_cache import TokenCache
from emofair.errors import EmofairError
from emofair.testing import tiny_ssl_dir
from emofair.units.bpe import TextTokenizer
from emofair.units.vq_wav2vec import SpeechTokenizer


@pytest.fixture(scope="module")
def ssl_dir(tmp_path_factory):
    return tiny_ssl_dir(tmp_path_factory.mktemp("ssl"))


@pytest.fixture
def run(ssl_dir, tmp_path, capsys):
    """Run the verb on ``manifest``; returns (exit code, standard output)."""

    def call(manifest, *options, out="out", models=ssl_dir):
        parser = argparse.ArgumentParser()
        tokenize.add_arguments(parser)
        words = ["--manifest", str(manifest), "--ssl-dir", str(models), "--out", str(tmp_path / out), *options]
        return tokenize.run(parser.parse_args(words)), capsys.readouterr().out

    return call


def sound(n_samples=4000, seed=0):
    random = np.random.default_rng(seed)
    wave = np.sin(np.arange(n_samples) * (0.02 + 0.3 * random.random())) * 0.5
    return (wave + 0.05 * random.standard_normal(n_samples)).astype(np.float32)


def write_list(folder, rows, columns=("id", "wav", "text", "label", "split")):
    lines = ["\t".join(columns), *("\t".join(row) for row in rows)]
    path = folder / "items.tsv"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def six(tmp_path):
    """A list of six good clips in two splits."""
    rows = []
    for index in range(6):
        soundfile.write(tmp_path / f"clip{index}.wav", sound(3000 + 700 * index, index), 16000, subtype="FLOAT")
        label, split = ("neu", "sad", "ang")[index % 3], "test" if index > 3 else "train"
        rows.append((f"c{index}", f"clip{index}.wav", f"I say number {index}.", label, split))
    return write_list(tmp_path, rows)


def tree(folder):
    """Contents of all visible files below a folder, by relative path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    relative = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return {name: content for name, content in relative.items() if not name.startswith(".")}


def problems(folder):
    header, *rows = (folder / "problems.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "id\tsplit\tpath\tproblem"
    return {row.split("\t")[0]: row.split("\t")[3] for row in rows}


def test_writes_what_the_datasets_read(run, six, ssl_dir, tmp_path):
    code, told = run(six, "--target", "iemocap")
    assert code == 0
    assert "6 utterances (train 4, test 2); speech: 6 made, 0 were there" in told
    table = read_items(tmp_path / "out" / "T_data", "train", MODES["binary_target_iemocap"], strict=True)
    assert table.ids == ["c0", "c1", "c2", "c3"]
    assert table.labels.tolist() == [0, 1, 2, 0]
    speech = SpeechTokenizer(ssl_dir / "vq-wav2vec" / "vq-wav2vec_kmeans.pt", ssl_dir / "vq-wav2vec-Kmeans-Roberta")
    text = TextTokenizer.from_dir(ssl_dir / "roberta.large")
    caches = {
        kind: TokenCache.open(tmp_path / "out" / "raw", "train", kind, table.ids) for kind in ("audio_token", "text")
    }
    for index in range(4):
        assert caches["audio_token"][index].tolist() == speech.encode([sound(3000 + 700 * index, index)])[0].tolist()
        assert caches["text"][index].tolist() == text.encode(f"I say number {index}.").tolist()
    sizes = (tmp_path / "out" / "T_data" / "train_size.tsv").read_text().splitlines()
    assert sizes[0] == f"c0,{len(caches['text'][0])},{len(caches['audio_token'][0])}"
    assert problems(tmp_path / "out") == {}


def test_prepared_corpus_with_cuts_and_sentiment(run, tmp_path, ssl_dir):
    recording = sound(48000)
    soundfile.write(tmp_path / "long.wav", recording, 16000, subtype="FLOAT")
    cuts = [(0.0, 1.0), (1.0, 2.5)]
    items = [
        Utterance(
            f"cut{i}", "long.wav", round((end - start) * 16000), text="so", sentiment=i - 1.5, start=start, end=end
        )
        for i, (start, end) in enumerate(cuts)
    ]
    write_corpus(tmp_path / "corpus", {"train": items}, root=tmp_path, name="cuts")
    assert run(tmp_path / "corpus")[0] == 0
    assert (tmp_path / "out" / "T_data" / "label_file_train.csv").read_text().splitlines() == [
        "FileName,sentiment_score",
        "cut0,-1.5",
        "cut1,-0.5",
    ]
    speech = SpeechTokenizer(ssl_dir / "vq-wav2vec" / "vq-wav2vec_kmeans.pt", ssl_dir / "vq-wav2vec-Kmeans-Roberta")
    written = (tmp_path / "out" / "raw" / "train" / "audio_token" / "cut1.txt").read_text()
    assert written == "\t".join(map(str, speech.encode([recording[16000:40000]])[0])) + "\n"


def test_bad_clips_are_skipped_and_named_and_odd_ones_kept(run, tmp_path):
    def write(name, audio, rate=16000):
        soundfile.write(tmp_path / name, audio, rate, subtype="FLOAT")
        return name

    good = write("good.wav", sound())
    whole = (tmp_path / good).read_bytes()
    (tmp_path / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is no audio")
    rows = [
        ("good", good, "yes", "neu", "train"),
        ("missing", "missing.wav", "yes", "neu", "train"),
        ("truncated", "truncated.wav", "yes", "neu", "train"),
        ("empty", "empty.wav", "yes", "neu", "train"),
        ("noaudio", "text.wav", "yes", "neu", "train"),
        ("nan", write("nan.wav", np.full(4000, np.nan, dtype=np.float32)), "yes", "neu", "train"),
        ("short", write("short.wav", sound(300)), "yes", "neu", "train"),
        ("stereo", write("stereo.wav", np.stack([sound(), -0.5 * sound(seed=1)], axis=1)), "yes", "neu", "train"),
        ("cd", write("cd.wav", sound(22050), 44100), "yes", "neu", "train"),
        ("höflich 日本", write("ü 日本.wav", sound(seed=2)), "Grüß Gott 😀", "neu", "train"),
        ("silent", good, "", "neu", "train"),
        ("unlabelled", good, "yes", "", "train"),
        ("odd", good, "yes", "bored", "train"),
        ("named.wav", good, "yes", "neu", "train"),
        ("good", good, "again", "neu", "train"),
        ("a,b", good, "yes", "neu", "train"),
        ("x" * 300, good, "yes", "neu", "train"),
    ]
    code, told = run(write_list(tmp_path, rows), "--target", "iemocap")
    assert code == 0
    table = problems(tmp_path / "out")
    for name, words in {
        "missing": "skipped: no such audio file",
        "truncated": "skipped: truncated",
        "empty": "skipped: the file is empty",
        "noaudio": "skipped: not an audio file",
        "nan": "skipped: 4000 samples are NaN",
        "short": "kept: 300 samples, padded with zeros to 465",
        "silent": "kept: empty transcript",
        "unlabelled": "kept: has no label",
        "odd": "kept: the label 'bored' does not belong to --target iemocap",
        "": "skipped: the id 'good' is in row 2 already",
        "a,b": "skipped: the id 'a,b' cannot name a file",
        "x" * 300: "skipped: the id 'xxx",
    }.items():
        assert table.pop(name).startswith(words), name
    assert not table
    listed = read_items(tmp_path / "out" / "T_data", "train", None, strict=True).ids
    assert listed == ["good", "short", "stereo", "cd", "höflich 日本", "silent", "unlabelled", "odd", "named"]
    assert "1 resampled; 8 skipped, 4 kept with a note" in told
    raw = tmp_path / "out" / "raw" / "train"
    assert (raw / "text" / "silent.txt").read_text() == "0\t2\n"
    assert len((raw / "audio_token" / "short.txt").read_text().split()) == 3
    assert len((raw / "audio_token" / "cd.txt").read_text().split()) == (8000 - 465) // 160 + 3


def test_stereo_is_averaged(run, tmp_path):
    left, right = sound(), sound(seed=1)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "mono.wav", (left + right) / 2, 16000, subtype="FLOAT")
    rows = [(name, f"{name}.wav", "yes", "neu", "train") for name in ("stereo", "mono")]
    run(write_list(tmp_path, rows))
    raw = tmp_path / "out" / "raw" / "train" / "audio_token"
    assert (raw / "stereo.txt").read_text() == (raw / "mono.txt").read_text()


def test_other_rates_can_be_refused(run, tmp_path, six):
    soundfile.write(tmp_path / "clip0.wav", sound(44100), 44100)
    run(six, "--no-resample")
    assert problems(tmp_path / "out")["c0"].startswith("skipped: the audio is at 44100 Hz, 16000 Hz is needed")


def test_long_clips_are_counted_and_very_long_ones_left_out(run, tmp_path):
    for name, n_samples in (("long", 340000), ("endless", 500000)):
        soundfile.write(tmp_path / f"{name}.wav", sound(n_samples), 16000)
    rows = [(name, f"{name}.wav", "yes", "neu", "train") for name in ("long", "endless")]
    _, told = run(write_list(tmp_path, rows), "--max-seconds", "25")
    assert "1 over 2048 tokens" in told
    assert problems(tmp_path / "out") == {"endless": "skipped: is 31 s long (--max-seconds 25)"}


def test_goes_on_where_it_stopped_and_repairs_damage(run, six, tmp_path):
    run(six)
    clean = tree(tmp_path / "out")
    raw = tmp_path / "out" / "raw" / "train"
    untouched = (raw / "audio_token" / "c3.txt").stat().st_mtime_ns
    text = (raw / "audio_token" / "c0.txt").read_text()
    (raw / "audio_token" / "c0.txt").write_text(text[: text.rindex("\t")])
    (raw / "audio_token" / "c1.txt").write_text("")
    (raw / "audio_token" / "c2.txt").unlink()
    (raw / "text" / "c0.txt").write_text("0\t2")
    _, told = run(six)
    assert "speech: 3 made, 3 were there" in told
    assert "text: 1 made, 5 were there" in told
    assert tree(tmp_path / "out") == clean
    assert (raw / "audio_token" / "c3.txt").stat().st_mtime_ns == untouched


def test_a_stopped_run_leaves_only_whole_files_and_no_manifests(run, six, tmp_path, monkeypatch):
    run(six, out="whole")
    encode, calls = SpeechTokenizer.encode, []

    def stop_in_the_middle(self, audios):
        calls.append(1)
        if len(calls) == 8:  # five are a look at the dictionary
            raise KeyboardInterrupt
        return encode(self, audios)

    monkeypatch.setattr(SpeechTokenizer, "encode", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        run(six)
    assert not (tmp_path / "out" / "T_data").exists()
    whole = tree(tmp_path / "whole")
    assert all(whole[name] == content for name, content in tree(tmp_path / "out").items())
    monkeypatch.undo()
    _, told = run(six)
    assert "speech: 4 made, 2 were there" in told
    assert tree(tmp_path / "out") == whole


def test_new_audio_and_new_transcripts_are_noticed(run, six, tmp_path):
    run(six)
    before = tree(tmp_path / "out")
    soundfile.write(tmp_path / "clip0.wav", sound(3000, seed=9), 16000, subtype="FLOAT")
    later = (tmp_path / "out" / "raw" / "train" / "audio_token" / "c0.txt").stat().st_mtime + 10
    os.utime(tmp_path / "clip0.wav", (later, later))
    six.write_text(six.read_text().replace("number 1.", "something else!"))
    _, told = run(six)
    assert "speech: 1 made" in told and "text: 1 made" in told
    after = tree(tmp_path / "out")
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"raw/train/audio_token/c0.txt", "raw/train/text/c1.txt", "T_data/train_size.tsv"}


def test_tokens_outlive_their_audio(run, six, tmp_path):
    run(six)
    before = tree(tmp_path / "out")
    for index in range(6):
        (tmp_path / f"clip{index}.wav").unlink()
    run(six)
    assert tree(tmp_path / "out") == before


def test_ranks_share_the_work_in_any_order(run, six, tmp_path):
    soundfile.write(tmp_path / "clip4.wav", np.full(4000, np.inf, dtype=np.float32), 16000, subtype="FLOAT")
    run(six, out="alone")
    for rank in ("2", "0"):
        _, told = run(six, "--nshard", "3", "--rank", rank, out="shared")
        assert "manifests follow" in told
        assert not (tmp_path / "shared" / "T_data").exists()
    _, told = run(six, "--nshard", "3", "--rank", "1", out="shared")
    assert "5 utterances (train 4, test 1); speech: 5 made" in told
    assert tree(tmp_path / "shared") == tree(tmp_path / "alone")
    # Parts of another request do not count as done.
    _, told = run(six, "--nshard", "3", "--rank", "0", "--no-resample", out="shared")
    assert "after rank 1, 2 of 3" in told


def test_text_alone_needs_no_audio_and_no_speech_models(run, tmp_path, ssl_dir):
    models = tmp_path / "models"
    models.mkdir()
    (models / "roberta.large").symlink_to(ssl_dir / "roberta.large")
    columns = ("id", "text", "label", "split")
    rows = [("a", "Hello.", "joy", "train"), ("b", "Oh no!", "fear", "test")]
    run(write_list(tmp_path, rows, columns), "--mode", "text", "--target", "meld", models=models)
    assert sorted(path.name for path in (tmp_path / "out" / "T_data").iterdir()) == [
        *("label_file_test.csv", "label_file_train.csv", "test_t.tsv", "train_t.tsv")
    ]
    table = read_items(tmp_path / "out" / "T_data", "test", MODES["softmax_target_meld"], modalities=("text",))
    assert (table.ids, table.labels.tolist()) == (["b"], [5])


@pytest.mark.parametrize("first, second", [("tokens", "text"), ("text", "speech")])
def test_halves_made_apart_are_the_whole(run, six, tmp_path, first, second):
    run(six, out="whole")
    run(six, "--mode", first)
    run(six, "--mode", second)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_dictionary_of_another_model_is_found_before_anything_is_written(run, six, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "dict.txt").write_text("".join(f"{i}-{i + 100} 1\n" for i in range(64)))
    with pytest.raises(EmofairError, match=r"100\.0 % of \d+ audio_token tokens are not in the dictionary"):
        run(six, "--speech-bert-path", str(other))
    assert not (tmp_path / "out").exists()
    code, told = run(six, "--speech-bert-path", str(other), "--max-unknown", "100")
    assert code == 0 and "100.00 % unknown codes" in told


def test_some_unknown_codes_are_an_error_at_the_end(run, six, tmp_path, ssl_dir):
    run(six, out="whole")
    tokens = [path.read_text().split()[1:-1] for path in (tmp_path / "whole" / "raw").glob("*/audio_token/*.txt")]
    ids = [int(token) for file in tokens for token in file]
    rare = min(set(ids), key=lambda token: abs(ids.count(token) / len(ids) - 0.04))
    assert 0.01 < ids.count(rare) / len(ids) < 0.1
    lines = (ssl_dir / "vq-wav2vec-Kmeans-Roberta" / "dict.txt").read_text().splitlines(keepends=True)
    (tmp_path / "dict.txt").write_text("".join(line for row, line in enumerate(lines) if row != rare - 4))
    options = ("--speech-bert-path", str(tmp_path / "dict.txt"))
    with pytest.raises(EmofairError, match=r"limit 1 %.*--max-unknown"):
        run(six, *options)
    assert not (tmp_path / "out" / "T_data").exists()
    assert run(six, *options, "--max-unknown", "12")[0] == 0


def test_tokens_of_two_vocabularies_are_not_mixed(run, six, tmp_path):
    run(six)
    other = tiny_ssl_dir(tmp_path / "other", seed=1)
    with pytest.raises(EmofairError, match=r"audio_token files here were made with another vq-wav2vec.*new --out"):
        run(six, models=other)


def test_strict_fails_on_any_row_of_the_table(run, six, tmp_path):
    assert run(six, "--strict")[0] == 0
    (tmp_path / "clip0.wav").write_bytes(b"")
    code, told = run(six, "--strict")
    assert code == 1 and "1 skipped" in told


def test_an_emptied_split_loses_its_old_lists(run, six, tmp_path):
    run(six)
    for index in (4, 5):
        (tmp_path / f"clip{index}.wav").write_bytes(b"")
    run(six)
    names = {path.name for path in (tmp_path / "out" / "T_data").iterdir()}
    assert names == {"train_a.tsv", "train_t.tsv", "train_size.tsv", "label_file_train.csv"}


@pytest.mark.parametrize(
    "rows, options, message",
    [
        ([("a", "a.wav", "hi", "neu", "train"), ("a", "a.wav", "hi", "neu", "test")], (), "'a' is in the splits"),
        ([("a", "a.wav", "", "neu", "train")], (), "no utterance of this corpus has a text.*--mode speech"),
        ([("a", "b.wav", "hi", "neu", "train")], (), "no utterance could be tokenised .*a: no such audio file"),
        ([("a,", "a.wav", "hi", "neu", "train")], (), "no utterance is usable"),
        ([("a", "", "hi", "neu", "train")], (), "items.tsv:2: 'a' has no wav"),
        ([("a", "a.wav", "hi", "neu", "train")], ("--nshard", "2", "--rank", "2"), "--rank 2 is not from 0 to 1"),
        ([("a", "a.wav", "hi", "neu", "train")], ("--device", "cuda:77"), "GPU|device"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(run, tmp_path, rows, options, message):
    soundfile.write(tmp_path / "a.wav", sound(), 16000)
    with pytest.raises(EmofairError, match=message) as raised:
        run(write_list(tmp_path, rows), *options)
    assert "\n" not in str(raised.value)


def test_missing_manifests_and_models_are_named(run, six, tmp_path):
    with pytest.raises(EmofairError, match="no such file or folder"):
        run(tmp_path / "absent")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(EmofairError, match="no manifests in this folder"):
        run(tmp_path / "hollow")
    with pytest.raises(EmofairError, match=r"vq-wav2vec_kmeans\.pt"):
        run(six, models=tmp_path / "hollow")


def with_duplicate(tmp_path, **changes):
    """A list whose only test clip is a training clip under another name, re-wrapped."""
    for name, audio, subtype in (("a", sound(4000, 1), "FLOAT"), ("b", sound(4000, 2), "FLOAT")):
        soundfile.write(tmp_path / f"{name}.wav", audio, 16000, subtype=subtype)
    soundfile.write(tmp_path / "copy.flac", soundfile.read(tmp_path / "a.wav")[0], 16000, subtype="PCM_24")
    soundfile.write(tmp_path / "a.wav", soundfile.read(tmp_path / "copy.flac")[0], 16000, subtype="FLOAT")
    rows = [("a", "a.wav", "yes", "neu", "train", "S1"), ("b", "b.wav", "no", "sad", "train", "S2")]
    rows.append(("c", "copy.flac", "well", "neu", "test", changes.get("speaker", "S3")))
    return write_list(tmp_path, rows, ("id", "wav", "text", "label", "split", "speaker"))


def test_the_same_sound_in_two_splits_is_refused_unless_allowed(run, tmp_path, capsys):
    items = with_duplicate(tmp_path)
    with pytest.raises(EmofairError, match=r"1 clips are in two splits.*--allow-overlap"):
        run(items)
    assert "emofair: the same audio is in train (a) and test (c)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(items, "--allow-overlap")[0] == 0
    assert run(items, "--mode", "text", out="text")[0] == 0


def test_a_speaker_of_two_splits_is_refused_unless_allowed(run, tmp_path, capsys):
    items = with_duplicate(tmp_path, speaker="S1")
    for mode in ("all", "text"):
        with pytest.raises(EmofairError, match=r"the splits are not disjoint.*--allow-overlap"):
            run(items, "--mode", mode)
        assert "error: 1 speakers occur in more than one of train, test: S1" in capsys.readouterr().err


def test_a_prepared_corpus_has_been_checked_and_a_plain_manifest_has_not(run, tmp_path):
    with_duplicate(tmp_path)
    splits = {"train": [Utterance("a", "a.wav", 4000, text="so")], "test": [Utterance("c", "copy.flac", 4000)]}
    write_corpus(tmp_path / "corpus", splits, root=tmp_path, name="copies", allow_overlap=True)
    assert run(tmp_path / "corpus", "--mode", "speech")[0] == 0
    (tmp_path / "corpus" / "corpus.json").unlink()
    with pytest.raises(EmofairError, match="1 clips are in two splits"):
        run(tmp_path / "corpus", "--mode", "speech")


def test_audio_that_cannot_be_compared_is_a_problem_of_its_own(run, tmp_path):
    good, bad = sound(4000), np.full(4000, np.nan, dtype=np.float32)
    for name, audio in (("a", good), ("b", bad), ("c", bad), ("d", 0.5 * good)):
        soundfile.write(tmp_path / f"{name}.wav", audio, 16000, subtype="FLOAT")
    rows = [(name, f"{name}.wav", "yes", "neu", "train" if name in "ab" else "test") for name in "abcd"]
    assert run(write_list(tmp_path, rows))[0] == 0
    assert sorted(problems(tmp_path / "out")) == ["b", "c"]
