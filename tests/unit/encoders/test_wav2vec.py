import copy
import dataclasses

import pytest
import torch
from fairseq.models.wav2vec.wav2vec import Wav2VecConfig, Wav2VecModel

from emofair.encoders.wav2vec import Wav2Vec
from emofair.encoders.wav2vec_spec import QuantizerSpec, Wav2VecSpec
from emofair.errors import EmofairError
from emofair.testing.speech import shake

LAYERS = ((16, 10, 5), (16, 8, 4), *[(16, 4, 2)] * 3, *[(16, 1, 1)] * 2)
SPEC = Wav2VecSpec(conv_layers=LAYERS, aggregator_layers=tuple((16, k, 1) for k in (2, 3, 4, 5)))
CODES = QuantizerSpec("kmeans", vars=9, groups=2, dim=16)
SPECS = {
    "published": SPEC,
    "wider context": dataclasses.replace(SPEC, aggregator_layers=((24, 2, 1), (24, 3, 1), (12, 4, 1))),
    "other options": dataclasses.replace(
        SPEC, activation="gelu", log_compression=False, skip_features=True, residual_scale=0.3, zero_pad=True
    ),
    "plain": dataclasses.replace(SPEC, skip_context=False, affine_norms=False, context_bias=False),
    "kmeans": dataclasses.replace(SPEC, quantizer=CODES),
    "kmeans, combined": dataclasses.replace(SPEC, quantizer=dataclasses.replace(CODES, combined=True)),
    "gumbel": dataclasses.replace(SPEC, quantizer=dataclasses.replace(CODES, kind="gumbel", depth=2)),
}


def wav2vec_of(spec=SPEC):
    torch.manual_seed(0)
    model = Wav2Vec(spec)
    shake(model)
    return model.eval()


def stock_of(model):
    """fairseq's own model with the weights of ``model``."""
    spec, codes = model.spec, model.spec.quantizer
    options = {
        "conv_feature_layers": str(list(spec.conv_layers)),
        "conv_aggregator_layers": str(list(spec.aggregator_layers)),
        "activation": spec.activation,
        "log_compression": spec.log_compression,
        "skip_connections_feat": spec.skip_features,
        "skip_connections_agg": spec.skip_context,
        "residual_scale": spec.residual_scale,
        "non_affine_group_norm": not spec.affine_norms,
        "no_conv_bias": not spec.context_bias,
        "agg_zero_pad": spec.zero_pad,
    }
    if codes is not None:
        options |= {"vq_type": codes.kind, "vq_vars": codes.vars, "vq_groups": codes.groups, "vq_depth": codes.depth}
        options |= {"combine_groups": codes.combined}
    stock = Wav2VecModel(Wav2VecConfig(**options, infonce=True)).eval()
    wanting, unknown = stock.load_state_dict(model.state_dict(), strict=False)
    assert not unknown and all(name.startswith("wav2vec_predictions.") for name in wanting)
    return stock


def sound(batch=2, n_samples=5000):
    return torch.randn(batch, n_samples, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_features_and_context_are_those_of_stock_fairseq(spec):
    model = wav2vec_of(spec)
    stock = stock_of(model)
    z = stock.feature_extractor(sound())
    q = z if stock.vector_quantizer is None else stock.vector_quantizer(z)["x"]
    ours = model(sound())
    assert ours.padding is None
    torch.testing.assert_close(ours.z, z.transpose(1, 2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.c, stock.feature_aggregator(q).transpose(1, 2), atol=1e-5, rtol=1e-5)
    assert ours.z.shape[:2] == ours.c.shape[:2] == (2, model.n_frames(5000))
    assert ours.z.shape[2] == spec.dim and ours.c.shape[2] == spec.context_dim
    if spec.quantizer is not None:
        assert len(q.transpose(1, 2).flatten(0, 1).unique(dim=0)) > 1


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_padding_changes_nothing(spec, training):
    model = wav2vec_of(spec).train(training)
    lengths = (5000, 3333, 900, 465, 200)
    wav = sound(len(lengths))
    for clip, length in zip(wav, lengths, strict=True):
        clip[length:] = 0
    together = model(wav, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        n_frames = model.n_frames(length)
        assert together.padding[row].logical_not().sum() == n_frames
        for alone in (model(wav[row : row + 1, :length]), model(wav[row : row + 1], torch.tensor([length]))):
            torch.testing.assert_close(together.z[row, :n_frames], alone.z[0, :n_frames], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(together.c[row, :n_frames], alone.c[0, :n_frames], atol=1e-5, rtol=1e-5)


def test_the_context_network_trains_on_frozen_features():
    model = wav2vec_of()
    model.feature_extractor.requires_grad_(False)
    stock = stock_of(model)
    model(sound()).c.square().sum().backward()
    stock.feature_aggregator(stock.feature_extractor(sound()).detach()).square().sum().backward()
    theirs = dict(stock.named_parameters())
    for name, parameter in model.named_parameters():
        if name.startswith("feature_extractor."):
            assert parameter.grad is None
        else:
            expected = theirs[name].grad
            torch.testing.assert_close(parameter.grad, expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-4)


def test_frames_are_ten_milliseconds_apart():
    spec = Wav2VecSpec()
    assert (spec.hop, spec.receptive_field, spec.dim, spec.context_dim) == (160, 465, 512, 512)
    model = wav2vec_of()
    assert [model.n_frames(n) for n in (1, 464, 465, 624, 625, 16000)] == [1, 1, 1, 1, 2, 98]
    assert model.n_frames(torch.tensor([1, 625, 16000])).tolist() == [1, 2, 98]


@torch.no_grad()
def test_a_copy_is_a_model_of_its_own():
    model = wav2vec_of(SPECS["kmeans"])
    twin = Wav2Vec.from_state(model.spec, copy.deepcopy(model).half().state_dict()).eval()
    torch.testing.assert_close(twin(sound()).z, model(sound()).z, atol=0.05, rtol=0.05)
    assert {p.dtype for p in twin.parameters()} == {torch.float32}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_spec_survives_json(spec):
    assert Wav2VecSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"activation": "swish"}, "not 'swish'"),
        ({"log_compression": 1}, "log_compression of a wav2vec is 1, expected true or false"),
        ({"residual_scale": -1}, "residual_scale"),
        ({"dropout": 1}, "dropout"),
        ({"aggregator_layers": ((16, 2, 2),)}, "strides of 1"),
        ({"conv_layers": ((16, 2),)}, "not a list of convolution layers"),
        ({"sample_rate": "16k"}, "sample_rate"),
    ],
)
def test_a_spec_of_wrong_values_is_refused(fields, said):
    with pytest.raises(EmofairError, match=said):
        Wav2VecSpec(**fields)
    for text in ("[]", "{", '{"surprise": 1}', '{"quantizer": {"kind": "kmeans"}}'):
        with pytest.raises(EmofairError, match="not the description of a wav2vec"):
            Wav2VecSpec.from_json(text)
    with pytest.raises(EmofairError, match="3 groups of 9 codes, 16 wide"):
        QuantizerSpec("kmeans", 9, 3, 16)
    with pytest.raises(EmofairError, match="not 'lattice'"):
        QuantizerSpec("lattice", 9, 2, 16)
