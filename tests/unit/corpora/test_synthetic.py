"""The example corpus: the same for the same seed, disjoint splits, sane times, and neither trivial nor hopeless."""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emofair.corpora import espeak, phrases
from emofair.corpora.synthetic import SHARES, _new_sentence, generate
from emofair.data.corpus_check import check_corpus
from emofair.data.manifests import read_corpus, read_labels, read_split
from emofair.errors import EmofairError

SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("small")
    generate(out, clips=20, seed=3, progress=False)
    return out


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    out = tmp_path_factory.mktemp("usual")
    generate(out, progress=False)
    return out


def items(folder):
    return {split: read_split(folder, split) for split in SPLITS}


def content(folder: Path) -> dict[str, bytes]:
    """All files, less what names the folder or the command."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if path.suffix == ".tsv" and not path.name.endswith(".meta.tsv"):
            data = data.split(b"\n", 1)[1]
        if path.name == "corpus.json":
            facts = json.loads(data)
            data = json.dumps({k: v for k, v in facts.items() if k not in ("root", "command")}).encode()
        files[str(path.relative_to(folder))] = data
    return files


def test_twice_in_one_process_gives_the_same_bytes(small, tmp_path):
    espeak.speak("Something was said in between.", "en-us+f5", rate=300, pitch=80)
    generate(tmp_path, clips=20, seed=3, progress=False)
    assert content(tmp_path) == content(small)


def test_another_process_gives_the_same_bytes(small, tmp_path):
    code = "import sys; from emofair.corpora.synthetic import generate; generate(sys.argv[1], 20, 3, progress=False)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert content(tmp_path) == content(small)


def test_another_seed_gives_another_corpus(small, tmp_path):
    generate(tmp_path, clips=20, seed=4, progress=False)
    texts = [{u.text for split in items(folder).values() for u in split} for folder in (small, tmp_path)]
    assert len(texts[0] & texts[1]) < 3
    assert not {c for f, c in content(small).items() if f.endswith(".wav")} & {
        c for f, c in content(tmp_path).items() if f.endswith(".wav")
    }


def test_a_new_corpus_replaces_an_earlier_one(tmp_path):
    generate(tmp_path, clips=20, seed=1, progress=False)
    (tmp_path / "wav" / "mine.wav").write_bytes(b"not ours")
    facts = generate(tmp_path, clips=15, seed=2, progress=False)
    listed = {Path(u.path).name for split in items(tmp_path).values() for u in split}
    assert {p.name for p in (tmp_path / "wav").iterdir()} == listed | {"mine.wav"} and len(listed) == 15
    assert facts == read_corpus(tmp_path)
    assert (facts["name"], facts["seed"], facts["clips"], facts["espeak"]) == ("synthetic", 2, 15, espeak.version())


def test_audio_is_16_bit_speech_of_the_manifested_length(usual):
    for utterance in (u for split in items(usual).values() for u in split):
        info = soundfile.info(utterance.path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert info.frames == utterance.n_samples
        assert 1.0 <= info.duration <= 3.5
        audio, _ = soundfile.read(utterance.path)
        assert 0.05 < np.abs(audio).max() < 1
        assert np.sqrt((audio**2).mean()) > 0.01


def test_corpus_passes_the_check(usual):
    assert check_corpus(usual) == []


def test_ids_tell_number_session_and_label(usual):
    everything = [u for split in items(usual).values() for u in split]
    for utterance in everything:
        number, s, session, label = utterance.id.split("_")
        assert len(number) == 4 and s == "s" and label == utterance.label
        assert utterance.session == f"Ses0{session}" and utterance.speaker.startswith(utterance.session)
    assert sorted(int(u.id[:4]) for u in everything) == list(range(480))


def test_splits_share_no_speaker_session_or_sentence(usual):
    splits = items(usual)
    for what in ("speaker", "session", "text"):
        seen = {split: {getattr(u, what) for u in utterances} for split, utterances in splits.items()}
        assert not seen["train"] & (seen["valid"] | seen["test"]) and not seen["valid"] & seen["test"], what
    assert {s: len({u.session for u in v}) for s, v in splits.items()} == {"train": 3, "valid": 1, "test": 1}
    assert {s: len({u.speaker for u in v}) for s, v in splits.items()} == {"train": 6, "valid": 2, "test": 2}
    assert {s: len(v) for s, v in splits.items()} == {"train": 288, "valid": 96, "test": 96}
    speakers = Counter(u.speaker for v in splits.values() for u in v)
    assert set(speakers.values()) == {48}


def test_no_sentence_repeats_in_the_usual_corpus(usual):
    texts = [u.text for split in items(usual).values() for u in split]
    assert len(set(texts)) == len(texts)
    vocabulary = {word.strip(".,").lower() for text in texts for word in text.split()}
    assert 150 <= len(vocabulary) <= 400


def test_when_sentences_run_out_a_split_repeats_its_own():
    rng = random.Random(0)
    spoken = {phrases.compose(rng, "exc").text: "train" for _ in range(60_000)}
    ours = random.Random(1).sample(sorted(spoken), 400)
    spoken |= dict.fromkeys(ours, "test")
    drawn = [_new_sentence(rng, "exc", "test", spoken).text for _ in range(20)]
    assert all(spoken.get(text, "test") == "test" for text in drawn)
    assert set(drawn) & set(ours)
    # With nothing left for it, a split still gets a sentence.
    assert _new_sentence(rng, "exc", "valid", dict.fromkeys(spoken, "train")).text


@pytest.mark.parametrize("clips", [15, 16, 33])
def test_small_corpora_are_whole(tmp_path, clips):
    generate(tmp_path, clips=clips, seed=1, progress=False)
    splits = items(tmp_path)
    assert sum(len(v) for v in splits.values()) == clips
    assert all(len(v) >= 3 for v in splits.values())
    assert {u.label for u in splits["train"]} == set(SHARES)


def test_labels_keep_their_proportions_in_every_split(usual):
    assert read_labels(usual) == sorted(SHARES)
    for split in items(usual).values():
        counts = Counter(u.label for u in split)
        for label, share in SHARES.items():
            assert abs(counts[label] - share * len(split)) <= 1


def test_word_times_are_monotone_and_inside_the_clip(usual):
    for utterance in (u for split in items(usual).values() for u in split):
        assert [word for word, _, _ in utterance.words] == [w.strip(",.") for w in utterance.text.split()]
        edges = [edge for _, start, end in utterance.words for edge in (start, end)]
        assert edges == sorted(edges)
        assert all(end > start for _, start, end in utterance.words)
        assert edges[0] >= 0.05 and edges[-1] <= utterance.n_samples / 16000 - 0.05


def test_clips_are_silent_before_the_first_and_after_the_last_word(small):
    for utterance in (u for split in items(small).values() for u in split):
        audio, _ = soundfile.read(utterance.path)
        start, end = utterance.words[0][1], utterance.words[-1][2]
        assert np.abs(audio[: int(start * 16000) - 32]).max() < 0.01
        assert np.abs(audio[int(end * 16000) + 320 :]).max() < 0.01
        assert np.abs(audio[int(start * 16000) : int(end * 16000)]).max() > 0.05


def test_sentiment_goes_with_emotion_and_wording(usual):
    everything = [u for split in items(usual).values() for u in split]
    scores = np.array([u.sentiment for u in everything])
    assert scores.min() >= -3 and scores.max() <= 3
    assert np.allclose(scores, np.round(scores, 1)) and not np.signbit(scores[scores == 0]).any()
    assert 0.05 < (scores == 0).mean() < 0.3
    valence = np.array([phrases.VALENCE[u.label] for u in everything])
    assert 0.8 < np.corrcoef(scores, valence)[0, 1] < 0.98


def test_an_intensifier_moves_the_valence():
    drawn = [phrases.compose(random.Random(i), "sad") for i in range(3000)]
    mean = {
        word: np.mean([s.valence for s in drawn if f"{word} lonely" in s.text]) for word in ("feel", "so", "a little")
    }
    assert mean["so"] < mean["feel"] < mean["a little"] < 0


def test_speech_and_text_each_say_something_and_together_more(usual):
    """Simple classifiers, trained on some speakers and tried on others, land where the corpus is meant to be."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    splits = items(usual)
    train, held_out = splits["train"], splits["valid"] + splits["test"]
    target = {u.id: u.label.replace("exc", "hap") for u in train + held_out}
    truth = np.array([target[u.id] for u in held_out])
    labels = [target[u.id] for u in train]

    speech = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    speech.fit([prosody(u) for u in train], labels)
    text = make_pipeline(CountVectorizer(token_pattern=r"\w+"), LogisticRegression(max_iter=2000))
    text.fit([u.text for u in train], labels)
    p_speech = speech.predict_log_proba([prosody(u) for u in held_out])
    p_text = text.predict_log_proba([u.text for u in held_out])
    prior = np.log([np.mean(np.array(labels) == c) for c in speech.classes_])

    def accuracy(scores):
        return np.mean(speech.classes_[scores.argmax(1)] == truth)

    majority = max(np.mean(truth == c) for c in speech.classes_)
    assert 0.27 < majority < 0.33
    assert 0.55 < accuracy(p_speech) < 0.78
    assert 0.52 < accuracy(p_text) < 0.75
    assert accuracy(p_speech + p_text - prior) > max(accuracy(p_speech), accuracy(p_text)) + 0.04


