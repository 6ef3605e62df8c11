import dataclasses
import sys
import types
from argparse import Namespace

import pytest
import torch
from omegaconf import OmegaConf

from emofair.checkpoints.speech import load_speech_encoder
from emofair.encoders.speech import SpeechEncoder
from emofair.errors import EmofairError
from emofair.testing.speech import (
    LAYOUTS,
    fairseq_checkpoint,
    tiny_speech_checkpoint,
    tiny_speech_encoder,
    tiny_speech_spec,
    wavlm_options,
)

KINDS = ("wav2vec2", "hubert", "wavlm")
EVERY = [(kind, layout) for kind in KINDS for layout in LAYOUTS]
DROPOUTS = {"dropout": 0.2, "attention_dropout": 0.15, "activation_dropout": 0.05, "dropout_input": 0.25}


def encoder_of(kind="wav2vec2", layout="base", **overrides):
    return tiny_speech_encoder(tiny_speech_spec(kind, layout, **overrides))


def in_form(checkpoint, form):
    """A checkpoint's configuration as fairseq of different ages stores it."""
    cfg = checkpoint["cfg"]
    if form == "args":
        names = {part: cfg[part]["_name"] for part in ("task", "criterion")}
        options = {k: v for part in ("common", "task", "model") for k, v in cfg[part].items() if k != "_name"}
        return checkpoint | {"cfg": None, "args": Namespace(arch=cfg["model"]["_name"], **names, **options)}
    if form == "omegaconf":
        return checkpoint | {"cfg": OmegaConf.create(cfg)}
    if form == "namespaces":
        return checkpoint | {"cfg": cfg | {"model": Namespace(**cfg["model"])}}
    return checkpoint


def saved(path, checkpoint):
    torch.save(checkpoint, path)
    return path


def assert_loaded(loaded, encoder, **different):
    assert loaded.spec == dataclasses.replace(encoder.spec, **different)
    state = encoder.state_dict()
    assert loaded.state.keys() == state.keys()
    assert all(torch.equal(loaded.state[name], value) for name, value in state.items())


@pytest.mark.parametrize("form", ["plain", "args", "omegaconf", "namespaces"])
@pytest.mark.parametrize(("kind", "layout"), [(k, y) for k, y in EVERY if k != "wavlm"])
def test_fairseq_files_of_every_age(kind, layout, form, tmp_path):
    encoder = encoder_of(kind, layout, layerdrop=0.05, **DROPOUTS)
    path = saved(tmp_path / "model.pt", in_form(fairseq_checkpoint(encoder), form))
    loaded = load_speech_encoder(path)
    assert_loaded(loaded, encoder)
    assert (loaded.path, loaded.source) == (path, f"fairseq {kind}")
    heads = {name.split(".")[0] for name in loaded.pretraining}
    assert heads == (
        {"quantizer", "project_q", "final_proj"} if kind == "wav2vec2" else {"final_proj", "label_embs_concat"}
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wavlm_as_microsoft_publishes_it(layout, tmp_path):
    encoder = encoder_of("wavlm", layout, num_buckets=32, max_distance=100, **DROPOUTS)
    checkpoint = {"cfg": wavlm_options(encoder.spec), "model": encoder.state_dict()}
    loaded = load_speech_encoder(saved(tmp_path / "WavLM.pt", checkpoint))
    assert_loaded(loaded, encoder)
    assert loaded.source == "Microsoft wavlm"


def test_what_old_files_lack_has_fairseqs_default_and_what_is_unknown_is_dropped(tmp_path):
    encoder = encoder_of("wav2vec2", "base", conv_pos=128, conv_pos_groups=16)
    checkpoint = in_form(fairseq_checkpoint(encoder), "args")
    kept = ("arch", "encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads")
    kept += ("conv_feature_layers", "final_dim")
    checkpoint["args"] = Namespace(eval_wer=True, **{n: v for n, v in vars(checkpoint["args"]).items() if n in kept})
    assert_loaded(load_speech_encoder(saved(tmp_path / "model.pt", checkpoint)), encoder, dropout_input=0.0)


@pytest.mark.parametrize("form", ["plain", "args", "omegaconf"])
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_fine_tuned_for_speech_recognition(kind, form, tmp_path, caplog):
    encoder = encoder_of(kind, "large")
    before = in_form(fairseq_checkpoint(encoder), form)
    weights = {f"w2v_encoder.w2v_model.{name}": value for name, value in encoder.state_dict().items()}
    weights |= {"w2v_encoder.proj.weight": torch.zeros(30, 32), "w2v_encoder.proj.bias": torch.zeros(30)}
    name = "wav2vec_ctc" if kind == "wav2vec2" else "hubert_ctc"
    options = {"w2v_path": "/gone", "w2v_args": before["args"] or before["cfg"], "dropout": 0.0, "freeze_finetune": 1}
    task = {"sample_rate": 16000, "normalize": True, "labels": "ltr", "data": "/gone"}
    checkpoint = {"model": weights, "args": None, "cfg": None, "extra_state": {}, "optimizer_history": []}
    if form == "args":
        checkpoint["args"] = Namespace(arch=name, task="audio_pretraining", criterion="ctc", **options | task)
    else:
        cfg = {"model": {"_name": name, **options}, "task": {"_name": "audio_finetuning", **task}}
        checkpoint["cfg"] = OmegaConf.create(cfg) if form == "omegaconf" else cfg
    loaded = load_speech_encoder(saved(tmp_path / "ctc.pt", checkpoint))
    assert_loaded(loaded, encoder)
    assert loaded.source == f"fairseq, fine-tuned {kind}"
    assert "its 2 other weights are not" in caplog.text
    model = checkpoint["args"] or checkpoint["cfg"]["model"]
    (vars(model) if form == "args" else model)["w2v_args"] = None
    with pytest.raises(EmofairError, match="does not tell the shape of its encoder"):
        load_speech_encoder(saved(tmp_path / "ctc.pt", checkpoint))


def transformers_folder(folder, kind, layout, *, head=False, **settings):
    """A model as transformers itself saves it; it and its encoder's weights by their names there."""
    transformers = pytest.importorskip("transformers")
    from emofair.checkpoints import huggingface

    spec = tiny_speech_spec(kind, layout)
    config = huggingface.config_of(spec) | {"num_codevectors_per_group": 5, "codevector_dim": 12}
    config = transformers.AutoConfig.for_model(**config, proj_codevector_dim=10, **settings)
    model = getattr(transformers, huggingface.PRETRAINING_CLASS if head else huggingface.CLASSES[kind])(config)
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=spec.normalize).save_pretrained(folder)
    return model


