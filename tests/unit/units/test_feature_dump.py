"""Dumping a shard: in the manifest's order, whole or not at all, the same every time."""

import json

import numpy as np
import pytest
import soundfile

from emofair.data.manifests import Utterance
from emofair.errors import EmofairError
from emofair.testing.speech import tiny_speech_encoder
from emofair.units import feature_dump
from emofair.units.extractors import EncoderFeatures, MfccFeatures
from emofair.units.feature_dump import DumpOptions, cut_clip, dump_shard, plan_batches
from emofair.units.feature_store import Features

SAMPLES = [5000, 16000, 300, 7000, 5000, 12345, 400, 9000]


@pytest.fixture(scope="module")
def encoder():
    return EncoderFeatures(tiny_speech_encoder(), 2)


@pytest.fixture
def items(tmp_path):
    """Clips of several lengths, the last one cut from a recording."""
    made = []
    for index, n_samples in enumerate(SAMPLES):
        cut = index == len(SAMPLES) - 1
        wav = 0.1 * np.random.default_rng(index).standard_normal(n_samples + 16000 * cut).astype(np.float32)
        path = tmp_path / f"clip{index}.wav"
        soundfile.write(path, wav, 16000, subtype="FLOAT")
        start, end = (1.0, 1.0 + n_samples / 16000) if cut else (None, None)
        made.append(Utterance(f"clip{index}", str(path), n_samples, start=start, end=end))
    return made


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def alone(extractor, utterance):
    wav, _ = soundfile.read(utterance.path, dtype="float32")
    if utterance.start is not None:
        wav = wav[16000:]
    return extractor.extract([extractor.prepare(wav)])[0]


def test_frames_lie_in_the_manifests_order(encoder, items, tmp_path):
    dumped = dump_shard(encoder, items, tmp_path / "out", "train", options=DumpOptions(batch_seconds=1.1))
    lengths = [encoder.n_frames(n) for n in SAMPLES]
    assert dumped == (len(items), sum(lengths), True)
    assert (tmp_path / "out" / "train_0_1.len").read_text() == "".join(f"{n}\n" for n in lengths)
    array = np.load(tmp_path / "out" / "train_0_1.npy")
    assert array.dtype == np.float32
    for utterance, part in zip(items, np.split(array, np.cumsum(lengths)[:-1]), strict=True):
        np.testing.assert_allclose(part, alone(encoder, utterance), atol=2e-5)
    record = json.loads((tmp_path / "out" / "train_0_1.json").read_text())
    assert (record["frame_rate"], record["source"], record["spec"]["layers"]) == (50.0, encoder.source, 3)
    assert sorted(tree(tmp_path / "out")) == ["train_0_1.json", "train_0_1.len", "train_0_1.npy"]


@pytest.mark.parametrize("nshard", [2, 3, 8])
def test_shards_are_one_piece(encoder, items, tmp_path, nshard):
    dump_shard(encoder, items, tmp_path / "one", "train")
    for rank in reversed(range(nshard)):
        dump_shard(encoder, items, tmp_path / "many", "train", rank=rank, nshard=nshard)
    one, many = (Features(tmp_path / name, "train") for name in ("one", "many"))
    assert one.lengths.tolist() == many.lengths.tolist()
    rows = np.arange(one.n_frames)
    np.testing.assert_allclose(many.rows(rows), one.rows(rows), atol=2e-5)


def test_twice_is_bit_identical_and_once_is_enough(encoder, items, tmp_path):
    for name in ("one", "two"):
        dump_shard(encoder, items, tmp_path / name, "train", options=DumpOptions(batch_seconds=1.1))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").iterdir()}
    for utterance in items:
        utterance.path = "gone.wav"  # nothing is read again
    assert not dump_shard(encoder, items, tmp_path / "one", "train").made
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "one").iterdir()} == before


class Stopping:
    """An extractor that is interrupted at its n-th batch."""

    def __init__(self, extractor, at):
        self.extractor, self.at, self.calls = extractor, at, 0

    def __getattr__(self, name):
        return getattr(self.extractor, name)

    def extract(self, waveforms):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.extractor.extract(waveforms)


