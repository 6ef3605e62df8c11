"""Frame features of a clip: those of the encoder's layer, alone or in a batch, and what says where they are from."""

import dataclasses

import numpy as np
import pytest
import torch

from emofair.cli.features import KINDS
from emofair.data.audio import SAMPLE_RATE
from emofair.errors import EmofairError
from emofair.testing.speech import fairseq_model, tiny_speech_encoder, tiny_speech_spec, tiny_wav2vec_checkpoint
from emofair.units.extractors import EXTRACTORS, EncoderFeatures, Options, encoder_hash, open_extractor
from emofair.units.mfcc import mfcc_with_deltas


def noise(n_samples, seed=0):
    return np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32) * 0.1


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("layer", [1, 3])
def test_features_are_those_that_the_hubert_recipe_dumps(kind, layer):
    encoder = tiny_speech_encoder(tiny_speech_spec(kind, "large" if layer == 3 else "base"))
    stock = fairseq_model(encoder)
    wav = noise(9000)
    extractor = EncoderFeatures(encoder, layer)
    (ours,) = extractor.extract([extractor.prepare(wav)])
    source = torch.from_numpy(wav)[None]
    if encoder.spec.normalize:
        source = torch.nn.functional.layer_norm(source, source.shape)
    with torch.no_grad():
        if kind == "hubert":
            theirs, _ = stock.extract_features(source, padding_mask=None, mask=False, output_layer=layer)
        else:
            theirs = stock.extract_features(source, padding_mask=None, mask=False, layer=layer - 1)["x"]
    assert ours.dtype == np.float32
    assert ours.shape == (extractor.n_frames(9000), extractor.dim) == (27, 32)
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=2e-5)


@pytest.mark.parametrize("layout", ["base", "large"])
def test_a_batch_gives_each_clip_what_it_gets_alone(layout):
    extractor = EncoderFeatures(tiny_speech_encoder(tiny_speech_spec(layout=layout)), 2)
    clips = [extractor.prepare(noise(n, n)) for n in (16000, 300, 5000, 719, 720)]
    for clip, together in zip(clips, extractor.extract(clips), strict=True):
        (alone,) = extractor.extract([clip])
        assert together.shape == alone.shape == (extractor.n_frames(len(clip)), 32)
        np.testing.assert_allclose(together, alone, atol=2e-5)


