"""The timeline: shares of frames add up to the logits of predict and evaluate, in every setting that is not refused."""

from __future__ import annotations

import csv
import itertools
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from emofair.data.audio import SAMPLE_RATE
from emofair.data.textgrid import read_textgrid
from emofair.errors import EmofairError
from emofair.inference.checkpoint import LoadedCheckpoint
from emofair.inference.frame_clusters import FrameClusters
from emofair.inference.prediction import samples_of
from emofair.inference.smoothing import Smoothing
from emofair.inference.speech_emotion import SpeechEmotionPredictor
from emofair.inference.timeline import decompose, frame_times, timeline, window_samples
from emofair.models.speech_emotion_classifier import SpeechEmotionClassifier, SpeechEmotionClassifierConfig
from emofair.reports import timeline_files
from emofair.tasks.speech_emotion import SpeechEmotionConfig
from emofair.testing.speech import shake, tiny_speech_checkpoint
from emofair.units.extractors import EncoderFeatures, Options, open_extractor
from emofair.units.feature_dump import cut_clip
from emofair.units.kmeans import KMeans

CLASSES = ("angry", 'so "sad"', "neutral, or so")
LINEAR = ("attention", "mean", "mean_drop_last")


def make(**options):
    options = {"ssl_random": "tiny", "attention_init": "xavier", "pooling": "attention", **options}
    cfg = OmegaConf.structured(SpeechEmotionClassifierConfig(**options))
    OmegaConf.set_struct(cfg, False)
    cfg._name = "speech_emotion_tiny"
    torch.manual_seed(0)
    model = SpeechEmotionClassifier.build_model(cfg, SimpleNamespace(classes=CLASSES)).eval()
    shake(model)
    return model


def sound(seconds=1.5, seed=0):
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.4 * np.sin(900 * time * (1 + time)) + 0.1 * random.standard_normal(len(time))).astype(np.float32)


def logits_of(model, wav, **kwargs):
    with torch.inference_mode():
        return model(torch.from_numpy(wav)[None], torch.tensor([len(wav)]), **kwargs)[0][0].double().numpy()


def kmeans_of(model, path, layer=2, k=5, relu=False, source=None):
    extractor = EncoderFeatures(model.encoder, layer, relu=relu)
    frames = extractor.extract([sound(seed=9)])[0]
    facts = {"features": {"source": source or extractor.source}}
    KMeans(frames[::15][:k].copy(), np.ones(k, dtype=np.int64), 1.0, 0, facts).save(path)
    return path


SETTINGS = [
    *({"pooling": name, "relu_features": relu} for name in LINEAR for relu in (False, True)),
    *({"attention_score": score} for score in ("linear", "mlp")),
    *({"layer": layer} for layer in ("1", "weighted")),
]


@pytest.mark.parametrize("options", SETTINGS, ids=lambda o: "-".join(map(str, o.values())))
def test_contributions_add_up_to_the_logits_of_the_model(options):
    model, wav = make(**options), sound()
    shares = decompose(model, wav)
    expected = logits_of(model, wav)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(shares.logits, expected, atol=1e-6)
    np.testing.assert_allclose(shares.contributions.sum(axis=0), expected, atol=2e-6)
    assert shares.contributions.dtype == np.float64 and shares.attention.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(np.exp(shares.log_posteriors).sum(axis=1), 1)


@pytest.mark.parametrize("pooling", LINEAR)
def test_in_double_precision_they_add_up_to_its_rounding(pooling):
    model, wav = make(pooling=pooling).double(), sound()
    with torch.inference_mode():
        frames = model.frames(torch.from_numpy(wav).double()[None]).hidden[0]
        weights = model.pool.weights(frames, torch.zeros(frames.shape[:2], dtype=torch.bool)).double()
        each = model.classifier(frames)
        pooled = torch.einsum("bt,btc->bc", weights / weights.sum(), frames)
        whole = model.classifier(pooled)[0]
    np.testing.assert_allclose(((weights / weights.sum())[..., None] * each).sum(dim=1)[0], whole, atol=1e-12)


@pytest.mark.parametrize(("pooling", "weights"), [("mean", [1] * 74), ("mean_drop_last", [1] * 73 + [0])])
def test_weights_of_the_mean(pooling, weights):
    attention = decompose(make(pooling=pooling), sound()).attention
    np.testing.assert_allclose(attention, np.array(weights) / sum(weights), rtol=1e-6)


