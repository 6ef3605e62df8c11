import copy

import pytest
import torch

from emofair.checkpoints import huggingface
from emofair.encoders.speech import SpeechEncoder
from emofair.encoders.speech_spec import SpeechSpec
from emofair.errors import EmofairError
from emofair.testing.speech import LAYOUTS, fairseq_model, tiny_speech_encoder, tiny_speech_spec

KINDS = ("wav2vec2", "hubert", "wavlm")
EVERY = [(kind, layout) for kind in KINDS for layout in LAYOUTS]
OF_FAIRSEQ = [(kind, layout) for kind, layout in EVERY if kind != "wavlm"]
TOLERANCE = {"atol": 2e-5, "rtol": 1e-5}


def encoder_of(kind, layout, **options):
    return tiny_speech_encoder(tiny_speech_spec(kind, layout, **options))


def sound(batch=2, n_samples=6000, seed=1):
    return torch.randn(batch, n_samples, generator=torch.Generator().manual_seed(seed))


def padded(lengths, seed=1):
    """Clips of these lengths with zeros behind, and the lengths as a tensor."""
    wav = sound(len(lengths), max(lengths), seed)
    for clip, length in zip(wav, lengths, strict=True):
        clip[length:] = 0
    return wav, torch.tensor(lengths)


def transformers_model(encoder):
    transformers = pytest.importorskip("transformers")
    spec = encoder.spec
    config = huggingface.config_of(spec)
    name = huggingface.CLASSES[spec.kind]
    settings = transformers.AutoConfig.for_model(**config)
    settings._attn_implementation = "eager"
    model = getattr(transformers, name)(settings)
    state = encoder.state_dict()
    names = huggingface.to_theirs(state, spec.extractor_mode)
    assert names.keys() == state.keys()
    model.load_state_dict(
        {
            names[name]
            .replace("weight_g", "parametrizations.weight.original0")
            .replace("weight_v", "parametrizations.weight.original1"): value
            for name, value in state.items()
        }
    )
    return model.eval()


def every_layer(encoder):
    return [*range(1, encoder.spec.layers + 1), -1]


def fairseq_states(stock, encoder, wav, mask=None):
    """Hidden states of stock fairseq by layer number."""
    states = {}
    for layer in every_layer(encoder):
        if encoder.spec.kind == "hubert":
            states[layer], _ = stock.extract_features(wav, mask, output_layer=None if layer == -1 else layer)
        else:
            states[layer] = stock.extract_features(wav, mask, layer=None if layer == -1 else layer - 1)["x"]
    return states


def transformers_states(model, encoder, wav, n_samples=None):
    """Hidden states of transformers by layer number; those of a pre-norm model's last layer come normalised only."""
    mask = None if n_samples is None else (torch.arange(wav.size(1)) < n_samples[:, None]).long()
    output = model(wav, attention_mask=mask, output_hidden_states=True)
    assert len(output.hidden_states) == encoder.spec.layers + 1
    states = dict(enumerate(output.hidden_states)) | {-1: output.last_hidden_state}
    if encoder.spec.layer_norm_first:
        del states[encoder.spec.layers]
    return states


