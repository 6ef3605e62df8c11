"""Models of FLEA's original code to fairseq and back: its pre-training with labels, and its classifier."""

import json

import pytest
import torch
from fairseq.checkpoint_utils import load_model_ensemble_and_task
from torch import nn

import emofair
from emofair.checkpoints import huggingface, safe
from emofair.checkpoints.speech import load_speech_encoder
from emofair.cli.main import main
from emofair.inference.checkpoint import load_checkpoint
from emofair.testing.speech import padded_noise, shake, tiny_speech_checkpoint, tiny_speech_spec

transformers = pytest.importorskip("transformers")
K = 7


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.atten_weight = nn.Parameter(torch.rand(width, 1))


class Output(nn.Module):
    def __init__(self, width, n):
        super().__init__()
        self.fc_out_1 = nn.Linear(width, n)


class Labels(nn.Module):
    def __init__(self, width, n, final_dim=12):
        super().__init__()
        self.label_embeddings = nn.Parameter(torch.rand(n, final_dim))
        self.final_proj = nn.Linear(width, final_dim)


class Classifier(transformers.HubertPreTrainedModel):
    """A classifier with the names of the original's weights, computed as arXiv 2312.16383 says."""

    def __init__(self, config, n_outputs=4):
        super().__init__(config)
        self.hubert = transformers.HubertModel(config)
        self.atten = Attention(config.hidden_size)
        self.classifier = Output(config.hidden_size, n_outputs)
        self.post_init()

    def forward(self, wav):
        frames = self.hubert(wav).last_hidden_state
        weights = torch.tanh(frames @ self.atten.atten_weight).softmax(dim=1)
        return self.classifier.fc_out_1((frames * weights).sum(dim=1))


class Pretraining(transformers.HubertModel):
    def __init__(self, config):
        super().__init__(config)
        self.logit_generator = Labels(config.hidden_size, K)
        self.post_init()


def config():
    return transformers.HubertConfig(**huggingface.config_of(tiny_speech_spec("hubert")), mask_time_prob=0.08)


def saved(model, folder):
    torch.manual_seed(0)
    shake(model)
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "sampling_rate": 16000}))
    return model


def convert(source, to, out, *options, heads=True):
    flag = ["--heads"] if heads else []
    return main(["convert", str(source), "--to", to, "--out", str(out), *flag, *options])