def test_nothing_is_random_whatever_the_encoder_was_doing():
    spec = tiny_speech_spec(dropout=0.5, dropout_input=0.5, layerdrop=0.5)
    extractor = EncoderFeatures(tiny_speech_encoder(spec).train(), -1)
    first, second = (extractor.extract([noise(4000)])[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_relu_and_layers():
    encoder = tiny_speech_encoder()
    clip = [noise(4000)]
    plain = EncoderFeatures(encoder, -1).extract(clip)[0]
    assert (plain < 0).any()
    np.testing.assert_array_equal(EncoderFeatures(encoder, 3, relu=True).extract(clip)[0], np.maximum(plain, 0))
    with pytest.raises(EmofairError, match="layer 4 of an encoder that has 3"):
        EncoderFeatures(encoder, 4)


def test_normalisation_is_the_checkpoints():
    clip = noise(4000) + 0.5
    same = EncoderFeatures(tiny_speech_encoder(tiny_speech_spec(normalize=False))).prepare(clip)
    np.testing.assert_array_equal(same, clip)
    normal = EncoderFeatures(tiny_speech_encoder(tiny_speech_spec(normalize=True))).prepare(clip)
    assert abs(normal.mean()) < 1e-4 and abs(normal.std() - 1) < 1e-2


@pytest.mark.parametrize("fast", [False, True])
def test_bf16_is_near_and_given_as_float32_and_left_out_where_it_is_slow(fast, monkeypatch):
    monkeypatch.setattr("emofair.device._cpu_has_fast_bf16", lambda: fast)
    encoder = tiny_speech_encoder()
    clip = [noise(4000)]
    exact, rough = (EncoderFeatures(encoder, 2, autocast_bf16=on).extract(clip)[0] for on in (False, True))
    assert rough.dtype == np.float32
    assert np.abs(rough - exact).max() < 0.2 * np.abs(exact).max()
    assert np.array_equal(rough, exact) == (not fast)


def test_equal_sources_mean_comparable_frames():
    spec = tiny_speech_spec()
    encoder = tiny_speech_encoder(spec)

    def source(*arguments, made=encoder, **options):
        return EncoderFeatures(made, *arguments, **options).source

    assert source(3) == source(-1), "the last layer of a post-norm model is the last layer"
    assert source(3)["checkpoint_sha256"] == encoder_hash(encoder)
    different = [source(2), source(3, relu=True), source(3, made=tiny_speech_encoder(spec, seed=1))]
    assert all(other != source(3) for other in different)
    pre_norm = tiny_speech_encoder(tiny_speech_spec(layout="large"))
    assert source(3, made=pre_norm) != source(-1, made=pre_norm), "there the final norm makes a difference"
    assert not np.allclose(*(EncoderFeatures(pre_norm, n).extract([noise(4000)])[0] for n in (3, -1)))


def test_hash_follows_weights_and_shape_but_not_dropout():
    spec = tiny_speech_spec()
    encoder = tiny_speech_encoder(spec)
    for change, same in (({"dropout": 0.3}, True), ({"normalize": True}, False)):
        other = tiny_speech_encoder(dataclasses.replace(spec, **change))
        other.load_state_dict(encoder.state_dict())
        assert (encoder_hash(other) == encoder_hash(encoder)) == same


def test_mfccs_behind_the_same_interface():
    extractor = open_extractor("mfcc", Options())
    clips = [noise(8000), noise(100)]
    assert extractor.sample_rate == SAMPLE_RATE
    for clip, features in zip(clips, extractor.extract([extractor.prepare(c) for c in clips]), strict=True):
        assert features.shape == (extractor.n_frames(len(clip)), extractor.dim)
        np.testing.assert_array_equal(features, mfcc_with_deltas(clip))


@pytest.mark.parametrize("option", [{"checkpoint": "x.pt"}, {"layer": 0}, {"relu": True}, {"autocast_bf16": True}])
def test_mfccs_take_no_option_of_an_encoder(option):
    name = next(iter(option)).replace("_", "-")
    with pytest.raises(EmofairError, match=f"--{name} does not go with --features mfcc"):
        open_extractor("mfcc", Options(**option))


def test_the_command_knows_every_kind():
    assert tuple(EXTRACTORS) == KINDS


def test_an_encoder_needs_a_checkpoint():
    with pytest.raises(EmofairError, match="need its checkpoint"):
        open_extractor("encoder", Options())


@pytest.fixture
def frame_classifier(tmp_path):
    """A checkpoint of P-TAPT's first stage as a training saves it."""
    from emofair.testing.clips import tone_corpus
    from emofair.testing.commands import train_here

    corpus = tone_corpus(tmp_path / "tones", {"train": 6, "valid": 3})
    train_here(
        [
            *("--data", corpus, "--task", "speech_emotion", "--arch", "wav2vec_frame_classifier_tiny"),
            *("--criterion", "frame_utterance_emotion", "--optimizer", "adam", "--lr", "1e-3"),
            *("--batch-size", "3", "--max-update", "1", "--num-workers", "0", "--mask-channel-length", "8"),
            *("--disable-validation", "--save-dir", tmp_path, "--cpu"),
        ]
    )
    return tmp_path / "checkpoint_last.pt"


def test_frames_of_the_first_stage_are_recognised_and_are_as_many_as_wav2vec_2_has(frame_classifier):
    extractor = open_extractor("encoder", Options(checkpoint=frame_classifier))
    assert (extractor.dim, extractor.hop, extractor.receptive_field) == (32, 320, 400)
    assert extractor.trained_on["trained_ids"]
    clips = [extractor.prepare(noise(n, n)) for n in (9000, 400, 719, 720, 200)]
    for clip, together in zip(clips, extractor.extract(clips), strict=True):
        (alone,) = extractor.extract([clip])
        assert together.shape == (extractor.n_frames(len(clip)), 32)
        assert extractor.n_frames(len(clip)) == max(1, (len(clip) - 400) // 320 + 1)
        np.testing.assert_allclose(together, alone, atol=2e-5)
        assert alone.min() >= 0
    with pytest.raises(EmofairError, match=r"one kind of frames, without layers\. Leave --layer and --relu out"):
        open_extractor("encoder", Options(checkpoint=frame_classifier, layer=2))


@pytest.mark.parametrize("layer", [None, 0])
def test_wav2vec_of_2019_is_recognised_and_gives_what_fairseqs_gives(layer, tmp_path):
    from fairseq.models.wav2vec.wav2vec import Wav2VecConfig, Wav2VecModel

    path = tiny_wav2vec_checkpoint(tmp_path / "wav2vec.pt")
    extractor = open_extractor("encoder", Options(path, layer))
    assert (extractor.hop, extractor.receptive_field, extractor.dim) == (160, 465, 12)
    clips = [noise(8000), noise(5321, seed=1), noise(300, seed=2)]
    found = extractor.extract(clips)
    assert [len(frames) for frames in found] == [extractor.n_frames(len(clip)) for clip in clips]
    checkpoint = torch.load(path)
    stock = Wav2VecModel(Wav2VecConfig(**{k: v for k, v in checkpoint["cfg"]["model"].items() if k != "_name"}))
    stock.load_state_dict(checkpoint["model"], strict=False)
    stock.eval()
    with torch.no_grad():
        z = stock.feature_extractor(torch.from_numpy(clips[1])[None])
        expected = z if layer == 0 else stock.feature_aggregator(z)
    np.testing.assert_allclose(found[1], expected[0].T.numpy(), atol=1e-5, rtol=1e-4)


def test_wav2vec_of_2019_has_features_and_context_and_no_layers(tmp_path):
    path = tiny_wav2vec_checkpoint(tmp_path / "wav2vec.pt")
    with pytest.raises(EmofairError, match=r"no layer 9\. Give 0 \(features\) or -1 \(context\)"):
        open_extractor("encoder", Options(path, 9))
    context, features = (open_extractor("encoder", Options(path, layer)) for layer in (-1, 0))
    assert context.source != features.source