def features_of(loaded, wav):
    with torch.no_grad():
        return SpeechEncoder.from_state(loaded.spec, loaded.state).eval()(wav).hidden[-1]


WAV = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_hugging_face_folders_as_transformers_saves_them(kind, layout, tmp_path):
    model = transformers_folder(tmp_path, kind, layout).eval()
    loaded = load_speech_encoder(tmp_path)
    assert loaded.spec == tiny_speech_spec(kind, layout)
    assert loaded.source == f"Hugging Face {kind}"
    torch.testing.assert_close(features_of(loaded, WAV), model(WAV).last_hidden_state, atol=2e-5, rtol=1e-5)
    assert loaded.path == tmp_path / "model.safetensors"
    assert load_speech_encoder(loaded.path).spec == loaded.spec


@torch.no_grad()
@pytest.mark.parametrize("weight_norm", ["weight_g", "original0"])
@pytest.mark.parametrize("prefix", ["", "wav2vec2."])
def test_older_hugging_face_folders(weight_norm, prefix, tmp_path):
    model = transformers_folder(tmp_path, "wav2vec2", "base").eval()
    state = {prefix + name: value for name, value in model.state_dict().items()}
    if weight_norm == "weight_g":
        for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
            state = {name.replace(f"parametrizations.weight.{new}", old): value for name, value in state.items()}
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    loaded = load_speech_encoder(tmp_path)
    torch.testing.assert_close(features_of(loaded, WAV), model(WAV).last_hidden_state, atol=2e-5, rtol=1e-5)


def test_hugging_face_folders_with_a_head(tmp_path, caplog):
    model = transformers_folder(tmp_path, "wav2vec2", "large", head=True)
    loaded = load_speech_encoder(tmp_path, "wav2vec2")
    theirs = model.state_dict()
    pairs = {"quantizer.vars": "quantizer.codevectors", "final_proj.weight": "project_hid.weight"}
    pairs |= {"project_q.bias": "project_q.bias", "quantizer.weight_proj.weight": "quantizer.weight_proj.weight"}
    for ours, name in pairs.items():
        assert torch.equal(loaded.pretraining[ours], theirs[name])
    assert loaded.options["latent_vars"] == 5 and loaded.options["final_dim"] == 10
    assert not caplog.text
    state = {n: v for n, v in theirs.items() if n.startswith("wav2vec2.")} | {"lm_head.weight": torch.zeros(4, 32)}
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    again = load_speech_encoder(tmp_path)
    assert again.state.keys() == loaded.state.keys() and not again.pretraining
    assert "its head are left out: lm_head.weight" in caplog.text