def refusal(capsys, *arguments, **options):
    capsys.readouterr()  # transformers shows bars
    assert convert(*arguments, **options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def weights_of(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def assert_same(found, expected):
    def plain(weights):
        names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        return {n.replace(k, v): w for n, w in weights.items() for k, v in names.items() if k in n} | {
            n: w for n, w in weights.items() if "parametrizations" not in n
        }

    found, expected = plain(found), plain(expected)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@torch.no_grad()
def test_the_classifier_gives_the_same_logits_and_comes_back_bit_for_bit(tmp_path, capsys):
    original = saved(Classifier(config()), tmp_path / "original")
    assert convert(tmp_path / "original", "fairseq", tmp_path / "model.pt") == 0
    said = capsys.readouterr().out
    assert "classes hap, neu, sad, ang" in said and "unknown" in said and "marked protocol paper" in said
    loaded = load_checkpoint(tmp_path / "model.pt")
    assert loaded.facts["classes"] == ["hap", "neu", "sad", "ang"] and loaded.facts["protocol"] == "paper"
    for length in (8000, 5133):
        wav, n_samples = padded_noise(length)
        torch.testing.assert_close(loaded.model(wav, n_samples)[0], original(wav), atol=1e-5, rtol=1e-5)
    assert convert(tmp_path / "model.pt", "hf", tmp_path / "again") == 0
    assert_same(weights_of(tmp_path / "again"), weights_of(tmp_path / "original"))
    again, info = Classifier.from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert again.config.id2label == {0: "hap", 1: "neu", 2: "sad", 3: "ang"}
    assert torch.equal(again.eval()(wav), original(wav))


def test_names_of_other_classes_are_in_the_folder(tmp_path, capsys):
    model = Classifier(config(), n_outputs=3)
    saved(model, tmp_path / "three")
    line = refusal(capsys, tmp_path / "three", "fairseq", tmp_path / "out.pt")
    assert "has 3 outputs and does not name them" in line and "id2label into" in line and "three/config.json" in line
    described = json.loads((tmp_path / "three" / "config.json").read_text())
    described["id2label"] = {"0": "calm", "1": "glad", "2": "sad"}
    (tmp_path / "three" / "config.json").write_text(json.dumps(described | {"final_dropout": "x"}))
    line = refusal(capsys, tmp_path / "three", "fairseq", tmp_path / "out.pt")
    assert "three/config.json: its final_dropout is 'x', not a number" in line
    (tmp_path / "three" / "config.json").write_text(json.dumps(described))
    assert convert(tmp_path / "three", "fairseq", tmp_path / "out.pt") == 0
    assert load_checkpoint(tmp_path / "out.pt").facts["classes"] == ["calm", "glad", "sad"]


def test_its_encoder_alone_is_an_encoder(tmp_path, caplog):
    original = saved(Classifier(config()), tmp_path / "original")
    loaded = load_speech_encoder(tmp_path / "original")
    assert "atten.atten_weight, classifier.fc_out_1.bias, classifier.fc_out_1.weight" in caplog.text
    assert torch.equal(loaded.state["mask_emb"], original.hubert.masked_spec_embed)
    # What CPT may begin with.
    assert convert(tmp_path / "original", "fairseq", tmp_path / "start.pt", "--reset-labels", "5", heads=False) == 0
    assert safe.load(tmp_path / "start.pt")["model"]["label_embs_concat"].shape[0] == 5 + 4


def test_labels_keep_their_rows_in_stock_fairseq_and_come_back_bit_for_bit(tmp_path, capsys):
    original = saved(Pretraining(config()), tmp_path / "original")
    assert convert(tmp_path / "original", "fairseq", tmp_path / "model.pt") == 0
    assert "random" not in capsys.readouterr().out
    emofair.register()
    (model,), _, task = load_model_ensemble_and_task([str(tmp_path / "model.pt")])
    (dictionary,) = task.dictionaries
    table = original.logit_generator.label_embeddings
    assert model.label_embs_concat.shape == (K + 4, 12)
    for k in range(K):
        assert torch.equal(model.label_embs_concat[dictionary.index(str(k))], table[k])
    assert torch.equal(model.final_proj.weight, original.logit_generator.final_proj.weight)
    assert model.label_embs_concat[:4].min() >= 0 and model.label_embs_concat[:4].max() <= 1
    assert convert(tmp_path / "model.pt", "hf", tmp_path / "again") == 0
    assert "left out" not in capsys.readouterr().out
    assert_same(weights_of(tmp_path / "again"), weights_of(tmp_path / "original"))
    # Without --heads the ids are forgotten: they mean nothing to other labels.
    assert convert(tmp_path / "original", "fairseq", tmp_path / "plain.pt", heads=False) == 0
    assert "label_embs_concat" not in safe.load(tmp_path / "plain.pt")["model"]


def test_rows_follow_the_dictionary(tmp_path):
    path = tiny_speech_checkpoint(tmp_path / "first.pt", "hubert")
    checkpoint = safe.load(path)
    (dictionary,) = checkpoint["task_state"]["dictionaries"]
    n = len(dictionary) - 4
    dictionary.symbols[4:] = dictionary.symbols[:3:-1]
    dictionary.indices = {symbol: i for i, symbol in enumerate(dictionary.symbols)}
    torch.save(checkpoint, path)
    assert convert(path, "hf", tmp_path / "hf") == 0
    table = weights_of(tmp_path / "hf")["logit_generator.label_embeddings"]
    assert torch.equal(table, checkpoint["model"]["label_embs_concat"][4:].flip(0)) and len(table) == n


@pytest.mark.parametrize("inside", [True, False])
def test_pre_training_of_lightning(inside, tmp_path, capsys):
    original = saved(Pretraining(config()), tmp_path / "original")
    state = {f"model.{name}": value for name, value in original.state_dict().items()}
    if inside:
        state = {name if "logit" in name else f"model.hubert.{name[6:]}": value for name, value in state.items()}
    torch.save({"state_dict": state, "epoch": 1}, tmp_path / "last.ckpt")
    heads = ["--speech-heads", "4"]
    assert convert(tmp_path / "last.ckpt", "fairseq", tmp_path / "model.pt", *heads) == 0
    assert "hubert from FLEA" in capsys.readouterr().out
    loaded = load_speech_encoder(tmp_path / "model.pt")
    assert loaded.spec.kind == "hubert" and loaded.symbols == tuple(map(str, range(K)))
    assert torch.equal(loaded.pretraining["label_embs_concat"][4:], original.logit_generator.label_embeddings)
    assert torch.equal(loaded.state["mask_emb"], original.masked_spec_embed)


def test_what_has_no_such_heads_is_refused(tmp_path, capsys):
    wav2vec2 = tiny_speech_checkpoint(tmp_path / "w2v.pt", "wav2vec2")
    assert "is a wav2vec2; FLEA is of HuBERT" in refusal(capsys, wav2vec2, "hf", tmp_path / "out")
    assert "has no table of labels" in refusal(capsys, wav2vec2, "fairseq", tmp_path / "out.pt")
    saved(transformers.HubertModel(config()), tmp_path / "plain")
    assert "has neither labels nor a classifier" in refusal(capsys, tmp_path / "plain", "hf", tmp_path / "out")
    saved(Classifier(config()), tmp_path / "classifier")
    assert "original code already" in refusal(capsys, tmp_path / "classifier", "hf", tmp_path / "out")
    both = refusal(capsys, tmp_path / "classifier", "fairseq", tmp_path / "out.pt", "--reset-labels", "5")
    assert "--reset-labels and --heads exclude each other" in both
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.pt").exists()


def test_missing_and_unknown_weights_are_named(tmp_path, capsys):
    from safetensors.torch import save_file

    saved(Classifier(config()), tmp_path / "folder")
    weights = weights_of(tmp_path / "folder")
    bias = weights.pop("classifier.fc_out_1.bias")
    save_file(weights, tmp_path / "folder" / "model.safetensors", {"format": "pt"})
    line = refusal(capsys, tmp_path / "folder", "fairseq", tmp_path / "out.pt")
    assert "model.safetensors: lacks weights that FLEA's original code saves: classifier.fc_out_1.bias" in line
    weights |= {"classifier.fc_out_1.bias": bias, "classifier.fc_out_2.bias": bias.clone()}
    save_file(weights, tmp_path / "folder" / "model.safetensors", {"format": "pt"})
    line = refusal(capsys, tmp_path / "folder", "fairseq", tmp_path / "out.pt")
    assert "does not know: classifier.fc_out_2.bias" in line


@pytest.mark.parametrize("options", [["--pooling", "mean"], ["--head-hidden", "8"], ["--layer", "2"]])
def test_a_classifier_that_the_original_cannot_hold(options, tmp_path, capsys):
    from fairseq import tasks

    from emofair.checkpoints.to_fairseq import configuration, stored_form, write_checkpoint

    encoder = tiny_speech_checkpoint(tmp_path / "hubert.pt", "hubert")
    task = [
        "--task",
        "speech_emotion",
        "--criterion",
        "emotion_classification",
        "--class-list",
        "a,b",
        "--class-weights",
        "none",
    ]
    cfg = configuration([*task, "--arch", "hubert_ser", "--w2v-path", str(encoder), *options], {})
    task = tasks.setup_task(cfg.task, from_checkpoint=True)
    model = task.build_model(cfg.model)
    write_checkpoint(stored_form(cfg, model.state_dict(), task.state_dict(), "x"), tmp_path / "model.pt")
    line = refusal(capsys, tmp_path / "model.pt", "hf", tmp_path / "out")
    assert f"no classifier with {options[0][2:].replace('-', '_')} {options[1]}" in line