def test_a_share_is_the_weight_times_the_logits_of_the_frame():
    model, wav = make(relu_features=True), sound()
    shares = decompose(model, wav)
    frames = model.frames(torch.from_numpy(wav)[None]).hidden[0][0].detach().double().numpy()
    assert frames.min() == 0
    weight, bias = (p.detach().double().numpy() for p in (model.classifier.weight, model.classifier.bias))
    each = frames @ weight.T + bias
    np.testing.assert_allclose(shares.contributions, shares.attention[:, None] * each, atol=1e-6)
    posteriors = np.exp(each) / np.exp(each).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(shares.log_posteriors), posteriors, atol=1e-5)


@pytest.mark.parametrize("pooling", LINEAR)
@pytest.mark.parametrize(("window", "hop"), [(0.5, None), (0.5, 0.13), (0.303, 0.2599), (1.4, 0.9), (5, 2)])
def test_windows_add_up_to_the_mean_of_their_logits(pooling, window, hop):
    from emofair.data.speech_dataset import windows_of

    model, wav = make(pooling=pooling), sound()
    window, hop = window_samples(model, window, hop)
    spans = windows_of(len(wav), window, hop)
    expected = np.mean([logits_of(model, wav[a:b]) for a, b in spans], axis=0)
    shares = decompose(model, wav, window, hop)
    assert shares.n_windows == len(spans)
    np.testing.assert_allclose(shares.logits, expected, atol=1e-6)
    np.testing.assert_allclose(shares.contributions.sum(axis=0), expected, atol=2e-6)
    assert shares.attention.sum() == pytest.approx(1, abs=1e-6)
    assert np.isfinite(shares.log_posteriors).all() and len(shares.attention) == model.encoder.n_frames(len(wav))