def test_a_hugging_face_model_without_masks_has_no_mask_embedding(tmp_path):
    transformers_folder(tmp_path, "hubert", "base", mask_time_prob=0.0)
    loaded = load_speech_encoder(tmp_path)
    assert not loaded.state["mask_emb"].any() and loaded.state["mask_emb"].shape == (32,)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_audio_of_a_hugging_face_folder_without_a_word_on_it(layout, tmp_path, caplog):
    tiny_speech_checkpoint(tmp_path / "hf", "wav2vec2", layout, form="huggingface", normalize=layout == "base")
    assert load_speech_encoder(tmp_path / "hf").spec.normalize == (layout == "base")
    (tmp_path / "hf" / "preprocessor_config.json").unlink()
    assert load_speech_encoder(tmp_path / "hf").spec.normalize == (layout == "large")
    assert "has no preprocessor_config.json" in caplog.text


def torchaudio_state(encoder):
    """An encoder's weights as torchaudio names them."""
    result = {}
    packed = {}
    for name, value in encoder.state_dict().items():
        for ours, theirs in (
            (".2.1.", ".layer_norm."),
            ("conv_layers.0.2.", "conv_layers.0.layer_norm."),
            ("self_attn.grep_linear", "attention.gru_rel_pos_linear"),
            ("self_attn.grep_a", "attention.gru_rel_pos_const"),
            ("self_attn.relative_attention_bias", "attention.rel_attn_embed"),
            ("self_attn_layer_norm", "layer_norm"),
            ("self_attn.", "attention."),
            ("fc1", "feed_forward.intermediate_dense"),
            ("fc2", "feed_forward.output_dense"),
            ("pos_conv.0.", "pos_conv_embed.conv."),
        ):
            name = name.replace(ours, theirs)
        if name.startswith("feature_extractor.conv_layers.") and name.split(".")[3] == "0":
            name = name.replace(".0.weight", ".conv.weight").replace(".0.bias", ".conv.bias")
        if name.startswith("encoder."):
            name = name.replace("encoder.", "encoder.transformer.", 1)
        if name.startswith("layer_norm."):
            name = f"encoder.feature_projection.{name}"
        name = name.replace("post_extract_proj", "encoder.feature_projection.projection")
        if encoder.spec.kind == "wavlm" and ".attention." in name and "_proj." in name:
            name = name.replace("attention.", "attention.attention.")
            if "out_proj" not in name:
                layer, part = name.rsplit(".attention.", 1)
                packed.setdefault(f"{layer}.attention.in_proj_{part.split('.')[1]}", {})[part[0]] = value
                continue
        if name != "mask_emb":
            result[name] = value
    return result | {name: torch.cat([parts[p] for p in "qkv"]) for name, parts in packed.items()}


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_torchaudio_state_dicts(kind, layout, head, tmp_path, caplog):
    buckets = {"num_buckets": 64} if kind == "wavlm" else {}
    encoder = encoder_of(kind, layout, embed_dim=64, conv_pos=32, **buckets)
    state = torchaudio_state(encoder)
    attention = "attention.attention.in_proj_weight" if kind == "wavlm" else "attention.q_proj.weight"
    assert f"encoder.transformer.layers.0.{attention}" in state
    if head:
        state |= {"aux.weight": torch.zeros(29, 64), "aux.bias": torch.zeros(29)}
    loaded = load_speech_encoder(
        saved(tmp_path / "model.pth", state), kind if kind == "hubert" else "auto", attention_heads=4
    )
    encoder.mask_emb.data.zero_()
    assert_loaded(loaded, encoder)
    assert loaded.source == f"torchaudio {kind}"
    assert ("aux.bias" in caplog.text) == head
    if kind != "wavlm":
        with pytest.raises(EmofairError, match=r"no published model is 64 wide.*--speech-heads"):
            load_speech_encoder(tmp_path / "model.pth")


def lightning_checkpoint(state):
    callbacks = {"monitor": "valid_loss", "best_model_score": torch.tensor(0.5), "dirpath": "/gone"}
    return {
        "epoch": 3,
        "global_step": 20,
        "pytorch-lightning_version": "1.4.5",
        "callbacks": {"ModelCheckpoint": callbacks},
        "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [{"base_lrs": [1e-4], "last_epoch": 20, "lr_lambdas": [None]}],
        "state_dict": state,
    }


