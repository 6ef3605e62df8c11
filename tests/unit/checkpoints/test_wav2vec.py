from argparse import Namespace

import pytest
import torch
from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.models.wav2vec.wav2vec import Wav2VecConfig, Wav2VecModel
from omegaconf import OmegaConf

from emofair.checkpoints import safe
from emofair.checkpoints.wav2vec import holds_wav2vec, load_wav2vec
from emofair.encoders.wav2vec import Wav2Vec
from emofair.encoders.wav2vec_spec import CONV_LAYERS
from emofair.errors import EmofairError
from emofair.testing.clips import noise_manifests
from emofair.testing.commands import train_here

# The published kernels and strides with few channels.
LAYERS = [(12, kernel, stride) for _, kernel, stride in CONV_LAYERS]
BASE = {
    "conv_feature_layers": str(LAYERS),
    "conv_aggregator_layers": "[(12, 2, 1), (12, 3, 1), (12, 4, 1)]",
    "prediction_steps": 3,
    "num_negatives": 2,
}
MODELS = {
    "wav2vec": BASE,
    "other options": BASE | {"activation": "gelu", "skip_connections_agg": False, "agg_zero_pad": True, "dropout": 0.1},
    "k-means": BASE | {"vq_type": "kmeans", "vq_vars": 7, "combine_groups": True},
    "gumbel": BASE | {"vq_type": "gumbel", "vq_vars": 7},
    "projected": BASE | {"project_features": "new"},
}
WAV = torch.randn(2, 4000, generator=torch.Generator().manual_seed(1))