def assert_same(ours, theirs, padding=None):
    for layer, expected in theirs.items():
        found = ours.hidden[layer]
        if padding is not None:
            found, expected = found[~padding], expected[~padding]
        torch.testing.assert_close(found, expected, **TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("n_samples", [5999, 5800], ids=["even frames", "odd frames"])
@pytest.mark.parametrize(("kind", "layout"), OF_FAIRSEQ)
def test_all_hidden_states_are_those_of_stock_fairseq(kind, layout, n_samples):
    encoder = encoder_of(kind, layout)
    wav = sound(n_samples=n_samples)
    ours = encoder(wav, layers=every_layer(encoder))
    assert ours.padding is None and ours.hidden[-1].shape == (2, encoder.n_frames(n_samples), 32)
    assert_same(ours, fairseq_states(fairseq_model(encoder), encoder, wav))


@torch.no_grad()
@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_all_hidden_states_are_those_of_transformers(kind, layout):
    encoder = encoder_of(kind, layout)
    wav = sound()
    theirs = transformers_states(transformers_model(encoder), encoder, wav)
    assert_same(encoder(wav, layers=theirs), theirs)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_masked_frames_are_those_of_transformers(kind, layout):
    encoder = encoder_of(kind, layout)
    wav = sound()
    masked = torch.rand(2, encoder.n_frames(wav.size(1)), generator=torch.Generator().manual_seed(1)) < 0.4
    expected = transformers_model(encoder)(wav, mask_time_indices=masked).last_hidden_state

    def mask(x, padding):
        return torch.where(masked[..., None], encoder.mask_emb, x)

    found = encoder(wav, mask=mask).hidden[-1]
    torch.testing.assert_close(found, expected, **TOLERANCE)
    assert not torch.allclose(found, encoder(wav).hidden[-1], atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
def test_masked_frames_are_those_of_stock_fairseq(layout):
    encoder = encoder_of("wav2vec2", layout)
    wav = sound()
    masked = torch.rand(2, encoder.n_frames(wav.size(1)), generator=torch.Generator().manual_seed(1)) < 0.4
    stock = fairseq_model(encoder, mask_prob=0.5)
    expected = stock(wav, mask=True, features_only=True, mask_indices=masked)["x"]
    found = encoder(wav, mask=lambda x, padding: torch.where(masked[..., None], encoder.mask_emb, x)).hidden[-1]
    torch.testing.assert_close(found, expected, **TOLERANCE)


LENGTHS = (8000, 5400, 1900, 400)
# Which frames are padding stock fairseq's HuBERT tells by a rule of thumb; of these clips it has the right number.
LENGTHS_OF_HUBERT = (8000, 5328, 2650)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_padded_batches_give_the_hidden_states_of_stock_fairseq(kind):
    encoder = encoder_of(kind, "large")
    wav, n_samples = padded(LENGTHS if kind == "wav2vec2" else LENGTHS_OF_HUBERT)
    ours = encoder(wav, n_samples, layers=every_layer(encoder))
    mask = torch.arange(wav.size(1)) >= n_samples[:, None]
    stock = fairseq_model(encoder)
    assert torch.equal(stock(wav, padding_mask=mask, mask=False, features_only=True)["padding_mask"], ours.padding)
    assert_same(ours, fairseq_states(stock, encoder, wav, mask), ours.padding)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_padded_batches_give_the_hidden_states_of_transformers(kind):
    encoder = encoder_of(kind, "large")
    wav, n_samples = padded(LENGTHS)
    theirs = transformers_states(transformers_model(encoder), encoder, wav, n_samples)
    ours = encoder(wav, n_samples, layers=theirs)
    assert ours.padding.sum(dim=1).tolist() == [0, 8, 19, 23]
    assert_same(ours, theirs, ours.padding)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_group_norm_in_a_padded_batch_gives_what_others_give_for_each_clip_alone(kind):
    """Theirs takes its statistics over the padding too, so that only a clip alone is right."""
    encoder = encoder_of(kind, "base")
    wav, n_samples = padded(LENGTHS)
    ours = encoder(wav, n_samples, layers=every_layer(encoder))
    model = transformers_model(encoder)
    for row, length in enumerate(LENGTHS):
        theirs = [transformers_states(model, encoder, wav[row : row + 1, :length])]
        if kind != "wavlm":
            theirs.append(fairseq_states(fairseq_model(encoder), encoder, wav[row : row + 1, :length]))
        for states in theirs:
            for layer in every_layer(encoder):
                found = ours.hidden[layer][row, : encoder.n_frames(length)]
                torch.testing.assert_close(found, states[layer][0], **TOLERANCE)


def gradients(model, output):
    """Gradients of one number that every frame and channel has a share in."""
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    model.zero_grad()
    (output * weights).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_gradients(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        scale = expected.abs().max().clamp(min=1)
        torch.testing.assert_close(ours[name] / scale, expected / scale, atol=2e-5, rtol=0, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize(("kind", "layout"), OF_FAIRSEQ)
def test_gradients_are_those_of_stock_fairseq(kind, layout):
    encoder = encoder_of(kind, layout)
    stock, wav = fairseq_model(encoder), sound()
    output = stock.extract_features(wav, None)
    theirs = gradients(stock, output["x"] if kind == "wav2vec2" else output[0])
    ours = gradients(encoder, encoder(wav).hidden[-1])
    assert_gradients(ours, theirs)
    # The mask embedding takes no part, nor does any other head; a norm at the end only in pre-norm models.
    assert encoder.state_dict().keys() - ours.keys() == {"mask_emb"}


@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_gradients_are_those_of_transformers(kind, layout):
    encoder = encoder_of(kind, layout)
    model, wav = transformers_model(encoder), sound()
    theirs = gradients(model, model(wav).last_hidden_state)
    names = huggingface.to_ours(theirs, encoder.spec.extractor_mode)
    assert_gradients(gradients(encoder, encoder(wav).hidden[-1]), {names[name]: v for name, v in theirs.items()})


def in_training(encoder):
    """In training mode, with nothing left to chance."""
    for module in encoder.train().modules():
        for name in ("dropout", "p", "layerdrop"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return encoder


@pytest.mark.parametrize("trained", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_padding_changes_nothing(kind, layout, trained):
    encoder = encoder_of(kind, layout)
    if trained:
        in_training(encoder)
    lengths = (7000, 5400, 1900, 400, 150)
    wav, n_samples = padded(lengths)
    with torch.set_grad_enabled(trained):
        together = encoder(wav, n_samples, layers=every_layer(encoder))
        for row, length in enumerate(lengths):
            clip = wav[row : row + 1, :length]
            for alone in (encoder(clip, layers=every_layer(encoder)), encoder(clip, n_samples[row : row + 1])):
                for layer, expected in alone.hidden.items():
                    found = together.hidden[layer][row, : encoder.n_frames(length)]
                    torch.testing.assert_close(found, expected[0], atol=1e-5, rtol=1e-5)


def test_gradients_of_a_padded_batch_are_the_sum_of_those_of_its_clips():
    encoder = encoder_of("wav2vec2", "base")
    lengths = (4000, 2500, 300)
    wav, n_samples = padded(lengths)
    output = encoder(wav, n_samples)
    loss = output.hidden[-1][~output.padding_mask()].pow(2).sum()
    together = torch.autograd.grad(loss, encoder.feature_extractor.parameters())
    alone = [
        torch.autograd.grad(
            encoder(wav[row : row + 1, :length]).hidden[-1].pow(2).sum(), encoder.feature_extractor.parameters()
        )
        for row, length in enumerate(lengths)
    ]
    for found, *parts in zip(together, *alone, strict=True):
        expected = sum(parts)
        torch.testing.assert_close(found, expected, atol=2e-5 * expected.abs().max().item(), rtol=0)


def test_gradients_reach_the_waveform_through_a_frozen_encoder():
    encoder = encoder_of("wav2vec2", "base").requires_grad_(False)
    theirs = fairseq_model(encoder).requires_grad_(False)
    wav = sound().requires_grad_()
    ours = torch.autograd.grad(encoder(wav).hidden[-1].pow(2).sum(), wav)[0]
    expected = torch.autograd.grad(theirs.extract_features(wav, None)["x"].pow(2).sum(), wav)[0]
    torch.testing.assert_close(ours, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


@torch.no_grad()
def test_short_clips_give_one_frame():
    encoder = encoder_of("hubert", "base")
    for length in (1, 9, 399, 400, 719):
        output = encoder(sound(1, length))
        assert output.hidden[-1].shape == (1, 1, 32) and encoder.n_frames(length) == 1
        assert output.hidden[-1].isfinite().all()
    assert encoder.n_frames(720) == 2
    lengths = torch.tensor([1, 399, 400, 720, 16000, 160000])
    assert (
        encoder.n_frames(lengths).tolist() == [encoder.n_frames(n) for n in lengths.tolist()] == [1, 1, 1, 2, 49, 499]
    )


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_copy_is_a_model_of_its_own(layout):
    encoder = encoder_of("wavlm", layout)
    twin = copy.deepcopy(encoder)
    before = encoder(sound()).hidden[-1]
    assert torch.equal(twin(sound()).hidden[-1], before)
    for parameter in twin.parameters():
        parameter.add_(1)
    assert torch.equal(encoder(sound()).hidden[-1], before)


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_activations_change_no_gradient(kind):
    encoder = in_training(encoder_of(kind, "large"))
    wav, n_samples = padded((4000, 2000))
    expected = gradients(encoder, encoder(wav, n_samples).hidden[-1])
    encoder.checkpoint_activations()
    found = gradients(encoder, encoder(wav, n_samples).hidden[-1])
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@torch.no_grad()
def test_weights_are_copied_from_a_state():
    encoder = encoder_of("wavlm", "base")
    state = {name: value.half() for name, value in encoder.state_dict().items()}
    twin = SpeechEncoder.from_state(encoder.spec, state).eval()
    assert twin.state_dict().keys() == state.keys()
    assert all(
        value.dtype == torch.float32 and torch.equal(value, state[n].float()) for n, value in twin.state_dict().items()
    )


@torch.no_grad()
def test_lower_layers_alone_give_the_same():
    encoder = encoder_of("hubert", "large")
    everything = encoder(sound(), layers=(0, 1, 2, 3, -1))
    for layer in (0, 1, -3):
        found = encoder(sound(), layers=(layer,))
        assert torch.equal(found.hidden[layer], everything.hidden[encoder.layer_number(layer)])
    # By its number the last layer comes before the norm at the end of a pre-norm model, as in fairseq.
    assert not torch.equal(everything.hidden[3], everything.hidden[-1])
    with pytest.raises(EmofairError, match="layer 4 of an encoder that has 3"):
        encoder(sound(), layers=(4,))
    with pytest.raises(EmofairError, match="layer -5"):
        encoder(sound(), layers=(-5,))


@torch.no_grad()
def test_a_mask_replaces_what_the_transformer_reads():
    encoder = encoder_of("wav2vec2", "base")
    wav, n_samples = padded((6000, 4000))
    seen = {}

    def mask(x, padding):
        seen["x"], seen["padding"] = x.clone(), padding
        return x.index_put((torch.tensor([0]), torch.tensor([2])), encoder.mask_emb)

    masked = encoder(wav, n_samples, mask=mask)
    assert seen["x"].shape == (2, 18, 32) and torch.equal(seen["padding"], masked.padding)
    plain = encoder(wav, n_samples)
    assert torch.equal(encoder.contextualise(seen["x"], masked.padding).hidden[-1], plain.hidden[-1])
    assert not torch.allclose(masked.hidden[-1][0], plain.hidden[-1][0], atol=1e-3)
    torch.testing.assert_close(masked.hidden[-1][1, :12], plain.hidden[-1][1, :12])


def test_dropped_layers_follow_torchs_generator():
    encoder = in_training(encoder_of("wav2vec2", "base"))
    encoder.encoder.layerdrop = 0.5
    wav = sound()
    outputs = []
    for _ in range(12):
        torch.manual_seed(len(outputs) % 6)
        outputs.append(encoder(wav).hidden[-1].detach())
    assert all(torch.equal(outputs[i], outputs[i + 6]) for i in range(6))
    assert any(not torch.equal(outputs[0], output) for output in outputs)
    encoder.eval()
    assert torch.equal(encoder(wav).hidden[-1], encoder(wav).hidden[-1])


@torch.no_grad()
@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_under_autocast_the_numbers_stay_near(kind, layout):
    encoder = encoder_of(kind, layout)
    wav, n_samples = padded((6000, 3000))
    expected = encoder(wav, n_samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder(wav, n_samples)
    valid = ~expected.padding
    error = (found.hidden[-1].float() - expected.hidden[-1])[valid].pow(2).mean().sqrt()
    assert error < 0.03 * expected.hidden[-1][valid].pow(2).mean().sqrt()


@torch.no_grad()
def test_an_odd_positional_convolution_and_equal_widths():
    encoder = encoder_of("wav2vec2", "base", conv_pos=5, embed_dim=24, heads=3, conv_pos_groups=3)
    assert encoder.post_extract_proj is None
    stock = fairseq_model(encoder)
    torch.testing.assert_close(encoder(sound()).hidden[-1], stock.extract_features(sound(), None)["x"], **TOLERANCE)


def test_a_spec_survives_json():
    spec = tiny_speech_spec("wavlm", "large", num_buckets=64)
    assert SpeechSpec.from_json(spec.to_json()) == spec
    assert (SpeechSpec().hop, SpeechSpec().receptive_field) == (320, 400)
    with pytest.raises(EmofairError, match="not the description of a speech encoder"):
        SpeechSpec.from_json('{"surprise": 1}')
    with pytest.raises(EmofairError, match="3 attention heads do not divide a width of 32"):
        tiny_speech_spec(heads=3)
