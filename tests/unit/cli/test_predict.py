"""`emofair predict` and `emofair.load`: from a recording to the answer that tokenising and validating gives."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import emofair
from emofair.cli import predict as verb
from emofair.cli.main import main
from emofair.data.audio import read_audio
from emofair.data.manifests import Utterance, write_corpus
from emofair.errors import EmofairError
from emofair.testing import tiny_ssl_dir
from emofair.testing.commands import run, train_here

SPLITS = {"train": range(8), "valid": range(8, 12), "test": range(12, 18)}
LABELS = ("neu", "sad", "ang", "hap")
CLASSES = ("neutral", "sad", "angry", "happy")


def sound(seed, n_samples=8000):
    random = np.random.default_rng(seed)
    time = np.arange(n_samples) / 16000
    sweep = np.sin(2 * np.pi * (random.uniform(60, 900) * time + random.uniform(-400, 900) * time**2))
    return (0.5 * sweep + 0.1 * random.standard_normal(n_samples)).astype(np.float32)


def text_of(i):
    return f"Oh no, number {i} {('is wonderful', 'was raining')[i % 2]}!"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Recordings, their prepared corpus, tokens, and models fine-tuned on them."""
    folder = tmp_path_factory.mktemp("predict")
    ssl_dir = tiny_ssl_dir(folder / "ssl")
    (folder / "wav").mkdir()
    splits = {}
    for split, numbers in SPLITS.items():
        splits[split] = []
        for i in numbers:
            wav = folder / "wav" / f"clip{i:02d}.wav"
            soundfile.write(wav, sound(i, 5000 + 900 * i), 16000, subtype="FLOAT")
            facts = {"text": text_of(i), "label": LABELS[i % 4], "sentiment": (i - 8) / 4}
            splits[split].append(Utterance(f"clip{i:02d}", f"wav/clip{i:02d}.wav", 5000 + 900 * i, **facts))
    write_corpus(folder / "corpus", splits, root=folder, name="clips")
    for target in ("iemocap", "mos"):
        words = ["--manifest", folder / "corpus", "--ssl-dir", ssl_dir, "--out", folder / target, "--target", target]
        assert main(["tokenize", *map(str, words)]) == 0
    for name, target, flags in (
        ("joint", "iemocap", ["--softmax-target-iemocap", "--all-in"]),
        ("score", "mos", ["--regression-target-mos", "--a-only"]),
        ("words", "iemocap", ["--binary-target-iemocap", "--t-only"]),
    ):
        train_here(
            [
                *("--data", folder / target / "T_data", "--data-raw", folder / target / "raw", "--ssl-dir", ssl_dir),
                *("--task", "emotion_prediction", "--arch", "robertaEMO", "--criterion", "emotion_prediction_cri"),
                *("--optimizer", "adam", "--lr", "1e-3", "--batch-size", 4, "--max-epoch", 2, "--cpu", *flags),
                *("--num-workers", 0, "--no-epoch-checkpoints", "--no-last-checkpoints", "--log-format", "none"),
                *("--save-dir", folder / name),
            ]
        )
    return folder