def stock_model(options=BASE):
    torch.manual_seed(0)
    model = Wav2VecModel(Wav2VecConfig(**options, infonce=True)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def checkpoint_of(options=BASE, form="cfg"):
    """As fairseq saved it: today, and when the architecture was called audio_cpc."""
    checkpoint = {"model": stock_model(options).state_dict(), "optimizer_history": [], "extra_state": {"epoch": 1}}
    if form == "args":
        names = {"arch": "audio_cpc", "task": "speech_pretraining", "criterion": "binary_cross_entropy"}
        return checkpoint | {"args": Namespace(**names, sample_rate=16000, data="/gone", **options)}
    cfg = {"model": {"_name": "wav2vec", **options}, "task": {"_name": "audio_pretraining", "normalize": False}}
    cfg["criterion"] = {"_name": "wav2vec", "infonce": True}
    return checkpoint | {"args": None, "cfg": OmegaConf.create(cfg) if form == "omegaconf" else cfg}


def saved(path, checkpoint):
    torch.save(checkpoint, path)
    return path


@torch.no_grad()
def assert_same(loaded, stock):
    model = Wav2Vec.from_state(loaded.spec, loaded.state).eval()
    z = stock.feature_extractor(WAV)
    q = z if stock.vector_quantizer is None else stock.vector_quantizer(z)["x"]
    ours = model(WAV)
    torch.testing.assert_close(ours.z, z.transpose(1, 2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.c, stock.feature_aggregator(q).transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["args", "cfg", "omegaconf"])
@pytest.mark.parametrize("name", MODELS)
def test_files_of_every_age_give_what_stock_fairseq_gives(name, form, tmp_path):
    options = MODELS[name]
    loaded = load_wav2vec(saved(tmp_path / "wav2vec_large.pt", checkpoint_of(options, form)))
    assert_same(loaded, stock_model(options))
    assert loaded.path == tmp_path / "wav2vec_large.pt"
    assert loaded.spec.dropout == options.get("dropout", 0.0) and not loaded.spec.normalize
    assert not any(name.startswith(("wav2vec_predictions", "project_features")) for name in loaded.state)


@pytest.mark.parametrize("name", ["wav2vec", "k-means"])
def test_old_files_without_most_options(name, tmp_path):
    checkpoint = checkpoint_of(MODELS[name], "args")
    kept = {name: BASE[name] for name in ("conv_feature_layers", "conv_aggregator_layers")}
    checkpoint["args"] = Namespace(arch="audio_cpc", surprise=1, **kept)
    assert_same(load_wav2vec(saved(tmp_path / "old.pt", checkpoint)), stock_model(MODELS[name]))


def test_a_file_without_any_options_has_the_published_strides(tmp_path):
    checkpoint = checkpoint_of()
    del checkpoint["args"], checkpoint["cfg"]
    loaded = load_wav2vec(saved(tmp_path / "bare.pt", checkpoint))
    assert loaded.spec.conv_layers == tuple(LAYERS)
    assert_same(loaded, stock_model())
    checkpoint["model"]["feature_extractor.conv_layers.1.0.weight"] = torch.zeros(12, 12, 9)
    with pytest.raises(EmofairError, match=r"does not tell the strides .* kernel 9"):
        load_wav2vec(saved(tmp_path / "bare.pt", checkpoint))


def test_what_was_trained_here(tmp_path):
    loaded = load_wav2vec(saved(tmp_path / "wav2vec.pt", checkpoint_of()))
    weights = {f"encoder.{name}": value for name, value in loaded.state.items()} | {"head.weight": torch.zeros(3)}
    cfg = {"model": {"_name": "wav2vec_frame_classifier", "encoder_ssl_json": loaded.spec.to_json()}}
    again = load_wav2vec(saved(tmp_path / "ours.pt", {"args": None, "cfg": cfg, "model": weights}))
    assert again.spec == loaded.spec
    assert again.state.keys() == loaded.state.keys()
    cfg["model"]["encoder_ssl_json"] = "{}{"
    with pytest.raises(EmofairError, match=r"ours\.pt: not the description of a wav2vec"):
        load_wav2vec(saved(tmp_path / "ours.pt", {"args": None, "cfg": cfg, "model": weights}))


def lightning_checkpoint():
    """As the original FT-w2v2-ser code saves its first stage."""
    state = {f"wav2vec.wav2vec.{name}": value for name, value in stock_model().state_dict().items()}
    state |= {"wav2vec.conv.weight": torch.zeros(12, 12, 4), "wav2vec.conv.bias": torch.zeros(12)}
    state |= {"linearheads.0.weight": torch.zeros(4, 12), "rnn.weight_ih_l0": torch.zeros(8, 12)}
    return {"epoch": 3, "global_step": 9, "pytorch-lightning_version": "1.5.0", "state_dict": state, "callbacks": {}}


def test_the_first_stage_of_the_original_code(tmp_path, caplog):
    checkpoint = lightning_checkpoint()
    path = saved(tmp_path / "stage1.ckpt", checkpoint)
    loaded = load_wav2vec(path)
    assert_same(loaded, stock_model())
    assert loaded.spec.conv_layers == tuple(LAYERS) and loaded.source == "FT-w2v2-ser"
    assert not any(name.startswith("wav2vec_predictions") for name in loaded.state)
    assert caplog.messages == [f"{path}: its wav2vec is used, its 4 other weights (a convolution, heads) are not"]
    del checkpoint["state_dict"]["wav2vec.wav2vec.feature_aggregator.conv_layers.1.1.bias"]
    with pytest.raises(
        EmofairError, match=r"stage1\.ckpt: .*lacks weights feature_aggregator\.conv_layers\.1\.1\.bias"
    ):
        load_wav2vec(saved(path, checkpoint))


def test_another_lightning_checkpoint_is_no_wav2vec(tmp_path):
    checkpoint = {"state_dict": {"wav2vec2.wav2vec2.masked_spec_embed": torch.zeros(4)}}
    with pytest.raises(EmofairError, match=r"later\.ckpt: holds no weights under 'model'"):
        load_wav2vec(saved(tmp_path / "later.ckpt", checkpoint))


def test_what_is_a_wav2vec_is_seen_by_its_names():
    assert holds_wav2vec(checkpoint_of()) and holds_wav2vec(lightning_checkpoint())
    for other in ({}, {"model": {"encoder.x": 1}}, {"model": None}, {"state_dict": {"wav2vec2.wav2vec2.x": 1}}):
        assert not holds_wav2vec(other)


def test_options_are_never_evaluated(tmp_path):
    """fairseq evaluates layer lists as Python."""
    marker = tmp_path / "it_ran"
    for name in ("conv_feature_layers", "conv_aggregator_layers"):
        code = f"[open({str(marker)!r}, 'w').close()] and {BASE[name]}"
        checkpoint = checkpoint_of()
        checkpoint["cfg"]["model"][name] = code
        with pytest.raises(EmofairError, match=r"model\.pt: not a list of convolution layers"):
            load_wav2vec(saved(tmp_path / "model.pt", checkpoint))
        assert not marker.exists()


def change(name, *shape):
    """Put zeros of a shape under a name, or take the name away."""

    def apply(checkpoint):
        if shape:
            checkpoint["model"][name] = torch.zeros(*shape)
        else:
            del checkpoint["model"][name]

    return apply


def option(**options):
    return lambda checkpoint: checkpoint["cfg"]["model"].update(options)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            change("feature_aggregator.conv_layers.2.3.bias"),
            r"lacks weights feature_aggregator\.conv_layers\.2\.3\.bias",
        ),
        (change("surprise", 2), "has the unknown weights surprise"),
        (change("feature_aggregator.conv_layers.0.1.bias", 5), r"misshapen weights .*conv_layers\.0\.1\.bias \[5\]"),
        (change("feature_aggregator.conv_layers.0.1.weight", 12, 12, 3), r"\(12, 2\).* its weights \[\(12, 3\)"),
        (change("feature_extractor.conv_layers.6.0.weight"), "its options describe convolutions"),
        (change("feature_aggregator.1.weight_ih_l0", 2), "has a GRU for a context network"),
        (option(activation="swish"), "not 'swish'"),
        (option(residual_scale="half"), "half"),
        (option(log_compression="yes"), "log_compression of a wav2vec is 'yes'"),
        (option(conv_aggregator_layers="[(12, 2, 1), (12, 3, 1), (12, 4, 2)]"), "strides of 1"),
        (option(no_conv_bias=True), r"unknown weights feature_aggregator\.conv_layers\.0\.1\.bias"),
        (lambda c: c.update(model={"feature_extractor.x": torch.zeros(1)}), "is not a wav2vec of 2019"),
        (lambda c: c.update(model={"w": 1}), "holds no weights"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(spoil, said, tmp_path):
    checkpoint = checkpoint_of()
    spoil(checkpoint)
    with pytest.raises(EmofairError, match=said) as caught:
        load_wav2vec(saved(tmp_path / "model.pt", checkpoint))
    assert "model.pt" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change("vector_quantizer.embedding", 7, 3, 5), "codes of shape"),
        (change("vector_quantizer.projection.0.weight"), "lacks the weight vector_quantizer.projection.0.weight"),
        (change("vector_quantizer.projection.0.weight", 3), "has no usable quantiser"),
    ],
)
def test_a_quantiser_that_does_not_fit(spoil, said, tmp_path):
    checkpoint = checkpoint_of(MODELS["k-means"])
    spoil(checkpoint)
    with pytest.raises(EmofairError, match=said):
        load_wav2vec(saved(tmp_path / "model.pt", checkpoint))


def test_broken_files(tmp_path):
    path = saved(tmp_path / "model.pt", checkpoint_of())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(EmofairError, match="is truncated"):
        load_wav2vec(path)
    with pytest.raises(EmofairError, match="no such file"):
        load_wav2vec(tmp_path / "gone.pt")


def test_a_model_that_fairseq_trains_today_is_loaded(tmp_path):
    noise_manifests(tmp_path)
    command = [str(tmp_path), "--conv-feature-layers", str(LAYERS), "--conv-aggregator-layers", "[(12, 2, 1)]"]
    command += f"""--task audio_pretraining --arch wav2vec --criterion wav2vec --prediction-steps 2 --num-negatives 2
        --optimizer adam --lr 1e-4 --batch-size 2 --max-update 1 --cpu --required-batch-size-multiple 1
        --min-sample-size 1000 --max-sample-size 6000 --save-dir {tmp_path / "save"} --log-format none --num-workers 0
        --infonce""".split()
    train_here(command)
    loaded = load_wav2vec(tmp_path / "save" / "checkpoint_last.pt")
    safe.register()
    (stock,), _, _ = load_model_ensemble_and_task([str(loaded.path)])
    assert_same(loaded, stock.eval())