def test_windows_on_the_frame_grid_put_every_frame_where_it_is():
    model, wav = make(pooling="mean"), sound(1.525)  # 76 frames
    window, hop = 400 + 320 * 24, 320 * 10
    shares = decompose(model, wav, window, hop)
    logits, counts = np.zeros((76, 3)), np.zeros((76, 1))
    starts = [*range(0, len(wav) - window, hop), len(wav) - window]
    for start in starts:
        assert start % 320 == 0
        part = decompose(model, wav[start : start + window])
        logits[start // 320 :][:25] += part.contributions * 25
        counts[start // 320 :][:25] += 1
    np.testing.assert_allclose(shares.contributions, logits / 25 / len(starts), atol=1e-7)
    np.testing.assert_allclose(shares.attention, counts[:, 0] / 25 / len(starts), rtol=1e-5)
    mean = logits / counts
    np.testing.assert_allclose(shares.log_posteriors, mean - np.log(np.exp(mean).sum(1, keepdims=True)), atol=1e-5)


@pytest.mark.parametrize("below", [0, 1, 33, 159, 160, 161, 287])
@pytest.mark.parametrize("window", [0.0651, 0.09, 0.301])
def test_no_frame_is_left_out_at_the_longest_steps(window, below):
    model = make(pooling="mean")
    longest = (model.encoder.n_frames(round(window * SAMPLE_RATE)) - 1) * 320 / SAMPLE_RATE
    for n in range(5100, 6100, 89):
        shares = decompose(model, sound()[:n], *window_samples(model, window, longest - below / SAMPLE_RATE))
        assert (shares.attention > 0).all() and shares.attention.sum() == pytest.approx(1, abs=1e-6)
    with pytest.raises(EmofairError, match=f"at most {longest}"):
        window_samples(model, window, longest + 0.001)


def predictor(model, **options):
    task = SimpleNamespace(mode=SimpleNamespace(classes=CLASSES, kind="softmax"), cfg=vars(SpeechEmotionConfig()))
    loaded = LoadedCheckpoint(None, model, task, None, {}, {})
    return SpeechEmotionPredictor(loaded, **options)


@pytest.mark.parametrize("window_seconds", [None, 0.6])
@pytest.mark.parametrize("normalize", [False, True])
def test_the_answer_is_that_of_predict(window_seconds, normalize, tmp_path):
    path = tiny_speech_checkpoint(tmp_path / "x.pt", "wav2vec2", "large" if normalize else "base")
    model = make(ssl_random=None, w2v_path=str(path))
    model.load_pretrained()
    shake(model.classifier)
    assert model.spec.normalize == normalize
    judge, wav = predictor(model, window_seconds=window_seconds), 0.1 + sound()
    found, expected = judge.timeline(wav), judge.predict(wav)
    assert found.label == expected.label and found.facts["n_windows"] == (4 if window_seconds else 1)
    assert dict(zip(CLASSES, found.probabilities, strict=True)) == pytest.approx(expected.scores, abs=1e-6)
    np.testing.assert_allclose(found.contributions.sum(axis=0), found.logits, atol=2e-6)


def test_times_are_those_of_the_encoder():
    model = make()
    times, edges = frame_times(model, 24000)
    np.testing.assert_allclose(times, 0.0125 + 0.02 * np.arange(74))
    assert (edges[0], edges[-1]) == (0, 1.5) and len(edges) == 75
    np.testing.assert_allclose(edges[1:-1], (times[1:] + times[:-1]) / 2)
    assert [part.tolist() for part in frame_times(model, 400)] == [[0.0125], [0, 0.025]]


@pytest.mark.parametrize("kind", ["median", "viterbi", "none"])
def test_segments_cover_the_recording(kind):
    found = timeline(make(), CLASSES, sound(), smoothing=Smoothing(kind, width=3, penalty=0.3))
    segments = found.segments
    assert segments[0].start == 0 and segments[-1].end == found.seconds == 1.5
    assert all(a.end == b.start and a.label != b.label for a, b in itertools.pairwise(segments))
    assert len(segments) > 2
    for segment in segments:
        inside = (found.times > segment.start) & (found.times < segment.end)
        which = CLASSES.index(segment.label)
        assert (found.decisions[inside] == which).all()
        assert segment.posterior == pytest.approx(found.posteriors[inside, which].mean())


@pytest.mark.parametrize("relu", [False, True])
def test_clusters_are_those_of_the_feature_dump(tmp_path, relu):
    model, wav = make(), sound(2.3)
    path = kmeans_of(model, tmp_path / "km.npz", relu=relu)
    extractor = EncoderFeatures(model.encoder, 2, relu=relu)
    centroids = np.load(path)["centroids"]
    for window in (None, 0.7):
        cuts = cut_clip(len(wav), extractor, window)
        assert len(cuts) == (1 if window is None else 4)
        frames = np.concatenate([extractor.extract([wav[a:b]])[0] for a, b, _ in cuts])
        expected = ((frames[:, None] - centroids) ** 2).sum(axis=-1).argmin(axis=1)
        found = timeline(make(), CLASSES, wav, kmeans=path, window_seconds=window)
        assert found.clusters.tolist() == expected.tolist() and len(set(expected)) > 2
        assert found.cluster_runs[0].start == 0 and found.cluster_runs[-1].end == found.seconds
        assert all(a.end == b.start and a.cluster != b.cluster for a, b in itertools.pairwise(found.cluster_runs))
    assert found.facts["clusters"]["k"] == 5 and found.facts["clusters"]["features"]["layer"] == 2


def test_clusters_of_the_final_norm_of_another_encoder_and_of_bare_centroids(tmp_path):
    model, wav = make(), sound()
    other = tiny_speech_checkpoint(tmp_path / "other.pt", "hubert", "large", seed=3, embed_dim=48)
    extractor = open_extractor("encoder", Options(other, -1))
    assert extractor.source["final_layer_norm"]
    frames = extractor.extract([extractor.prepare(wav)])[0]
    facts = {"features": {"source": extractor.source}}
    KMeans(frames[:9:2].copy(), np.ones(5, int), 1.0, 0, facts).save(tmp_path / "km.npz")
    found = FrameClusters(tmp_path / "km.npz", model.encoder, checkpoint=other).ids(wav)
    assert found[:9:2].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(EmofairError, match=r"checkpoint_sha256 .* Name the encoder .* with --features-checkpoint"):
        FrameClusters(tmp_path / "km.npz", model.encoder)

    np.save(tmp_path / "bare.npy", frames[:5])
    with pytest.raises(EmofairError, match=r"does not say which layer .* --features-layer"):
        FrameClusters(tmp_path / "bare.npy", model.encoder)
    assert len(FrameClusters(tmp_path / "bare.npy", model.encoder, layer=1).ids(wav)) == len(frames)


def test_a_kmeans_of_other_features_is_refused(tmp_path):
    model = make()
    path = kmeans_of(model, tmp_path / "km.npz")
    with pytest.raises(EmofairError, match=r"layer 2, here 1\). Name the encoder"):
        FrameClusters(path, model.encoder, layer=1)
    with pytest.raises(EmofairError, match="layer 9 of an encoder that has"):
        FrameClusters(path, model.encoder, layer=9)
    np.save(tmp_path / "narrow.npy", np.ones((3, 7), dtype=np.float32))
    with pytest.raises(EmofairError, match="centroids have 7 dimensions, the features of layer 2 of the model have 48"):
        FrameClusters(tmp_path / "narrow.npy", model.encoder, layer=2)
    kmeans_of(model, tmp_path / "mfcc.npz", source={"features": "mfcc"})
    with pytest.raises(EmofairError, match="fitted on mfcc, not on frames of an encoder"):
        FrameClusters(tmp_path / "mfcc.npz", model.encoder)
    with pytest.raises(EmofairError, match="without the k-means"):
        timeline(model, CLASSES, sound(), features_layer=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling max does not split"),
        ({"pooling": "attentive_statistics"}, "pooling attentive_statistics does not split"),
        ({"head_hidden": 8}, r"a hidden layer \(8\) in the head mixes the frames"),
    ],
)
def test_what_does_not_split_is_refused(options, message):
    with pytest.raises(
        EmofairError, match=f"{message}.*pools by mean, mean_drop_last, attention and has no hidden layer"
    ):
        timeline(make(**options), CLASSES, sound())


def test_other_models_are_refused():
    with pytest.raises(EmofairError, match="the logits of a Linear do not split"):
        timeline(torch.nn.Linear(2, 2), CLASSES, sound())


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (sound()[:399], "399 samples at 16000 Hz are less than one frame"),
        (np.zeros(16000, dtype=np.float32), "silent"),
        (np.full(16000, 0.3, dtype=np.float32), "silent"),
    ],
)
def test_recordings_without_a_timeline(wav, message, tmp_path):
    with pytest.raises(EmofairError, match=message):
        timeline(make(), CLASSES, wav)
    soundfile.write(tmp_path / "a.wav", wav, SAMPLE_RATE)
    with pytest.raises(EmofairError, match=r"a\.wav: .*" + message):
        timeline(make(), CLASSES, tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("window", "hop", "message"),
    [
        (0.04, None, "windows of 0.04 s hold less than two frames"),
        (0.045, None, "a step of 0.0225 s between windows of 0.045 s"),
        (float("nan"), None, "windows of nan s"),
        (float("inf"), None, "windows of inf s"),
        (None, 1.0, "a step without windows"),
        (1.0, 0.0, "a step of 0.0 s"),
        (1.0, float("nan"), "a step of nan s"),
        (1.0, 1.0, r"windows of 1.0 s may leave frames out\. Give --hop-seconds above 0 and at most 0.96\."),
    ],
)
def test_windows_that_are_none(window, hop, message):
    with pytest.raises(EmofairError, match=message):
        timeline(make(), CLASSES, sound(), window_seconds=window, hop_seconds=hop)


