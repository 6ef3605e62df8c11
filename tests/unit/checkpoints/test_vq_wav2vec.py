from argparse import Namespace

import numpy as np
import pytest
import torch
from fairseq.models.wav2vec.wav2vec import Wav2VecConfig, Wav2VecModel

from emofair.checkpoints import safe
from emofair.checkpoints.vq_wav2vec import load_vq_wav2vec
from emofair.errors import EmofairError
from emofair.testing.clips import noise_manifests
from emofair.testing.commands import train_here

# The published model's strides with few channels: 10 ms hop, 465 samples of receptive field.
LAYERS = "[(16, 10, 5), (16, 8, 4)] + [(16, 4, 2)] * 3 + [(16, 1, 1)] * 2"
BASE = {
    "conv_feature_layers": LAYERS,
    "conv_aggregator_layers": "[(16, 2, 1), (16, 3, 1)]",
    "vq_type": "kmeans",
    "vq_vars": 12,
    "vq_groups": 2,
    "prediction_steps": 2,
    "num_negatives": 2,
}
KMEANS = {
    "separate groups": {},
    "combined groups": {"combine_groups": True},
    "one group": {"vq_groups": 1, "vq_vars": 7},
    "four groups": {"vq_groups": 4, "combine_groups": True},
    "other options": {
        "activation": "gelu",
        "log_compression": False,
        "skip_connections_feat": True,
        "residual_scale": 0.3,
        "non_affine_group_norm": True,
    },
}
GUMBEL = {
    "separate groups": {},
    "combined groups": {"combine_groups": True},
    "own width": {"vq_dim": 24, "vq_groups": 3},
    "deep": {"vq_depth": 3, "combine_groups": True},
}


