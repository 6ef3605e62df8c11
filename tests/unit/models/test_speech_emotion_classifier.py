"""The waveform classifier: options, freezing, masks, windows; padding changes nothing."""

from __future__ import annotations

import pytest
import torch

from emofair.errors import EmofairError
from emofair.models.speech_emotion_classifier import (
    ARCHITECTURES,
    SpeechEmotionClassifier,
    SpeechEmotionClassifierConfig,
)
from emofair.modules.pooling import POOLINGS
from emofair.testing.speech import model_of, padded_noise

CLASSES = ("angry", "neutral", "sad")


def make(arch="speech_emotion_tiny", **options):
    return model_of(SpeechEmotionClassifier, SpeechEmotionClassifierConfig, arch, CLASSES, **options)


@pytest.mark.parametrize("layer", ["-1", "1", "weighted"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_changes_nothing(pooling, layer):
    model = make(pooling=pooling, layer=layer, attention_init="xavier").eval()
    wav, n_samples = padded_noise(8000, 4000, 500, 100)
    logits, extra = model(wav, n_samples)
    assert logits.shape == (4, 3)
    for row, n in enumerate(n_samples.tolist()):
        torch.testing.assert_close(model(wav[row : row + 1, :n])[0][0], logits[row], atol=1e-5, rtol=1e-4)
    assert extra["pooled"].isfinite().all()


def test_architectures_set_what_the_user_leaves_open():
    assert make("wav2vec2_ser").cfg.pooling == "mean"
    assert make("wav2vec2_ser").cfg.relu_features
    assert make("wavlm_ser").spec.kind == "wavlm"
    hubert = make("hubert_ser", head_dropout=0.0)
    assert (hubert.cfg.pooling, hubert.cfg.head_dropout, hubert.spec.kind) == ("attention", 0.0, "hubert")
    assert make("wav2vec2_ser", pooling="max", relu_features=False).cfg.relu_features is False
    assert all(make(arch)(*padded_noise(4000))[0].isfinite().all() for arch in ARCHITECTURES)


def trained(model):
    wav, n_samples = padded_noise(16000, 9000)
    model.train()
    model(wav, n_samples)[0].pow(2).sum().backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_what_is_frozen_gets_no_gradient_and_the_rest_does():
    front = ("encoder.feature_extractor.", "encoder.layer_norm.", "encoder.post_extract_proj.")
    model = make()
    assert trained(model) == {n for n, _ in model.named_parameters() if not n.startswith(front)}
    assert any(n.startswith(front) for n in trained(make(train_cnn=True)))
    assert "encoder.layer_norm.weight" in trained(make(train_projection=True))
    assert "encoder.mask_emb" not in trained(make(freeze_mask_emb=True))
    lowest = trained(make(freeze_layers=1))
    assert not any(n.startswith(("encoder.encoder.layers.0.", "encoder.encoder.pos_conv")) for n in lowest)
    assert any(n.startswith("encoder.encoder.layers.1.") for n in lowest)
    assert trained(make(freeze_encoder=True)) == {"classifier.weight", "classifier.bias"}
    assert not any(n.startswith("encoder.encoder.layers.1.") for n in trained(make(layer="1")))
    assert "layer_weights" in trained(make(layer="weighted"))
    assert {"hidden.weight", "classifier.weight"} <= trained(make(head_hidden=8))


@pytest.mark.parametrize("options", [{}, {"layer": "1"}, {"freeze_encoder": True}, {"mask_time_prob": 0.0}])
def test_no_trainable_parameter_is_idle(options):
    model = make(**options)
    assert trained(model) == {name for name, p in model.named_parameters() if p.requires_grad}


def test_the_encoder_rests_for_the_first_updates():
    model = make(freeze_updates=2)
    model.set_num_updates(1)
    assert trained(model) == {"classifier.weight", "classifier.bias"}
    model.zero_grad()
    model.set_num_updates(2)
    assert any(n.startswith("encoder.encoder.") for n in trained(model))


def test_masks_are_drawn_in_training_alone():
    quiet = {"encoder_dropout": 0.0, "attention_dropout": 0.0, "dropout_input": 0.0}
    wav, n_samples = padded_noise(16000, 9000)

    def twice(model):
        return torch.equal(model(wav, n_samples)[0], model(wav, n_samples)[0])

    assert not twice(make(**quiet).train())
    assert twice(make(**quiet).eval())
    assert twice(make(**quiet, mask_time_prob=0.0, mask_channel_prob=0.0).train())
    assert twice(make(freeze_encoder=True).train())


@pytest.mark.parametrize("mode", ["per_row", "hf"])
def test_clips_without_room_for_their_spans_are_not_masked(mode):
    model = make(mask_mode=mode, mask_time_length=10, mask_time_prob=0.5, mask_channel_prob=0.0)
    x = torch.randn(3, 60, model.encoder.mask_emb.numel())
    padding = torch.arange(60)[None] >= torch.tensor([[60], [20], [19]])
    changed = (model._mask(x, padding) != x).any(dim=2).sum(dim=1).tolist()
    assert changed[0] >= 10 and changed[2] == 0
    assert model._mask(x[:, :19], None).equal(x[:, :19])
    assert changed[1] > 0 or mode == "hf"  # there its spans may fall on the padding


@pytest.mark.parametrize("mode", ["per_row", "hf"])
def test_training_on_clips_of_a_frame_or_two_never_fails(mode):
    model = make(mask_mode=mode).train()
    logits, _ = model(*padded_noise(100, 400, 720, 1000))
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_windows_of_an_item_are_averaged():
    model = make().eval()
    wav, n_samples = padded_noise(4000, 4000, 3000)
    whole = model(wav, n_samples)[0]
    logits, _ = model(wav, n_samples, item=torch.tensor([0, 0, 1]), n_items=2)
    torch.testing.assert_close(logits, torch.stack([whole[:2].mean(dim=0), whole[2]]))


def test_recomputed_activations_change_no_gradient():
    def gradients(on):
        model = make(checkpoint_activations=on, encoder_dropout=0.0, mask_time_prob=0.0, mask_channel_prob=0.0)
        model.train()
        torch.manual_seed(3)
        model(*padded_noise(8000, 5000))[0].sum().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, recomputed = gradients(False), gradients(True)
    assert plain.keys() == recomputed.keys()
    for name, grad in plain.items():
        torch.testing.assert_close(grad, recomputed[name])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"layer": "3"}, "layer 3 of an encoder that has 2"),
        ({"layer": "top"}, "--layer top is no layer"),
        ({"pooling": "sum"}, "--pooling sum"),
        ({"ssl_random": "huge"}, "--ssl-random huge: unknown size"),
        ({"ssl_random": None}, "no pretrained encoder is given"),
        ({"w2v_path": "x.pt"}, "exclude each other"),
        ({"freeze_layers": 3}, "--freeze-layers 3"),
        ({"head_dropout": 1.5}, "--head-dropout 1.5"),
        ({"layerdrop": 2.0}, "layerdrop"),
    ],
)
def test_bad_options_are_told(options, told):
    with pytest.raises(EmofairError, match=told):
        make("wav2vec2_ser", **options)
