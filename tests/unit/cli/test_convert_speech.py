"""Speech encoders from fairseq to Hugging Face and back, used by the programs that they are for."""

import json
import re

import pytest
import torch
from fairseq.checkpoint_utils import load_model_ensemble_and_task

from emofair.checkpoints import safe
from emofair.checkpoints.speech import load_speech_encoder
from emofair.checkpoints.trained_on import trained_on
from emofair.cli.main import main
from emofair.encoders.speech import SpeechEncoder
from emofair.errors import EmofairError
from emofair.testing.clips import noise_manifests, tone_corpus
from emofair.testing.commands import train_here
from emofair.testing.speech import CLASSES as CLASSES_OF_HUBERT
from emofair.testing.speech import (
    LAYOUTS,
    fairseq_checkpoint,
    hubert_pretraining_arguments,
    tiny_speech_checkpoint,
    tiny_speech_encoder,
    tiny_speech_spec,
    write_frame_labels,
)

KINDS = ("wav2vec2", "hubert", "wavlm")
EVERY = [(kind, layout) for kind in KINDS for layout in LAYOUTS]
WAV = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
CLASSES = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}


def convert(capsys, path, to, out, *options):
    """Run the verb; returns what it says."""
    assert main(["convert", str(path), "--to", to, "--out", str(out), *options]) == 0
    return capsys.readouterr().out


