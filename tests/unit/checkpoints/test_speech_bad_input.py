"""Speech checkpoints that are broken, foreign or hostile: one clear line each."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from emofair.checkpoints.speech import load_speech_encoder
from emofair.errors import EmofairError
from emofair.testing.speech import fairseq_checkpoint, tiny_speech_checkpoint, tiny_speech_encoder


def saved(path, checkpoint):
    torch.save(checkpoint, path)
    return path


def without(name):
    return lambda checkpoint: checkpoint["model"].pop(name)


def with_weight(name, *shape):
    return lambda checkpoint: checkpoint["model"].update({name: torch.zeros(*shape)})


def with_option(part="model", **options):
    return lambda checkpoint: checkpoint["cfg"][part].update(options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("encoder.layers.1.fc1.weight"), r"lacks weights encoder\.layers\.1\.fc1\.weight$"),
        (without("mask_emb"), "lacks weights mask_emb"),
        (with_weight("surprise", 2), "has the unknown weights surprise"),
        (with_weight("encoder.layers.9.fc1.bias", 2), r"unknown weights encoder\.layers\.9\.fc1\.bias"),
        (lambda c: c["model"]["mask_emb"].fill_(torch.nan), "its weights mask_emb are NaN or infinite"),
        (with_weight("layer_norm.bias", 3), r"misshapen weights layer_norm\.bias \[3\] instead of \[24\]"),
        (with_option(encoder_layers=2), r"unknown weights encoder\.layers\.2\.fc1\.bias, .* and 4 more"),
        (with_option(conv_feature_layers="[(24, 10, 5)] * 7"), r"describes convolutions .*\(24, 10\).*\(24, 3\)"),
        (with_option(conv_feature_layers="__import__('os')"), "not a list of convolution layers"),
        (with_option(encoder_embed_dim="wide"), "needs a whole number.*embed_dim, not 'wide'"),
        (with_option(encoder_layers=10**9), "needs a whole number from 1"),
        (with_option(encoder_attention_heads=5), "5 attention heads do not divide a width of 32"),
        (with_option(extractor_mode="batch"), "extractor_mode .* is 'batch'"),
        (with_option(pos_conv_depth=5), "pos_conv_depth is 5; only 1 is known"),
        (with_option(layer_type="conformer"), "layer_type is 'conformer'"),
        (with_option(quantize_input=True), "quantize_input is True"),
        (with_option("task", sample_rate="fast"), "sample_rate, not 'fast'"),
        (with_weight("encoder.pos_conv.0.0.weight", 2), "several positional convolutions, such as data2vec"),
        (with_weight("encoder.layers.0.conv_module.x", 2), "is a Conformer, not a wav2vec 2.0"),
        (with_weight("feature_aggregator.conv_layers.0.1.weight", 2), "is a wav2vec of 2019 or a vq-wav2vec"),
        (with_weight("encoder.sentence_encoder.embed_tokens.weight", 2), "is a RoBERTa"),
        (lambda c: c.update(cfg=None), "neither 'args' nor 'cfg'"),
        (lambda c: c.update(model={"w": torch.zeros(1)}), r"holds no wav2vec 2.0, HuBERT or WavLM: .*\(w, \.\.\.\)"),
        (lambda c: c.update(model={}), "holds no weights under 'model'"),
        (lambda c: c.pop("model"), "in a known form; it has args, cfg"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(change, said, tmp_path):
    checkpoint = fairseq_checkpoint(tiny_speech_encoder())
    change(checkpoint)
    assert_refused(saved(tmp_path / "model.pt", checkpoint), said)


def assert_refused(path, said):
    with pytest.raises(EmofairError, match=said) as caught:
        load_speech_encoder(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def change_json(folder, name="config.json", **values):
    config = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(config | values))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json: is not JSON"),
        (lambda f: (f / "config.json").write_text("[1]"), "holds a list, not a JSON object"),
        (lambda f: (f / "model.safetensors").unlink(), "neither model.safetensors nor pytorch_model.bin"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "is not a safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "is empty"),
        (lambda f: (f / "model.safetensors").write_text("version https://git-lfs\n"), "Git-LFS pointer"),
        (lambda f: change_json(f, model_type="bert"), "is a model of type 'bert', not one of wav2vec2, hubert, wavlm"),
        (lambda f: change_json(f, model_type="wav2vec2-conformer"), "of type 'wav2vec2-conformer'"),
        (lambda f: change_json(f, add_adapter=True), "its add_adapter is True"),
        (lambda f: change_json(f, layer_norm_eps=1e-6), "its layer_norm_eps is 1e-06"),
        (lambda f: change_json(f, conv_dim=[24] * 6), "conv_dim, conv_kernel, conv_stride are not lists of one length"),
        (lambda f: change_json(f, conv_stride=7), "are not lists of one length"),
        (lambda f: change_json(f, hidden_size=None), "embed_dim, not None"),
        (lambda f: change_json(f, num_hidden_layers=2), r"unknown weights encoder\.layers\.2\.attention\.k_proj\.bias"),
        (lambda f: change_json(f, num_hidden_layers=4), r"lacks weights encoder\.layers\.3\.attention\.k_proj\.bias"),
        (lambda f: change_json(f, "preprocessor_config.json", do_normalize="yes"), "normalize .* is 'yes'"),
        (lambda f: change_json(f, "preprocessor_config.json", sampling_rate=0), "sample_rate, not 0"),
    ],
)
def test_a_hugging_face_folder_that_does_not_fit(change, said, tmp_path):
    folder = tiny_speech_checkpoint(tmp_path / "hf", form="huggingface")
    change(folder)
    assert_refused(folder, said)


def test_weights_of_a_hugging_face_model_that_nothing_knows(tmp_path):
    folder = tiny_speech_checkpoint(tmp_path / "hf", form="huggingface")
    state = load_file(folder / "model.safetensors")
    save_file(state | {"masked_spec_embed": torch.full((32,), torch.inf)}, folder / "model.safetensors")
    assert_refused(folder, "its weights masked_spec_embed are NaN or infinite")
    save_file(state | {"surprise.weight": torch.zeros(1)}, folder / "model.safetensors")
    assert_refused(folder, "has weights that no wav2vec2 has: surprise.weight")
    torch.save(state, tmp_path / "weights.pt")
    assert_refused(tmp_path / "weights.pt", "under transformers' names.*Put its config.json beside it")


def test_safetensors_may_be_missing(tmp_path, monkeypatch):
    folder = tiny_speech_checkpoint(tmp_path / "hf", form="huggingface")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(EmofairError, match=r"needs the Python package 'safetensors'.*pip install 'emofair\[hf\]'"):
        load_speech_encoder(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "has no config.json"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(b"hello"), "is not a checkpoint"),
        (lambda p: p.write_text("<!doctype html>"), "web page"),
        (lambda p: torch.save([1], p), "holds a list, not a checkpoint"),
        (lambda p: torch.save({"state_dict": {"w": torch.zeros(1)}}, p), "holds no wav2vec 2.0, HuBERT or WavLM"),
        (lambda p: torch.save({"state_dict": {"wav2vec.wav2vec.feature_aggregator.x": torch.zeros(1)}}, p), "of 2019"),
        (lambda p: torch.save({"encoder.transformer.x": torch.zeros(1)}, p), "lacks the weight encoder.layer_norm"),
        (lambda p: torch.save({"encoder.transformer.layer_norm.weight": torch.zeros(())}, p), "wrong number of dim"),
    ],
)
def test_files_of_another_kind(make, said, tmp_path):
    make(tmp_path / "model.pt")
    assert_refused(tmp_path / "model.pt", said)


def test_truncated_files(tmp_path):
    path = tiny_speech_checkpoint(tmp_path / "model.pt")
    path.write_bytes(path.read_bytes()[:-2000])
    assert_refused(path, "is truncated")
    folder = tiny_speech_checkpoint(tmp_path / "hf", form="huggingface")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2000])
    with pytest.raises(EmofairError, match="is not a safetensors file"):
        load_speech_encoder(folder)


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (self.marker, "w"))


@pytest.mark.parametrize("where", ["args", "state_dict", "config"])
def test_code_in_a_file_is_not_run_unless_it_is_trusted(where, tmp_path):
    marker = str(tmp_path / "it_ran")
    checkpoint = fairseq_checkpoint(tiny_speech_encoder()) | {where: Hostile(marker)}
    path = saved(tmp_path / "model.pt", checkpoint)
    assert_refused(path, "asks for code that is not on the allow-list: .*open")
    assert not (tmp_path / "it_ran").exists()
    if where == "config":
        assert load_speech_encoder(path, trust=True).spec.layers == 3
        assert (tmp_path / "it_ran").exists()


def test_a_torchaudio_model_of_unknown_kernels(tmp_path):
    state = {
        "feature_extractor.conv_layers.0.conv.weight": torch.zeros(24, 1, 7),
        "encoder.transformer.layer_norm.weight": torch.zeros(32),
        "encoder.transformer.pos_conv_embed.conv.weight_v": torch.zeros(32, 8, 16),
    }
    assert_refused(saved(tmp_path / "model.pth", state), "no published model has one of kernel 7")