def test_an_interrupted_dump_goes_on_where_it_stopped(encoder, items, tmp_path):
    options, out = DumpOptions(batch_seconds=1.1), tmp_path / "out"
    dump_shard(encoder, items, tmp_path / "whole", "train", options=options)
    counting = Stopping(encoder, at=None)
    dump_shard(counting, items, tmp_path / "counted", "train", options=options)
    with pytest.raises(KeyboardInterrupt):
        dump_shard(Stopping(encoder, at=3), items, out, "train", options=options)
    with pytest.raises(EmofairError, match="no features of split 'train'"):
        Features(out, "train")
    rest = Stopping(encoder, at=None)
    assert dump_shard(rest, items, out, "train", options=options).made
    assert rest.calls == counting.calls - 2
    assert tree(out) == tree(tmp_path / "whole")


def rewrite(utterance):
    soundfile.write(utterance.path, np.zeros(utterance.n_samples), 16000, subtype="FLOAT")


def test_features_of_audio_that_was_rewritten_are_dumped_anew_with_a_note(encoder, items, tmp_path):
    out, notes = tmp_path / "out", []
    dump_shard(encoder, items, out, "train")
    rewrite(items[1])
    assert dump_shard(encoder, items, out, "train", report=notes.append).made
    assert notes == ["the audio is not known to be what train_0_1 was dumped from: dumped anew"]
    dump_shard(encoder, items, tmp_path / "new", "train")
    assert tree(out) == tree(tmp_path / "new")
    assert not dump_shard(encoder, items, out, "train", report=notes.append).made and len(notes) == 1


@pytest.mark.parametrize("other", ["options", "list", "encoder", "audio", "damaged"])
def test_a_part_of_other_features_is_not_gone_on_with(encoder, items, tmp_path, other):
    options, out = DumpOptions(batch_seconds=1.1), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        dump_shard(Stopping(encoder, at=3), items, out, "train", options=options)
    now = encoder
    if other == "options":
        options = DumpOptions(batch_seconds=0.6)
    elif other == "list":
        items = items[::-1]
    elif other == "audio":
        rewrite(items[1])
    elif other == "encoder":
        now = EncoderFeatures(tiny_speech_encoder(seed=5), 2)
    else:
        (out / ".train_0_1.progress").write_text("?")
    dump_shard(now, items, out, "train", options=options)
    dump_shard(now, items, tmp_path / "whole", "train", options=options)
    assert tree(out) == tree(tmp_path / "whole")


def test_other_features_under_the_same_name_are_not_overwritten(encoder, items, tmp_path):
    dump_shard(encoder, items, tmp_path, "train")
    for extractor, clips, options, what in (
        (EncoderFeatures(encoder.model, 1), items, DumpOptions(), "another source"),
        (encoder, items[::-1], DumpOptions(), "another list of clips"),
        (encoder, items, DumpOptions(float16=True), "another dtype"),
    ):
        with pytest.raises(EmofairError, match=rf"train_0_1\.json: holds features with {what}\. Give a new --out"):
            dump_shard(extractor, clips, tmp_path, "train", options=options)


def test_float16(encoder, items, tmp_path):
    dump_shard(encoder, items, tmp_path / "exact", "train")
    dump_shard(encoder, items, tmp_path / "half", "train", options=DumpOptions(float16=True))
    exact, half = (np.load(tmp_path / name / "train_0_1.npy") for name in ("exact", "half"))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, exact.astype(np.float16))


class Saying:
    """MFCCs with a chosen number in their place."""

    def __init__(self, value):
        self.value = value

    def __getattr__(self, name):
        return getattr(MfccFeatures(), name)

    def extract(self, waveforms):
        return [np.full((self.n_frames(len(wav)), self.dim), self.value, np.float32) for wav in waveforms]


@pytest.mark.parametrize(
    ("value", "float16", "what"),
    [
        (np.nan, False, "are NaN or infinite"),
        (1e5, True, "go up to 1e.05, which float16 cannot hold; leave out --float16"),
    ],
)
def test_features_must_be_numbers(items, tmp_path, value, float16, what):
    with pytest.raises(EmofairError, match=rf"clip1\.wav: features of clip1 {what}"):
        dump_shard(Saying(value), items, tmp_path / "out", "train", options=DumpOptions(float16=float16))


