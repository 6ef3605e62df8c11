from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from fairseq.modules import MultiheadAttention
from omegaconf import OmegaConf

from emofair.checkpoints.robertaemo import import_upstream, read_upstream
from emofair.encoders.roberta import RobertaSpec
from emofair.errors import EmofairError
from emofair.models.robertaemo import RobertaEMOConfig, RobertaEMOModel

HEAD = "emotion_classification_head"
WIDTHS = {"text": 128, "speech": 64}  # 64 per attention head, as in the published models
TEXT = torch.tensor([[0, 11, 29, 7, 23, 7, 2], [0, 30, 4, 2, 1, 1, 1]])
SPEECH = torch.tensor([[0, 8, 2, 1, 1], [0, 5, 6, 7, 2]])


def stock_encoder(width, words):
    dictionary = Dictionary()
    for i in range(words):
        dictionary.add_symbol(f"w{i}")
    args = Namespace(
        encoder_layers=2,
        encoder_embed_dim=width,
        encoder_ffn_embed_dim=48,
        encoder_attention_heads=width // 64,
        max_positions=20,
    )
    model = RobertaModel.build_model(args, SimpleNamespace(source_dictionary=dictionary)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


class Original:
    """The original's parts, built from stock fairseq, its checkpoint, and what it computes."""

    def __init__(self, stack_up=False, layers=2, classes=8, modalities=("text", "speech"), cross_trained=True):
        torch.manual_seed(0)
        self.modalities, self.stack_up = modalities, stack_up
        self.encoders = {name: stock_encoder(WIDTHS[name], words) for name, words in (("text", 40), ("speech", 30))}
        self.cross = {"ta": [], "at": []}
        for name, query, memory in (("ta", 128, 64), ("at", 64, 128)):
            for _ in range(layers):
                attention = MultiheadAttention(query, 4, kdim=memory, vdim=memory, encoder_decoder_attention=True)
                for key, parameter in attention.named_parameters():
                    if key.endswith("bias"):
                        torch.nn.init.normal_(parameter, std=0.1 if cross_trained else 0.0)
                self.cross[name].append(attention.eval())
        self.head = torch.nn.Linear(sum(WIDTHS[name] for name in modalities), classes)
        self.classes = classes

    def save(self, path, arch="robertEMO_large", **options):
        state = {}
        branches = {"text": "model_text2vec", "speech": "roberta_vqwav2vec"}
        for name in self.modalities:
            state[f"{branches[name]}._float_tensor"] = torch.zeros(1)
            for key, value in self.encoders[name].state_dict().items():
                if not key.endswith(".version"):
                    key = key.replace("encoder.", "decoder.", 1).replace("layernorm_embedding", "emb_layer_norm")
                    state[f"{branches[name]}.model.{key}"] = value
        if self.stack_up:
            for name, attentions in self.cross.items():
                for i, attention in enumerate(attentions):
                    for key, value in attention.state_dict().items():
                        state[f"decoder.sentence_encoder.layers_{name}.{i}.self_cross_attn.{key}"] = value
        for key, value in self.head.state_dict().items():
            state[f"classification_heads.{HEAD}.out_proj.{key}"] = value
        values = {
            "arch": arch,
            "task": "emotion_prediction",
            "criterion": "emotion_prediction_cri",
            "data": "./T_data/iemocap",
            "num_classes": self.classes,
            "binary_target_iemocap": True,
            "a_only": "speech" in self.modalities,
            "t_only": "text" in self.modalities,
            "all_in": False,
            "stack_up": self.stack_up,
            "encoder_layers_cross": len(self.cross["ta"]),
            "encoder_attention_heads": 4,
            "encoder_embed_dim_concat": 1792,
            "dropout": 0.2,
            "attention_dropout": 0.3,
            "pooler_dropout": 0.15,
        }
        torch.save({"args": Namespace(**values | options), "model": state, "extra_state": {"epoch": 3}}, path)
        return path

    @torch.no_grad()
    def logits(self, use_cross):
        features = {
            "text": self.encoders["text"](TEXT, features_only=True)[0],
            "speech": self.encoders["speech"](SPEECH, features_only=True)[0],
        }
        first = {name: value[:, 0] for name, value in features.items()}
        if use_cross:
            padding = {"text": TEXT == 1, "speech": SPEECH == 1}
            for stack, query, memory in (("ta", "text", "speech"), ("at", "speech", "text")):
                keys = (features[memory] * ~padding[memory][..., None]).transpose(0, 1)
                x = features[query][:, :1].transpose(0, 1)
                for attention in self.cross[stack]:
                    x = x + attention(x, keys, keys, key_padding_mask=padding[memory])[0]
                first[query] = x[0]
        return self.head(torch.cat([first[name] for name in self.modalities], dim=1))


def our_logits(config, state):
    cfg = OmegaConf.merge(OmegaConf.structured(RobertaEMOConfig), {**config, "classification_head_name": HEAD})
    model = RobertaEMOModel.build_model(cfg)
    model.register_classification_head(HEAD, state[f"classification_heads.{HEAD}.out_proj.weight"].shape[0])
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        return model.eval()(audio=SPEECH, text=TEXT, classification_head_name=HEAD)[0]


@pytest.mark.parametrize("modalities", [("text", "speech"), ("text",), ("speech",)], ids="+".join)
def test_shallow_fusion_gives_the_originals_logits(modalities, tmp_path):
    original = Original(modalities=modalities)
    config, state = import_upstream(original.save(tmp_path / "model.pt"))
    torch.testing.assert_close(our_logits(config, state), original.logits(False), atol=1e-5, rtol=0)
    assert not config["stack_up"]
    assert (config["t_only"], config["a_only"]) == ("text" in modalities, "speech" in modalities)


@pytest.mark.parametrize("arch", ["semiemo", "robertEMO_large"])
def test_trained_cross_attention_is_used(arch, tmp_path):
    original = Original(stack_up=True)
    config, state = import_upstream(original.save(tmp_path / "model.pt", arch=arch))
    assert config["stack_up"]
    assert config["encoder_layers_cross"] == 2
    torch.testing.assert_close(our_logits(config, state), original.logits(True), atol=1e-5, rtol=0)
    assert not torch.allclose(original.logits(True), original.logits(False), atol=1e-2)


def test_cross_attention_that_the_original_ignored_is_left_out(tmp_path, caplog):
    """Its last version computed --stack-up and then read the plain vectors, so all biases there are still 0."""
    original = Original(stack_up=True, cross_trained=False)
    config, state = import_upstream(original.save(tmp_path / "model.pt"))
    assert not config["stack_up"]
    assert not any(name.startswith("cross_attention") for name in state)
    assert "never trained" in caplog.text
    torch.testing.assert_close(our_logits(config, state), original.logits(False), atol=1e-5, rtol=0)


def test_shapes_and_options_come_from_the_file(tmp_path):
    upstream = read_upstream(Original().save(tmp_path / "model.pt"))
    text = RobertaSpec.from_json(upstream.model["text_ssl_json"])
    speech = RobertaSpec.from_json(upstream.model["speech_ssl_json"])
    assert (text.vocab_size, text.embed_dim, text.ffn_dim, text.layers, text.heads) == (44, 128, 48, 2, 2)
    assert (speech.vocab_size, speech.embed_dim, speech.heads, speech.max_positions) == (34, 64, 1, 20)
    assert upstream.task == {"num_classes": 8, "binary_target_iemocap": True}
    for name, value in (("dropout", 0.2), ("attention_dropout", 0.3), ("pooler_dropout", 0.15)):
        assert upstream.model[name] == value
    assert not any("lm_head" in name or "_float_tensor" in name for name in upstream.state)


def test_attention_heads_that_cannot_be_known_must_be_given(tmp_path, monkeypatch):
    monkeypatch.setitem(WIDTHS, "text", 96)
    original = Original(stack_up=False, layers=0)
    path = original.save(tmp_path / "model.pt")
    with pytest.raises(EmofairError, match=r"heads of its text encoder.*96.*text_heads"):
        import_upstream(path)
    config, _ = import_upstream(path, text_heads=1)
    assert RobertaSpec.from_json(config["text_ssl_json"]).heads == 1


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"args": Namespace(arch="roberta"), "model": {"encoder.weight": torch.zeros(1)}}, path)
    with pytest.raises(EmofairError, match="not a checkpoint of the original robertaEMO"):
        import_upstream(path)


def test_an_output_layer_of_another_width_is_refused(tmp_path):
    original = Original()
    original.head = torch.nn.Linear(128, 8)
    with pytest.raises(EmofairError, match=r"reads 128 values.*192"):
        import_upstream(original.save(tmp_path / "model.pt"))