def test_other_rates_are_resampled(tmp_path):
    soundfile.write(tmp_path / "a.wav", sound()[::2], SAMPLE_RATE // 2)
    found = timeline(make(), CLASSES, tmp_path / "a.wav")
    np.testing.assert_array_equal(found.samples, samples_of(tmp_path / "a.wav"))
    assert len(found.times) == 74 and found.facts["file_sample_rate"] == 8000


def test_json_table_and_textgrid_say_the_same(tmp_path):
    model = make()
    os.mkdir(tmp_path / "out")
    found = timeline(model, CLASSES, sound(), kmeans=kmeans_of(model, tmp_path / "km.npz"))
    timeline_files.write_json(tmp_path / "a.json", found, checkpoint="x.pt")
    timeline_files.write_csv(tmp_path / "a.csv", found)
    timeline_files.write_textgrid_of(tmp_path / "a.TextGrid", found)
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert record == timeline_files.record(found, checkpoint="x.pt") and record["checkpoint"] == "x.pt"
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row.pop("frame")) for row in rows] == list(range(record["n_frames"])) == list(range(74))
    for name, column in record["frames"].items():
        values = [row[name] for row in rows]
        assert values == column if name == "decision" else [float(value) for value in values] == column, name
    assert list(rows[0]) == list(record["frames"])
    for label, logit in record["logits"].items():
        assert sum(record["frames"][f"contribution_{label}"]) == pytest.approx(logit, abs=2e-6)
    grid = read_textgrid(tmp_path / "a.TextGrid")
    emotions = [(i.start, i.end, i.text) for i in grid.tier("emotion").intervals]
    assert emotions == [(s["start"], s["end"], s["label"]) for s in record["segments"]]
    assert [int(i.text) for i in grid.tier("cluster").intervals] == [run.cluster for run in found.cluster_runs]
    assert grid.end == record["seconds"] == 1.5