def test_clips_that_cannot_be_used_are_named(encoder, items, tmp_path):
    cases = [
        (Utterance("a", "", 0), "a of split 'train' has no audio"),
        (Utterance("a", str(tmp_path / "no.wav"), 400), r"no\.wav: no such audio file"),
        (Utterance("a", items[0].path, 4999), r"a has 5000 samples, the manifest says 4999\. Prepare the corpus again"),
    ]
    for utterance, message in cases:
        with pytest.raises(EmofairError, match=message):
            dump_shard(encoder, [*items, utterance], tmp_path / "out", "train")
    assert not list((tmp_path / "out").glob("*.json"))


def test_more_shards_than_clips(encoder, items, tmp_path):
    with pytest.raises(EmofairError, match="--nshard 20 is more than the 8 clips"):
        dump_shard(encoder, items, tmp_path, "train", rank=0, nshard=20)


def test_other_rates_are_resampled_when_asked(encoder, tmp_path):
    wav = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    soundfile.write(tmp_path / "slow.wav", wav, 8000, subtype="FLOAT")
    items = [Utterance("slow", str(tmp_path / "slow.wav"), 16000)]
    with pytest.raises(EmofairError, match="8000 Hz, 16000 Hz is needed"):
        dump_shard(encoder, items, tmp_path / "out", "train")
    assert dump_shard(encoder, items, tmp_path / "out", "train", options=DumpOptions(resample=True)).n_frames == 49


class OutOfMemory(Saying):
    def extract(self, waveforms):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def test_what_does_not_fit_into_memory_has_a_remedy(items, tmp_path):
    with pytest.raises(EmofairError, match=r"8 clips of up to 1 s do not fit into memory .*--batch-seconds"):
        dump_shard(OutOfMemory(0), items, tmp_path / "out", "train")


def test_a_full_disk_is_noticed_before_anything_is_computed(encoder, items, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_dump.os, "posix_fallocate", full, raising=False)
    with pytest.raises(EmofairError, match=r"0\.00 GB of features cannot be written \(No space left on device\)"):
        dump_shard(Stopping(encoder, at=1), items, tmp_path / "out", "train")
    assert not list((tmp_path / "out").glob("*.npy*"))


def test_batches_keep_to_their_limit_and_lose_nothing():
    random = np.random.default_rng(0)
    clips = [feature_dump.Piece(i, 0, int(n), 0) for i, n in enumerate(random.integers(400, 160000, 500))]
    batches = plan_batches(clips, 320000)
    assert sorted(piece for batch in batches for piece in batch) == sorted(clips)
    costs = [len(batch) * max(piece.last for piece in batch) for batch in batches]
    assert max(costs) <= 320000
    padding = 1 - sum(piece.last for piece in clips) / sum(costs)
    assert padding < 0.03
    assert [len(batch) for batch in plan_batches(clips, 1)] == [1] * 500


@pytest.mark.parametrize("n_samples", [400, 32000, 32001, 100000, 123456, 160000])
def test_windows_have_every_frame_once(encoder, n_samples):
    windows = cut_clip(n_samples, encoder, 2.0)
    frames = [encoder.n_frames(last - first) for first, last, _ in windows]
    assert sum(frames) == encoder.n_frames(n_samples)
    assert [start for _, _, start in windows] == np.cumsum([0, *frames])[:-1].tolist()
    assert all(first == 320 * start and last - first < 32000 + 320 for first, last, start in windows)
    assert windows[-1][1] == n_samples
    assert len(windows) == 1 or max(frames) - min(frames) <= len(windows)
    assert cut_clip(n_samples, encoder, None) == [(0, n_samples, 0)]


def test_long_clips_in_windows(items, tmp_path):
    """MFCCs see no context but for the deltas, so windows change nothing away from their edges."""
    extractor = MfccFeatures()
    dump_shard(extractor, items, tmp_path / "whole", "train")
    dump_shard(extractor, items, tmp_path / "cut", "train", options=DumpOptions(max_seconds=0.4))
    whole, cut = (np.load(tmp_path / name / "train_0_1.npy") for name in ("whole", "cut"))
    assert whole.shape == cut.shape
    np.testing.assert_allclose(cut[:, :13], whole[:, :13], atol=1e-4)
    assert 0 < (np.abs(cut - whole) > 1e-4).any(axis=1).mean() < 0.5