def prosody(utterance) -> list[float]:
    """Loudness, its spread, pitch by autocorrelation, its spread and range, and the pace of one clip."""
    audio, rate = soundfile.read(utterance.path)
    frames = np.lib.stride_tricks.sliding_window_view(audio, 640)[::640]
    frames = frames - frames.mean(1, keepdims=True)
    energy = np.sqrt((frames**2).mean(1))
    loud = energy > 0.25 * energy.max()
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames * np.hanning(640), 2048)) ** 2)[:, :640]
    low, high = rate // 400, rate // 65
    lag = low + correlation[:, low:high].argmax(1)
    voiced = loud & (correlation[np.arange(len(lag)), lag] > 0.35 * correlation[:, 0])
    pitch = np.log(rate / lag[voiced])
    pace = (utterance.words[-1][2] - utterance.words[0][1]) / len(utterance.text)
    spread = np.percentile(pitch, 90) - np.percentile(pitch, 10)
    level = np.log(energy[loud])
    return [level.mean(), level.std(), np.median(pitch), pitch.std(), spread, pace]


@pytest.mark.parametrize("clips", [14, 0, -3])
def test_too_few_clips_are_refused(tmp_path, clips):
    with pytest.raises(EmofairError, match=f"of {clips} clips is too small.*15 or more"):
        generate(tmp_path / "out", clips=clips)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(EmofairError, match=r"taken/wav: cannot make the folder"):
        generate(tmp_path / "taken", clips=15)


def test_a_clip_that_cannot_be_written_is_named(tmp_path):
    for number in range(15):
        for label in SHARES:
            (tmp_path / "wav" / f"{number:04d}_s_{number % 5 + 1}_{label}.wav").mkdir(parents=True)
    with pytest.raises(EmofairError, match=r"0000_s_1_\w+\.wav: cannot write the audio"):
        generate(tmp_path, clips=15, progress=False)