@pytest.fixture(scope="module")
def validated(home):
    """What fairseq-validate predicts for the test split of the tokenised corpus: probabilities by id and class."""
    run(
        *("fairseq-validate", "--user-dir", "emofair", "--task", "emotion_prediction", "--valid-subset", "test"),
        *("--data", home / "iemocap" / "T_data", "--path", home / "joint" / "checkpoint_best.pt", "--cpu"),
        *("--batch-size", 4, "--save-predictions", home / "test.tsv"),
    )
    with (home / "test.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {row["id"]: {name: float(row[f"p_{name}"]) for name in CLASSES} for row in rows}


@pytest.fixture(scope="module")
def model(home):
    return emofair.load(home / "joint" / "checkpoint_best.pt", ssl_dir=home / "ssl")


@pytest.fixture
def predict(home, capsys):
    """Run the verb; returns (exit code, stdout, lines of stderr)."""

    def call(*words, name="joint"):
        basis = ["predict", "--checkpoint", home / name / "checkpoint_best.pt", "--ssl-dir", home / "ssl"]
        code = main([str(word) for word in (*basis, *words)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err.splitlines()

    return call


def test_raw_input_gives_what_fairseq_validate_gives(home, model, validated):
    assert sorted(validated) == [f"clip{i}" for i in SPLITS["test"]]
    assert len({json.dumps(scores) for scores in validated.values()}) == 6
    for i in SPLITS["test"]:
        wav = home / "wav" / f"clip{i}.wav"
        expected = validated[f"clip{i}"]
        for given in (wav, str(wav), sound(i, 5000 + 900 * i)):
            result = model.predict(given, text=text_of(i))
            assert result.scores == pytest.approx(expected, abs=2e-6)
            assert result.label == max(expected, key=expected.get) and result.value is None
        tokens = {}
        for kind in ("audio_token", "text"):
            path = home / "iemocap" / "raw" / "test" / kind / f"clip{i}.txt"
            tokens[kind] = np.array(path.read_text().split(), dtype=int)
        (result,) = model.predict_tokens([tokens["audio_token"]], [tokens["text"]])
        assert result.scores == pytest.approx(expected, abs=2e-6)


def test_many_at_once_are_as_one_by_one(home, model, validated):
    wavs = [home / "wav" / f"clip{i}.wav" for i in SPLITS["test"]]
    results = model.predict_many(wavs, [text_of(i) for i in SPLITS["test"]])
    for i, result in zip(SPLITS["test"], results, strict=True):
        assert result.scores == pytest.approx(validated[f"clip{i}"], abs=2e-6)


def test_a_prepared_corpus_in_every_format(home, predict, validated):
    asked = ("--manifest", home / "corpus", "--split", "test", "--format")
    code, out, _ = predict(*asked, "jsonl")
    assert code == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["input"] for record in records] == [f"clip{i}" for i in SPLITS["test"]]
    for record in records:
        assert record["scores"] == pytest.approx(validated[record["input"]], abs=2e-6)
        assert record["prediction"] == max(record["scores"], key=record["scores"].get) and "value" not in record
    rows = list(csv.DictReader(io.StringIO(predict(*asked, "csv")[1])))
    assert list(rows[0]) == ["input", "prediction", *CLASSES]
    for row, record in zip(rows, records, strict=True):
        assert (row["input"], row["prediction"]) == (record["input"], record["prediction"])
        assert float(row["happy"]) == pytest.approx(record["scores"]["happy"], abs=1e-6)
    lines = predict(*asked, "table")[1].splitlines()
    assert len(lines) == 6 and lines[0].split()[:2] == [records[0]["input"], records[0]["prediction"]]
    assert f"happy {records[0]['scores']['happy']:.3f}" in lines[0]


def test_files_with_their_texts_and_a_folder(home, predict, validated, tmp_path):
    wavs = [home / "wav" / f"clip{i}.wav" for i in (13, 12)]
    code, out, _ = predict(*wavs, "--text", text_of(13), "--text", text_of(12), "--format", "jsonl")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [record["input"] for record in records] == [str(wav) for wav in wavs]
    assert records[1]["scores"] == pytest.approx(validated["clip12"], abs=2e-6)
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    for i, place in ((2, "b.wav"), (1, "a.WAV"), (3, "deeper/c.wav")):
        shutil.copy(home / "wav" / f"clip0{i}.wav", tmp_path / "in" / place)
    (tmp_path / "in" / "notes.txt").write_text("no audio")
    code, out, _ = predict(tmp_path / "in", "--format", "csv", name="score")
    rows = list(csv.DictReader(io.StringIO(out)))
    found = [row["input"].removeprefix(f"{tmp_path}/in/") for row in rows]
    assert code == 0 and found == ["a.WAV", "b.wav", "deeper/c.wav"]


def test_one_modality_asks_for_no_other(home, predict):
    code, out, _ = predict(home / "wav" / "clip12.wav", "--format", "jsonl", name="score")
    record = json.loads(out)
    assert code == 0 and record["prediction"] == f"{record['value']:.3f}" and record["scores"] == {}
    speech_only = emofair.load(home / "score" / "checkpoint_best.pt", ssl_dir=home / "ssl")
    assert speech_only.predict(home / "wav" / "clip12.wav").value == record["value"]
    code, out, _ = predict("--text", text_of(12), "--text", "Why?", "--format", "jsonl", name="words")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [record["input"] for record in records] == [text_of(12), "Why?"]
    # Each emotion is judged on its own here: the probabilities need not sum to 1.
    assert abs(sum(records[0]["scores"].values()) - 1) > 1e-3


def test_a_cut_of_a_long_recording(home, predict, model, tmp_path):
    recording = np.concatenate([sound(12, 16000), sound(13, 20000)])
    soundfile.write(tmp_path / "long.wav", recording, 16000, subtype="FLOAT")
    cuts = {"first": (0.0, 1.0), "second": (1.0, 2.25)}
    items = [
        Utterance(name, "long.wav", round(16000 * (end - start)), text=name, label="neu", start=start, end=end)
        for name, (start, end) in cuts.items()
    ]
    write_corpus(tmp_path / "corpus", {"test": items}, root=tmp_path, name="cuts")
    records = [
        json.loads(line) for line in predict("--manifest", tmp_path / "corpus", "--format", "jsonl")[1].splitlines()
    ]
    for record, samples in zip(records, (recording[:16000], recording[16000:]), strict=True):
        assert record["scores"] == pytest.approx(model.predict(samples, record["input"]).scores, abs=2e-6)


def test_bad_files_among_good_ones(home, predict, tmp_path):
    """Each is named with its reason, the others are predicted, and the exit code says that some are missing."""

    def write(name, audio, rate=16000, subtype="FLOAT"):
        soundfile.write(tmp_path / name, audio, rate, subtype=subtype)

    write("01 good.wav", sound(1))
    write("02 stereo.wav", np.stack([sound(1), sound(1)], axis=1))
    write("03 44100.wav", sound(3, 22050), 44100)
    write("04 8 bit.wav", sound(4), subtype="PCM_U8")
    write("05 300 samples.wav", sound(5, 300))
    write("06 höflich 日本.wav", sound(6))
    bad = {
        "11 truncated.wav": "truncated",
        "12 empty.wav": "is empty",
        "13 nan.wav": "NaN",
        "14 text.wav": "not an audio",
    }
    (tmp_path / "11 truncated.wav").write_bytes((tmp_path / "01 good.wav").read_bytes()[:9000])
    (tmp_path / "12 empty.wav").write_bytes(b"")
    write("13 nan.wav", np.full(4000, np.nan, dtype=np.float32))
    (tmp_path / "14 text.wav").write_text("this is no audio")
    code, out, errors = predict(tmp_path, "--format", "jsonl", name="score")
    records = {json.loads(line)["input"].removeprefix(f"{tmp_path}/"): json.loads(line) for line in out.splitlines()}
    assert code == 1
    assert sorted(records) == sorted(p.name for p in tmp_path.iterdir() if p.name not in bad)
    for name, reason in bad.items():
        (line,) = [line for line in errors if name in line]
        assert line.startswith(f"emofair: error: {tmp_path / name}: ") and reason in line
    assert errors[-1] == "emofair: 4 of 10 inputs could not be predicted"
    assert errors[-2] == f"emofair: note: {tmp_path / '03 44100.wav'}: resampled from 44100 to 16000 Hz"
    assert len(errors) == 6
    assert records["02 stereo.wav"]["value"] == pytest.approx(records["01 good.wav"]["value"], abs=1e-6)
    code, out, errors = predict(tmp_path, "--format", "table", name="score")
    assert code == 1 and sum(line.endswith("  -") for line in out.splitlines()) == 4
    resampled = read_audio(tmp_path / "03 44100.wav", resample=True)
    model = emofair.load(home / "score" / "checkpoint_best.pt", ssl_dir=home / "ssl")
    assert model.predict(resampled).value == pytest.approx(records["03 44100.wav"]["value"], abs=1e-6)


@pytest.fixture
def small_batches(monkeypatch):
    """Windows of two batches of two; notes which were asked for, and stops the program at ``stop_at``."""
    from emofair.inference.token_emotion import TokenEmotionPredictor

    monkeypatch.setattr(verb, "BATCH", 2)
    monkeypatch.setattr(verb, "WINDOW", 4)
    original, seen = TokenEmotionPredictor.predict_many, SimpleNamespace(batches=[], stop_at=None)

    def predict_many(self, wavs, texts):
        seen.batches.append([int(re.search(r"number (\d+)", text)[1]) for text in texts])
        if seen.batches[-1] == seen.stop_at:
            raise KeyboardInterrupt
        return original(self, wavs, texts)

    monkeypatch.setattr(TokenEmotionPredictor, "predict_many", predict_many)
    return seen


def with_texts(home, order):
    texts = [word for i in order for word in ("--text", text_of(i))]
    return [*(home / "wav" / f"clip{i}.wav" for i in order), *texts]


def test_batches_are_of_similar_length_and_rows_in_the_order_of_the_input(home, predict, validated, small_batches):
    order = (15, 12, 14, 13, 17, 16)
    code, out, _ = predict("--format", "jsonl", *with_texts(home, order))
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and small_batches.batches == [[12, 13], [14, 15], [17, 16]]
    assert [record["input"] for record in records] == [str(home / "wav" / f"clip{i}.wav") for i in order]
    for i, record in zip(order, records, strict=True):
        assert record["scores"] == pytest.approx(validated[f"clip{i}"], abs=2e-6)


@pytest.mark.parametrize("form", ["csv", "jsonl", "table"])
def test_what_is_predicted_when_the_user_stops_is_not_lost(home, predict, small_batches, form):
    small_batches.stop_at = [14, 15]
    # The longest comes first, so that nothing of its window can be shown before the end of it.
    code, out, errors = predict("--format", form, *with_texts(home, (15, 12, 14, 11, 13)))
    assert (code, errors) == (130, ["emofair: stopped"])
    assert re.findall(r"clip(\d+)\.wav", out) == ["12", "11"]
    assert small_batches.batches == [[11, 12], [14, 15]]


def test_rows_come_out_as_soon_as_they_are_known(home, predict, small_batches, monkeypatch):
    small_batches.stop_at = [14, 15]
    rows, write = [], verb.JsonLines.write

    def note(self, name, result):
        rows.append((name[-6:-4], len(small_batches.batches)))
        write(self, name, result)

    monkeypatch.setattr(verb.JsonLines, "write", note)
    predict("--format", "jsonl", *with_texts(home, (11, 12, 15, 14)))
    assert rows == [("11", 1), ("12", 1)]


def test_an_utterance_without_its_text_is_named(home, predict, tmp_path):
    items = [Utterance(f"u{i}", f"wav/clip0{i}.wav", 5000 + 900 * i, text="yes" if i else None) for i in range(2)]
    write_corpus(tmp_path, {"test": items}, root=home, name="texts")
    code, out, errors = predict("--manifest", tmp_path, "--format", "jsonl")
    assert code == 1 and json.loads(out)["input"] == "u1"
    assert errors[0].startswith("emofair: error: u0: this model reads the transcript too")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to predict.*audio files, --text or --manifest"),
        (["{}/wav/clip01.wav", "--manifest", "{}/corpus"], "both files and --manifest"),
        (["{}/wav/absent.wav"], r"absent\.wav: no such file"),
        (["{}/ssl"], "ssl: no audio file in this folder.*wav"),
        (["{}/wav/clip01.wav", "{}/wav/clip02.wav", "--text", "one"], "2 files and 1 transcripts"),
        (["--text", "only a text"], "this model listens to speech.*wav"),
        (["--manifest", "{}/corpus", "--split", "dev"], "dev"),
        (["--checkpoint", "{}/absent.pt", "--text", "x"], r"absent\.pt"),
        (
            ["--checkpoint", "{}/ssl/roberta.large/model.pt", "--text", "x"],
            r"model\.pt: a checkpoint of the task 'masked",
        ),
        (["--ssl-dir", "{}/absent", "{}/wav/clip01.wav", "--text", "x"], "absent/.*--ssl-dir"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(home, predict, words, said):
    code, out, errors = predict(*[word.format(home) for word in words])
    assert (code, out, len(errors)) == (2, "", 1)
    assert re.search(rf"^emofair: error: .*{said}", errors[0]), errors


def test_tokenisers_of_another_model_are_refused(home, tmp_path):
    other = tiny_ssl_dir(tmp_path, text_vocab=290, speech_vocab=49)
    wav = home / "wav" / "clip12.wav"
    with pytest.raises(EmofairError, match=r"dict\.txt: a dictionary of \d+ entries does not belong to.* speech"):
        emofair.load(home / "joint" / "checkpoint_best.pt", ssl_dir=other).predict(wav, text="x")
    with pytest.raises(EmofairError, match=r"dict\.txt: a dictionary of \d+ entries does not belong to.* text"):
        emofair.load(home / "words" / "checkpoint_best.pt", ssl_dir=other).predict(text="x")
    # Named one by one, the right ones may lie anywhere.
    model = emofair.load(
        home / "joint" / "checkpoint_best.pt",
        vq_wav2vec=home / "ssl" / "vq-wav2vec" / "vq-wav2vec_kmeans.pt",
        speech_bert_path=home / "ssl" / "vq-wav2vec-Kmeans-Roberta",
        text_roberta_path=home / "ssl" / "roberta.large",
    )
    assert model.modalities == ("text", "speech") and model.predict(wav, text="x").label in CLASSES


@pytest.mark.parametrize("samples", [np.zeros((2, 4000)), np.zeros(0), np.array([0.0, np.nan] * 400)])
def test_samples_that_are_no_waveform(model, samples):
    with pytest.raises(EmofairError, match=r"not one finite mono waveform.*16000 Hz"):
        model.predict(samples.astype(np.float32), text="x")


def test_lists_that_are_empty_or_not_parallel(home, model):
    wav = home / "wav" / "clip12.wav"
    assert model.predict_many([], []) == model.predict_tokens([], []) == []
    with pytest.raises(EmofairError, match="2 recordings and 1 transcripts are not parallel"):
        model.predict_many([wav, wav], ["x"])
    with pytest.raises(EmofairError, match="1 speech and 2 text are not parallel"):
        model.predict_tokens([np.array([0, 5, 2])], [np.array([0, 5, 2])] * 2)


def test_models_of_tokens_have_no_timeline(home, tmp_path, capsys):
    words = [
        "--checkpoint",
        home / "joint" / "checkpoint_best.pt",
        home / "wav" / "clip12.wav",
        "--out",
        tmp_path / "x",
    ]
    assert main(["timeline", *map(str, words)]) == 2
    told = capsys.readouterr().err
    assert "checkpoint_best.pt: models of the task 'emotion_prediction' have no timeline" in told
    assert not (tmp_path / "x").exists()