def stock_model(options):
    torch.manual_seed(0)
    model = Wav2VecModel(Wav2VecConfig(**options, infonce=True)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def sound(n_samples=8000):
    return torch.randn(2, n_samples, generator=torch.Generator().manual_seed(1))


def codes(model):
    with torch.no_grad():
        return model.vector_quantizer.forward_idx(model.feature_extractor(sound()))


def save(path, model, options, style="cfg"):
    checkpoint = {"model": model.state_dict(), "extra_state": {"best": np.float64(1)}, "last_optimizer_state": None}
    if style == "cfg":
        checkpoint |= {"args": None, "cfg": {"model": {"_name": "wav2vec", **options}, "criterion": {"infonce": True}}}
    else:
        names = {"arch": "audio_cpc", "task": "speech_pretraining", "criterion": "binary_cross_entropy"}
        checkpoint["args"] = Namespace(**names, **options)
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize("style", ["cfg", "args"])
@pytest.mark.parametrize("quantizer", [*KMEANS, *(f"gumbel, {name}" for name in GUMBEL)])
def test_codes_are_those_of_stock_fairseq(quantizer, style, tmp_path):
    if quantizer in KMEANS:
        options = BASE | KMEANS[quantizer]
    else:
        options = BASE | {"vq_type": "gumbel"} | GUMBEL[quantizer.removeprefix("gumbel, ")]
    model = stock_model(options)
    loaded = load_vq_wav2vec(save(tmp_path / "model.pt", model, options, style))
    features, indices = codes(loaded)
    expected_features, expected = codes(model)
    assert torch.equal(indices, expected)
    assert torch.equal(features, expected_features)
    assert indices.shape == (2, 48, options["vq_groups"])
    assert len(indices.unique()) > 1
    assert not loaded.training


@pytest.mark.parametrize("vq_type", ["kmeans", "gumbel"])
def test_old_files_without_the_later_options_give_the_same_codes(vq_type, tmp_path):
    """Their arguments lack combine_groups, whose default would be wrong, and much else."""
    options = BASE | {"combine_groups": True, "vq_type": vq_type}
    model = stock_model(options)
    kept = {"conv_feature_layers": LAYERS, "vq_groups": 2, "log_compression": True}
    loaded = load_vq_wav2vec(save(tmp_path / "model.pt", model, kept, "args"))
    assert torch.equal(codes(loaded)[1], codes(model)[1])
    assert loaded.vector_quantizer.combine_groups


def test_the_rest_of_the_model_is_left_out(tmp_path):
    model = stock_model(BASE)
    loaded = load_vq_wav2vec(save(tmp_path / "model.pt", model, BASE))
    assert {name.split(".")[0] for name in loaded.state_dict()} == {"feature_extractor", "vector_quantizer"}
    assert loaded.layers[:2] == [(16, 10, 5), (16, 8, 4)]
    assert len(loaded.layers) == 7


def test_half_precision_files_become_fp32(tmp_path):
    loaded = load_vq_wav2vec(save(tmp_path / "model.pt", stock_model(BASE).half(), BASE))
    assert all(value.dtype == torch.float32 for value in loaded.state_dict().values())
    codes(loaded)


@pytest.mark.parametrize("name", ["conv_feature_layers", "conv_aggregator_layers", "vq_temp"])
def test_options_are_never_evaluated(name, tmp_path):
    """fairseq evaluates layer lists as Python: a file that only holds plain data would run code there."""
    marker = tmp_path / "it_ran"
    code = f"[open({str(marker)!r}, 'w').close()] and {LAYERS}"
    options = BASE | {name: code}
    path = save(tmp_path / "model.pt", stock_model(BASE), options)
    if name == "conv_feature_layers":
        with pytest.raises(EmofairError, match="not a list of convolution layers"):
            load_vq_wav2vec(path)
    else:
        load_vq_wav2vec(path)
    assert not marker.exists()
    if name != "vq_temp":
        Wav2VecModel(Wav2VecConfig(**options, infonce=True))
        assert marker.exists(), "stock fairseq would not have run it either"


def change(state, name, value):
    return {k: v for k, v in (state | {name: value}).items() if v is not None}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("vector_quantizer.embedding", None, "without vector quantiser.*k-means"),
        ("vector_quantizer.projection.1.bias", None, r"projection\.1\.bias"),
        ("vector_quantizer.projection.0.weight", None, r"projection\.0\.weight"),
        ("vector_quantizer.embedding", torch.zeros(12, 2, 5), "codes of shape .*16 channels"),
        ("vector_quantizer.surprise", torch.zeros(1), "surprise"),
        ("feature_extractor.conv_layers.6.0.weight", None, r"describe convolutions .* its weights"),
        ("feature_extractor.conv_layers.0.0.weight", torch.zeros(16, 1, 9), r"\(16, 10\).*\(16, 9\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(name, value, message, tmp_path):
    checkpoint = safe.load(save(tmp_path / "model.pt", stock_model(BASE), BASE))
    checkpoint["model"] = change(dict(checkpoint["model"]), name, value)
    torch.save(checkpoint, tmp_path / "model.pt")
    with pytest.raises(EmofairError, match=message) as caught:
        load_vq_wav2vec(tmp_path / "model.pt")
    assert "model.pt" in str(caught.value)


def test_an_unknown_activation_is_refused(tmp_path):
    path = save(tmp_path / "model.pt", stock_model(BASE), BASE | {"activation": "swish"})
    with pytest.raises(EmofairError, match="swish"):
        load_vq_wav2vec(path)


@pytest.mark.parametrize("vq_type", ["kmeans", "gumbel"])
def test_a_model_that_fairseq_trains_today_is_loaded(vq_type, tmp_path):
    from fairseq.checkpoint_utils import load_model_ensemble_and_task

    noise_manifests(tmp_path)
    command = [str(tmp_path), "--conv-feature-layers", LAYERS, "--conv-aggregator-layers", "[(16, 2, 1)]"]
    command += f"""--task audio_pretraining --arch wav2vec --criterion wav2vec --vq-type {vq_type} --vq-vars 9
        --vq-groups 2 --combine-groups --prediction-steps 2 --num-negatives 2 --optimizer adam --lr 1e-4
        --batch-size 2 --max-update 2 --cpu --required-batch-size-multiple 1 --min-sample-size 1000
        --max-sample-size 6000 --save-dir {tmp_path / "save"} --log-format none --num-workers 0 --infonce""".split()
    train_here(command)
    path = tmp_path / "save" / "checkpoint_best.pt"
    safe.register()
    (stock,), _, _ = load_model_ensemble_and_task([str(path)])
    assert torch.equal(codes(load_vq_wav2vec(path))[1], codes(stock.eval())[1])
