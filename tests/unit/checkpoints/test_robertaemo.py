from argparse import Namespace

import pytest
import torch
from omegaconf import OmegaConf

from emofair.checkpoints.robertaemo import read_upstream
from emofair.encoders.roberta import RobertaSpec
from emofair.errors import EmofairError
from emofair.models.robertaemo import RobertaEMOConfig, RobertaEMOModel
from emofair.testing.original_robertaemo import OriginalRobertaEMO as Original

HEAD = "emotion_classification_head"
TEXT = torch.tensor([[0, 11, 29, 7, 23, 7, 2], [0, 30, 4, 2, 1, 1, 1]])
SPEECH = torch.tensor([[0, 8, 2, 1, 1], [0, 5, 6, 7, 2]])


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
    upstream = read_upstream(original.save(tmp_path / "model.pt"))
    config, state = upstream.model, upstream.state
    torch.testing.assert_close(
        our_logits(config, state), original.logits(TEXT, SPEECH, use_cross=False), atol=1e-5, rtol=0
    )
    assert not config["stack_up"]
    assert (config["t_only"], config["a_only"]) == ("text" in modalities, "speech" in modalities)


@pytest.mark.parametrize("arch", ["semiemo", "robertEMO_large"])
def test_trained_cross_attention_is_used(arch, tmp_path):
    original = Original(stack_up=True)
    upstream = read_upstream(original.save(tmp_path / "model.pt", arch=arch))
    config, state = upstream.model, upstream.state
    assert config["stack_up"]
    assert config["encoder_layers_cross"] == 2
    torch.testing.assert_close(
        our_logits(config, state), original.logits(TEXT, SPEECH, use_cross=True), atol=1e-5, rtol=0
    )
    assert not torch.allclose(
        original.logits(TEXT, SPEECH, use_cross=True), original.logits(TEXT, SPEECH, use_cross=False), atol=1e-2
    )


def test_cross_attention_that_the_original_ignored_is_left_out(tmp_path, caplog):
    """Its last version computed --stack-up and then read the plain vectors, so all biases there are still 0."""
    original = Original(stack_up=True, cross_trained=False)
    upstream = read_upstream(original.save(tmp_path / "model.pt"))
    config, state = upstream.model, upstream.state
    assert not config["stack_up"]
    assert not any(name.startswith("cross_attention") for name in state)
    assert "never trained" in caplog.text
    torch.testing.assert_close(
        our_logits(config, state), original.logits(TEXT, SPEECH, use_cross=False), atol=1e-5, rtol=0
    )


def test_shapes_and_options_come_from_the_file(tmp_path):
    upstream = read_upstream(Original().save(tmp_path / "model.pt"))
    text = RobertaSpec.from_json(upstream.model["text_ssl_json"])
    speech = RobertaSpec.from_json(upstream.model["speech_ssl_json"])
    assert (text.vocab_size, text.embed_dim, text.ffn_dim, text.layers, text.heads) == (45, 128, 48, 2, 2)
    assert (speech.vocab_size, speech.embed_dim, speech.heads, speech.max_positions) == (35, 64, 1, 20)
    assert upstream.task == {"num_classes": 8, "binary_target_iemocap": True}
    for name, value in (("dropout", 0.2), ("attention_dropout", 0.3), ("pooler_dropout", 0.15)):
        assert upstream.model[name] == value
    assert not any("lm_head" in name or "_float_tensor" in name for name in upstream.state)


def test_attention_heads_that_cannot_be_known_must_be_given(tmp_path):
    path = Original(layers=0, widths=(96, 64)).save(tmp_path / "model.pt")
    with pytest.raises(EmofairError, match=r"heads of its text encoder.*96.*--text-heads"):
        read_upstream(path)
    config = read_upstream(path, text_heads=1).model
    assert RobertaSpec.from_json(config["text_ssl_json"]).heads == 1


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"args": Namespace(arch="roberta"), "model": {"encoder.weight": torch.zeros(1)}}, path)
    with pytest.raises(EmofairError, match="not a checkpoint of the original robertaEMO"):
        read_upstream(path)


def test_an_output_layer_of_another_width_is_refused(tmp_path):
    original = Original()
    original.head = torch.nn.Linear(128, 8)
    with pytest.raises(EmofairError, match=r"reads 128 values.*192"):
        read_upstream(original.save(tmp_path / "model.pt"))