def refuse(capsys, path, to, out, *options):
    assert main(["convert", str(path), "--to", to, "--out", str(out), *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def assert_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype and torch.equal(ours[name], value), name


def features_of(path):
    loaded = load_speech_encoder(path)
    with torch.no_grad():
        return SpeechEncoder.from_state(loaded.spec, loaded.state).eval()(WAV).hidden[-1]


def stock(path):
    """The model that stock fairseq makes of a checkpoint, strictly; and the configuration of its task."""
    import emofair

    emofair.register()
    (model,), cfg, _ = load_model_ensemble_and_task([str(path)])
    return model.eval(), cfg


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wav2vec2_comes_back_bit_for_bit_with_its_pre_training_weights(layout, tmp_path, capsys):
    options = {"layerdrop": 0.05, "dropout_input": 0.2}
    first = tiny_speech_checkpoint(tmp_path / "first.pt", "wav2vec2", layout, **options)
    said = convert(capsys, first, "hf", tmp_path / "hf")
    assert "wav2vec2 from fairseq wav2vec2, 3 layers of width 32" in said and "left out" not in said
    said = convert(capsys, tmp_path / "hf", "fairseq", tmp_path / "again.pt")
    assert "from Hugging Face wav2vec2" in said and "left out" not in said and "random" not in said
    before, after = safe.load(first), safe.load(tmp_path / "again.pt")
    assert_equal(after["model"], before["model"])
    # What a config.json does not hold has fairseq's default again: everything else is as it was.
    lost = {"latent_dim": 12}
    assert {k: v for k, v in after["cfg"]["model"].items() if k in before["cfg"]["model"]} == {
        k: list(v) if isinstance(v, tuple) else v for k, v in (before["cfg"]["model"] | lost).items()
    }
    assert load_speech_encoder(tmp_path / "again.pt").spec == load_speech_encoder(first).spec
    model, cfg = stock(tmp_path / "again.pt")
    assert cfg.task.normalize == (layout == "large")
    with torch.no_grad():
        torch.testing.assert_close(model.extract_features(WAV, None)["x"], features_of(first), atol=2e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_transformers_loads_what_is_written_for_it(kind, layout, tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    first = tiny_speech_checkpoint(tmp_path / "first.pt", kind, layout)
    said = convert(capsys, first, "hf", tmp_path / "hf")
    model, info = getattr(transformers, CLASSES[kind]).from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    torch.testing.assert_close(model.eval()(WAV).last_hidden_state, features_of(first), atol=2e-5, rtol=1e-5)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "hf")
    assert extractor.do_normalize == (layout == "large") and extractor.sampling_rate == 16000
    if kind == "wav2vec2":
        whole, info = transformers.Wav2Vec2ForPreTraining.from_pretrained(tmp_path / "hf", output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        assert torch.equal(whole.project_hid.weight, safe.load(first)["model"]["final_proj.weight"])
    else:
        assert not info["unexpected_keys"]
    if kind == "hubert":
        assert "left out: final_proj.bias, final_proj.weight, label_embs_concat" in said


@pytest.mark.parametrize(
    ("kind", "layout", "head"),
    [("wav2vec2", "base", True), ("wav2vec2", "large", False), ("hubert", "large", False), ("wavlm", "base", False)],
)
def test_what_transformers_saved_comes_back_bit_for_bit(kind, layout, head, tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    from emofair.checkpoints import huggingface

    config = huggingface.config_of(tiny_speech_spec(kind, layout))
    config = transformers.AutoConfig.for_model(**config, codevector_dim=8, proj_codevector_dim=10)
    name = "Wav2Vec2ForPreTraining" if head else CLASSES[kind]
    model = getattr(transformers, name)(config)
    model.save_pretrained(tmp_path / "first")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=layout == "large").save_pretrained(tmp_path / "first")
    said = convert(capsys, tmp_path / "first", "fairseq", tmp_path / "ours.pt")
    assert ("random" in said) == (not head and kind != "wavlm")
    convert(capsys, tmp_path / "ours.pt", "hf", tmp_path / "again")
    again = getattr(transformers, name).from_pretrained(tmp_path / "again")
    assert_equal(again.state_dict(), model.state_dict())
    known = huggingface.spec_of(
        json.loads((tmp_path / "first" / "config.json").read_text()), normalize=True, sample_rate=1
    )
    assert (
        huggingface.spec_of(json.loads((tmp_path / "again" / "config.json").read_text()), normalize=True, sample_rate=1)
        == known
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wavlm_comes_back_bit_for_bit(layout, tmp_path, capsys):
    first = tiny_speech_checkpoint(tmp_path / "first.pt", "wavlm", layout)
    assert "left out" not in convert(capsys, first, "hf", tmp_path / "hf")
    convert(capsys, tmp_path / "hf", "fairseq", tmp_path / "again.pt")
    before, after = safe.load(first), safe.load(tmp_path / "again.pt")
    assert_equal(after["model"], before["model"])
    assert after["cfg"].items() <= before["cfg"].items()
    assert load_speech_encoder(tmp_path / "again.pt").spec == load_speech_encoder(first).spec


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_stock_fairseq_loads_an_encoder_alone_with_random_output_layers(kind, layout, tmp_path, capsys):
    first = tiny_speech_checkpoint(tmp_path / "hf", kind, layout, form="huggingface")
    said = convert(capsys, first, "fairseq", tmp_path / "ours.pt")
    assert re.search(r"random, for the input has none: final_proj\.bias, final_proj\.weight", said)
    model, cfg = stock(tmp_path / "ours.pt")
    assert cfg.task.normalize == (layout == "large") and cfg.model.final_dim == 256
    with torch.no_grad():
        output = model.extract_features(WAV, None)
    output = output["x"] if kind == "wav2vec2" else output[0]
    torch.testing.assert_close(output, features_of(first), atol=2e-5, rtol=1e-5)
    convert(capsys, first, "fairseq", tmp_path / "twin.pt")
    assert_equal(safe.load(tmp_path / "twin.pt")["model"], safe.load(tmp_path / "ours.pt")["model"])


def test_training_goes_on_from_it(tmp_path, capsys):
    """Stock fairseq's pre-training, with its own check that every weight is there."""
    noise_manifests(tmp_path, count=2, n_samples=9000)
    folder = tiny_speech_checkpoint(tmp_path / "hf", "wav2vec2", "large", form="huggingface")
    convert(capsys, folder, "fairseq", tmp_path / "start.pt")
    model = safe.load(tmp_path / "start.pt")["cfg"]["model"]
    shape = ("extractor_mode", "encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "conv_feature_layers")
    shape += ("encoder_attention_heads", "final_dim", "latent_vars", "conv_pos", "conv_pos_groups")
    options = [word for name in shape if name in model for word in (f"--{name.replace('_', '-')}", str(model[name]))]
    log = train_here(
        [
            *(tmp_path, "--task", "audio_pretraining", "--arch", "wav2vec2", "--criterion", "wav2vec", "--infonce"),
            *(*options, "--layer-norm-first", "--conv-bias", "--quantize-targets", "--normalize", "--num-negatives", 2),
            *("--mask-prob", 0.3, "--mask-length", 3, "--optimizer", "adam", "--lr", "1e-4", "--batch-size", 2),
            *("--max-update", 1, "--cpu", "--save-dir", tmp_path / "save", "--num-workers", 0),
            *("--max-sample-size", 9000, "--min-sample-size", 1000, "--required-batch-size-multiple", 1),
            *("--finetune-from-model", tmp_path / "start.pt"),
        ]
    )
    assert f"loading pretrained model from {tmp_path / 'start.pt'}" in log
    trained = load_speech_encoder(tmp_path / "save" / "checkpoint_last.pt")
    started = load_speech_encoder(tmp_path / "start.pt")
    assert trained.spec.normalize and trained.spec.conv_layers == started.spec.conv_layers
    difference = (trained.state["encoder.layers.0.fc1.weight"] - started.state["encoder.layers.0.fc1.weight"]).abs()
    assert 0 < difference.max() < 1e-3


@pytest.mark.parametrize("k", [CLASSES_OF_HUBERT - 4, 50])
def test_reset_labels_leave_the_encoder_and_forget_the_table_even_of_the_same_shape(k, tmp_path, capsys):
    first = tiny_speech_checkpoint(tmp_path / "first.pt", "hubert")
    said = convert(capsys, first, "fairseq", tmp_path / "new.pt", "--reset-labels", str(k))
    assert "left out: final_proj.bias, final_proj.weight, label_embs_concat" in said
    assert "random, for the input has none: final_proj.bias, final_proj.weight, label_embs_concat" in said
    model, _ = stock(tmp_path / "new.pt")  # strictly
    before, after = safe.load(first)["model"], model.state_dict()
    assert after["label_embs_concat"].shape == (k + 4, 12)
    for name in ("label_embs_concat", "final_proj.weight"):
        assert before[name].shape != after[name].shape or not torch.equal(before[name], after[name])
    assert after["label_embs_concat"].min() >= 0 and after["label_embs_concat"].max() <= 1
    encoder = load_speech_encoder(first).state
    assert_equal({name: after[name] for name in encoder}, encoder)
    kept = convert(
        *(capsys, first, "fairseq", tmp_path / "kept.pt"), "--reset-labels", str(k), "--keep-final-proj", "--seed", "2"
    )
    assert "left out: label_embs_concat;" in kept
    kept = safe.load(tmp_path / "kept.pt")["model"]
    assert torch.equal(kept["final_proj.weight"], before["final_proj.weight"])
    assert not torch.equal(kept["label_embs_concat"], after["label_embs_concat"])


def test_hubert_pretraining_goes_on_with_reset_labels_and_remembers_what_was_seen(tmp_path, capsys):
    corpus = tone_corpus(tmp_path / "tones", {"train": 4, "valid": 2}, seconds=(1.0, 1.2))
    write_frame_labels(corpus)
    first = tiny_speech_checkpoint(tmp_path / "first.pt", "hubert")
    convert(capsys, first, "fairseq", tmp_path / "start.pt", "--reset-labels", "9")

    def train(start, save_dir):
        train_here(hubert_pretraining_arguments(corpus, start, save_dir))
        return save_dir / "checkpoint_last.pt"

    trained = train(tmp_path / "start.pt", tmp_path / "tapt")
    assert trained_on(tmp_path / "start.pt") is None
    seen = trained_on(trained)["trained_ids"]
    assert len(seen) == 4
    # The next label space: what the weights have seen goes along.
    convert(capsys, trained, "fairseq", tmp_path / "again.pt", "--reset-labels", "9", "--seed", "3")
    assert trained_on(tmp_path / "again.pt")["trained_ids"] == seen
    assert trained_on(train(tmp_path / "again.pt", tmp_path / "cpt"))["trained_ids"] == seen


def test_several_sets_of_labels_at_once(tmp_path, capsys):
    corpus = tone_corpus(tmp_path / "tones", {"train": 4, "valid": 2}, seconds=(1.0, 1.2))
    for k in (5, 9):
        write_frame_labels(corpus, k, name=f"km{k}")
    first = tiny_speech_checkpoint(tmp_path / "first.pt", "hubert")
    convert(capsys, first, "fairseq", tmp_path / "start.pt", "--reset-labels", "5,9")
    model, cfg = stock(tmp_path / "start.pt")  # strictly
    assert cfg.task.labels == ["km5", "km9"]
    assert model.label_embs_concat.shape == (5 + 4 + 9 + 4, 12) and model.final_proj.out_features == 2 * 12
    words = hubert_pretraining_arguments(corpus, tmp_path / "start.pt", tmp_path / "save", ("km5", "km9"))
    train_here([*words, "--untie-final-proj"])
    trained = tmp_path / "save" / "checkpoint_last.pt"
    before, after = (safe.load(path)["model"]["label_embs_concat"] for path in (tmp_path / "start.pt", trained))
    # Both tables have learned: ids of the first are rows 4 to 8, of the second 13 to 21.
    assert ((after - before).abs().amax(dim=1) > 0)[[*range(4, 9), *range(13, 22)]].all()
    # It is an encoder like any other, and gets one set again.
    assert_equal(
        load_speech_encoder(trained).state, load_speech_encoder(tmp_path / "save" / "checkpoint_best.pt").state
    )
    convert(capsys, trained, "fairseq", tmp_path / "again.pt", "--reset-labels", "7")
    assert stock(tmp_path / "again.pt")[0].label_embs_concat.shape == (11, 12)
    write_frame_labels(corpus, 18, name="km18")  # a table of as many rows
    for k in (9, 18):
        with pytest.raises(EmofairError, match=rf"expects 14 labels, and dict\.km{k}\.txt has {k}"):
            train_here(hubert_pretraining_arguments(corpus, tmp_path / "start.pt", tmp_path / "other", (f"km{k}",)))


@pytest.mark.parametrize(
    ("kind", "to", "options", "told"),
    [
        ("wav2vec2", "fairseq", ("--reset-labels", "5"), "wav2vec2 has no labels that could be reset"),
        ("hubert", "hf", ("--reset-labels", "5"), "--reset-labels is for fairseq's pre-training"),
        ("hubert", "fairseq", ("--reset-labels", "1"), "--reset-labels 1: nothing can be told apart"),
        ("hubert", "fairseq", ("--reset-labels", "5,99999999999"), "too many. Give 1,000,000 or less in all."),
        ("hubert", "fairseq", ("--reset-labels", "5,"), "--reset-labels 5,: not numbers of labels"),
        ("hubert", "fairseq", ("--reset-labels", "5,9", "--keep-final-proj"), "several sets of labels have several"),
        ("hubert", "fairseq", ("--keep-final-proj",), "does nothing without --reset-labels"),
    ],
)
def test_labels_that_cannot_be_reset_are_told(kind, to, options, told, tmp_path, capsys):
    first = tiny_speech_checkpoint(tmp_path / "first.pt", kind)
    assert told in refuse(capsys, first, to, tmp_path / "out", *options)


def test_what_has_no_counterpart_is_listed(tmp_path, capsys):
    checkpoint = fairseq_checkpoint(tiny_speech_encoder())
    weights = checkpoint["model"]
    for part in ("weight", "bias"):
        weights[f"quantizer.weight_proj.0.0.{part}"] = weights.pop(f"quantizer.weight_proj.{part}")
    weights["target_glu.0.weight"] = torch.zeros(24, 12)
    torch.save(checkpoint, tmp_path / "deep.pt")
    said = convert(capsys, tmp_path / "deep.pt", "hf", tmp_path / "hf")
    listed = (
        "final_proj.bias",
        "project_q.weight",
        "quantizer.vars",
        "quantizer.weight_proj.0.0.bias",
        "target_glu.0.weight",
    )
    assert all(name in said.split("left out: ")[1] for name in listed)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["architectures"] == ["Wav2Vec2Model"]


def test_other_inputs_become_either_form(tmp_path, capsys):
    encoder = tiny_speech_encoder(tiny_speech_spec("hubert", "large"))
    checkpoint = fairseq_checkpoint(encoder)
    weights = {f"w2v_encoder.w2v_model.{name}": value for name, value in encoder.state_dict().items()}
    cfg = {"model": {"_name": "hubert_ctc", "w2v_args": checkpoint["cfg"]}, "task": {"normalize": True}}
    torch.save({"model": weights, "cfg": cfg}, tmp_path / "ctc.pt")
    assert "from fairseq, fine-tuned hubert" in convert(capsys, tmp_path / "ctc.pt", "hf", tmp_path / "hf")
    convert(capsys, tmp_path / "ctc.pt", "fairseq", tmp_path / "ours.pt")
    stock(tmp_path / "ours.pt")
    for path in (tmp_path / "hf", tmp_path / "ours.pt"):
        assert_equal(load_speech_encoder(path).state, encoder.state_dict())


def test_what_cannot_be_written_is_named(tmp_path, capsys):
    path = tiny_speech_checkpoint(tmp_path / "model.pt")
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    assert "is a folder that is not empty. Give another --out" in refuse(capsys, path, "hf", full)
    assert "cannot be written" in refuse(capsys, path, "hf", path / "below")
    assert "would overwrite what is converted" in refuse(capsys, path, "hf", path)
    assert "a file is needed" in refuse(capsys, path, "fairseq", full)
    assert [p.name for p in full.iterdir()] == ["notes.txt"]
    same = tiny_speech_checkpoint(tmp_path / "same.pt", embed_dim=24, heads=3, conv_pos_groups=3)
    assert "no projection between them" in refuse(capsys, same, "hf", tmp_path / "hf")
    tanh = tiny_speech_checkpoint(tmp_path / "tanh.pt", activation_fn="tanh")
    assert "no activation function 'tanh'" in refuse(capsys, tanh, "hf", tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_nothing_is_overwritten_but_checkpoints(tmp_path, capsys, monkeypatch):
    path = tiny_speech_checkpoint(tmp_path / "a.pt", "wavlm")
    folder = tiny_speech_checkpoint(tmp_path / "b", "wavlm", form="huggingface")
    torch.save({"w": torch.zeros(1)}, tmp_path / "features.pt")
    (tmp_path / "talk.wav").write_bytes(b"RIFF")
    before = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.pt").symlink_to(path)
    for given, out in ((path, "a.pt"), (path, "link.pt"), ("link.pt", path), (folder, folder / "config.json")):
        assert "would overwrite what is converted. Give another --out" in refuse(capsys, given, "fairseq", out)
    for out in ("talk.wav", "features.pt"):
        assert f"{out}: is there already, and no checkpoint" in refuse(capsys, path, "fairseq", out)
    assert {each: each.read_bytes() for each in before} == before
    for _ in range(2):  # what convert wrote may be written again
        convert(capsys, folder, "fairseq", "again.pt")


def test_attention_heads_and_trust_are_options(tmp_path, capsys, monkeypatch):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    from emofair.checkpoints import huggingface

    model = Wav2Vec2Model(Wav2Vec2Config(**huggingface.config_of(tiny_speech_spec())))
    state = {f"wav2vec2.wav2vec2.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": Code(str(tmp_path / "it_ran"))}, tmp_path / "last.ckpt")
    arguments = (tmp_path / "last.ckpt", "fairseq", tmp_path / "ours.pt")
    assert "asks for code that is not on the allow-list" in refuse(capsys, *arguments, "--speech-heads", "4")
    assert "--speech-heads" in refuse(capsys, *arguments, "--trust")
    assert "from FT-w2v2-ser, 3 layers" in convert(capsys, *arguments, "--trust", "--speech-heads", "4")
    assert load_speech_encoder(tmp_path / "ours.pt").spec.heads == 4


class Code:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (self.marker, "w"))