@pytest.mark.parametrize("stage", ["pseudo labels", "continued", "fine-tuned"])
def test_checkpoints_of_the_original_ft_w2v2_ser(stage, tmp_path, caplog):
    model = transformers_folder(tmp_path / "hf", "wav2vec2", "base", head=True)
    expected = load_speech_encoder(tmp_path / "hf")
    prefix = {"pseudo labels": "wav2vec2.", "continued": "wav2vec2.", "fine-tuned": "model.wav2vec2."}[stage]
    inner = {n: v for n, v in model.state_dict().items() if n.startswith("wav2vec2.")}
    state = {prefix + name: value for name, value in inner.items()}
    if stage == "continued":
        state |= {f"wav2vec2.wav2vec2PT.{name}": value for name, value in model.state_dict().items()}
    elif stage == "fine-tuned":
        state |= {"model.linear_head.1.weight": torch.zeros(4, 32), "criterion.weight": torch.ones(4)}
    else:
        state |= {"linearheads.0.0.weight": torch.zeros(256, 32)}
    path = saved(tmp_path / "last.ckpt", lightning_checkpoint(state))
    loaded = load_speech_encoder(path, attention_heads=4)
    assert loaded.state.keys() == expected.state.keys()
    assert all(torch.equal(loaded.state[name], value) for name, value in expected.state.items())
    assert loaded.spec.conv_layers == expected.spec.conv_layers and not loaded.spec.normalize
    others = {"pseudo labels": "its 1 other weights", "continued": "", "fine-tuned": "its 2 other weights"}[stage]
    assert others in caplog.text
    assert loaded.pretraining.keys() == (expected.pretraining.keys() if stage == "continued" else set())


class ModelCheckpoint:
    """As in Lightning 1.4, where a checkpoint names the class of each callback."""


def test_the_classes_that_lightnings_files_name_are_not_needed(tmp_path, monkeypatch):
    model = transformers_folder(tmp_path / "hf", "wav2vec2", "base")
    checkpoint = lightning_checkpoint({f"wav2vec2.wav2vec2.{n}": value for n, value in model.state_dict().items()})
    checkpoint["callbacks"] = {ModelCheckpoint: checkpoint["callbacks"]["ModelCheckpoint"]}
    name = "pytorch_lightning.callbacks.model_checkpoint"
    monkeypatch.setattr(ModelCheckpoint, "__module__", name)
    with monkeypatch.context() as installed:
        for part in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
            module = types.ModuleType(part)
            module.ModelCheckpoint = ModelCheckpoint
            installed.setitem(sys.modules, part, module)
        path = saved(tmp_path / "last.ckpt", checkpoint)
    assert load_speech_encoder(path, attention_heads=4).spec.layers == 3


def ours(encoder):
    """A checkpoint of a model that was fine-tuned here."""
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    weights |= {"classifier.weight": torch.zeros(4, 32), "classifier.bias": torch.zeros(4)}
    model = {"_name": "speech_emotion_classifier", "w2v_path": "/gone", "encoder_ssl_json": encoder.spec.to_json()}
    cfg = {"model": model, "task": {"_name": "speech_emotion", "normalize": None}}
    return {"args": None, "cfg": cfg, "model": weights, "extra_state": {}, "optimizer_history": []}


def test_what_was_fine_tuned_here(tmp_path):
    encoder = encoder_of("wavlm", "large", layerdrop=0.1)
    loaded = load_speech_encoder(saved(tmp_path / "checkpoint_best.pt", ours(encoder)), "wavlm")
    assert_loaded(loaded, encoder)
    assert loaded.source == "emofair wavlm" and not loaded.pretraining


def test_half_precision_weights_stay_as_they_are_and_fill_an_fp32_encoder(tmp_path):
    checkpoint = fairseq_checkpoint(encoder_of())
    checkpoint["model"] = {name: value.half() for name, value in checkpoint["model"].items()}
    loaded = load_speech_encoder(saved(tmp_path / "model.pt", checkpoint))
    assert {value.dtype for value in loaded.state.values()} == {torch.float16}
    assert features_of(loaded, WAV).dtype == torch.float32


def test_the_other_naming_of_weight_norm_in_a_fairseq_file(tmp_path):
    checkpoint = fairseq_checkpoint(encoder_of())
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        weights = checkpoint["model"]
        weights[f"encoder.pos_conv.0.parametrizations.weight.{new}"] = weights.pop(f"encoder.pos_conv.0.{old}")
    assert_loaded(load_speech_encoder(saved(tmp_path / "model.pt", checkpoint)), encoder_of())


@pytest.mark.parametrize(
    ("kind", "asked", "said"),
    [
        ("hubert", "wav2vec2", "is a hubert, not a wav2vec2"),
        ("wavlm", "hubert", "is a wavlm, not a hubert"),
        ("wav2vec2", "wav2vec", "no speech encoder is of kind 'wav2vec'.*Choose one of auto, wav2vec2"),
    ],
)
def test_another_kind_than_was_asked_for(kind, asked, said, tmp_path):
    path = tiny_speech_checkpoint(tmp_path / "model.pt", kind)
    assert load_speech_encoder(path, kind).spec.kind == kind
    with pytest.raises(EmofairError, match=said):
        load_speech_encoder(path, asked)
