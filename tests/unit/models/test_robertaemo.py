"""robertaEMO against stock fairseq's hub interface, and what the flags make of the model."""

from __future__ import annotations

import math

import pytest
import torch
from fairseq import options
from fairseq.dataclass.initialize import add_defaults, hydra_init
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models.roberta import RobertaModel
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf, open_dict

from emofair.checkpoints.roberta import load_roberta
from emofair.encoders.roberta import RobertaSpec
from emofair.errors import EmofairError
from emofair.models import robertaemo
from emofair.models.robertaemo import ARCHITECTURES, RobertaEMOConfig, RobertaEMOModel
from emofair.tasks.emotion_prediction import EmotionPredictionTask

HEAD = "emotion_classification_head"
TEXT = torch.tensor([[0, 11, 29, 7, 23, 7, 2], [0, 30, 4, 2, 1, 1, 1]])
SPEECH = torch.tensor([[0, 8, 2, 1, 1], [0, 5, 6, 7, 2]])
MODES = {
    "text": {"t_only": True},
    "speech": {"a_only": True},
    "both": {"all_in": True},
    "both, mean": {"all_in": True, "pooling": "mean"},
    "cross": {"all_in": True, "stack_up": True},
    "cross, mean": {"all_in": True, "stack_up": True, "pooling": "mean"},
    "cross, full block": {"all_in": True, "stack_up": True, "cross_block": "full"},
}
each_mode = pytest.mark.parametrize("mode", MODES)


def config(ssl_dir, **options):
    base = {"_name": "robertaEMO", "ssl_dir": str(ssl_dir), "encoder_attention_heads": 4}
    options = base | {"classification_head_name": HEAD} | options
    return OmegaConf.merge(OmegaConf.structured(RobertaEMOConfig), options)


def build(ssl_dir, outputs=8, **options):
    """A model with its pretrained weights, as the task makes it."""
    torch.manual_seed(0)
    model = RobertaEMOModel.build_model(config(ssl_dir, **options))
    model.load_pretrained()
    model.register_classification_head(HEAD, outputs)
    return model.eval()


def without_dropout(model):
    model.train()
    for part in model.modules():
        if "Dropout" in type(part).__name__:  # torch's and fairseq's
            part.p = 0.0
    return model


def logits_of(model, audio=SPEECH, text=TEXT):
    return model(audio=audio, text=text, classification_head_name=HEAD)[0]


@pytest.fixture(scope="module")
def hub_features(ssl_dir):
    """What stock fairseq's hub interface says of each sequence on its own, without padding."""
    features = {}
    for name, folder, file, tokens in (
        ("text", "roberta.large", "model.pt", TEXT),
        ("speech", "vq-wav2vec-Kmeans-Roberta", "bert_kmeans.pt", SPEECH),
    ):
        folder = str(ssl_dir / folder)
        hub = RobertaModel.from_pretrained(folder, file, data_name_or_path=folder, bpe=None).eval()
        with torch.no_grad():
            features[name] = [hub.extract_features(row[row != 1])[0] for row in tokens]
    return features


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("modalities", [("text", "speech"), ("text",), ("speech",)], ids="+".join)
def test_logits_are_a_linear_map_of_the_hub_interfaces_features(ssl_dir, hub_features, modalities, pooling):
    chosen = {"t_only": "text" in modalities, "a_only": "speech" in modalities}
    model = build(ssl_dir, pooling=pooling, pooler_dropout=0.3, **chosen)
    summary = {
        name: torch.stack([each[0] if pooling == "cls" else each.mean(dim=0) for each in hub_features[name]])
        for name in modalities
    }
    fused = torch.cat([summary[name] for name in modalities], dim=1)  # text first
    layer = model.classification_heads[HEAD].out_proj
    logits, extra = model(audio=SPEECH, text=TEXT, classification_head_name=HEAD)
    torch.testing.assert_close(logits, fused @ layer.weight.T + layer.bias, atol=1e-5, rtol=0)
    torch.testing.assert_close(extra["fused"], fused, atol=1e-5, rtol=0)
    for name in modalities:
        torch.testing.assert_close(extra[f"{name}_cls"], summary[name], atol=1e-5, rtol=0)


def test_cross_attention_asks_with_one_modality_and_reads_the_other(ssl_dir, hub_features):
    model = build(ssl_dir, all_in=True, stack_up=True)
    fused = []
    for i in range(2):  # each utterance alone, without padding
        text, speech = (hub_features[name][i][None] for name in ("text", "speech"))
        none = {name: torch.zeros(f.shape[:2], dtype=torch.bool) for name, f in (("t", text), ("s", speech))}
        parts = model.cross_attention(text, none["t"], speech, none["s"], text[:, 0], speech[:, 0])
        fused.append(torch.cat(parts, dim=1))
    expected = model.classification_heads[HEAD].out_proj(torch.cat(fused))
    torch.testing.assert_close(logits_of(model), expected, atol=1e-5, rtol=0)


def test_stack_up_changes_the_logits_and_trains_both_stacks(ssl_dir):
    plain, crossed = build(ssl_dir, all_in=True), build(ssl_dir, all_in=True, stack_up=True)
    crossed.classification_heads.load_state_dict(plain.classification_heads.state_dict())
    assert (logits_of(plain) - logits_of(crossed)).abs().max() > 1e-3
    logits_of(crossed).square().sum().backward()
    for stack in (crossed.cross_attention.ta, crossed.cross_attention.at):
        for name, parameter in stack.named_parameters():
            assert parameter.grad is not None, name
            if "k_proj.bias" not in name:  # softmax does not see it
                assert parameter.grad.abs().max() > 0, name


def test_a_full_block_is_another_function_with_its_own_width(ssl_dir):
    full = build(ssl_dir, all_in=True, stack_up=True, cross_block="full", encoder_ffn_embed_dim=20)
    assert full.cross_attention.ta[0].fc1.weight.shape == (20, 48)
    plain = build(ssl_dir, all_in=True, stack_up=True)
    assert (logits_of(plain) - logits_of(full)).abs().max() > 1e-3


@each_mode
def test_every_parameter_gets_a_gradient(ssl_dir, mode):
    """So that DDP works without --find-unused-parameters."""
    model = build(ssl_dir, **MODES[mode]).train()
    logits_of(model).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not any("lm_head" in name for name in model.state_dict())


@each_mode
@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_nothing(ssl_dir, mode, training):
    model = build(ssl_dir, **MODES[mode])
    model = without_dropout(model) if training else model
    with torch.set_grad_enabled(training):
        together = logits_of(model)
        more = [torch.nn.functional.pad(tokens, (0, 6), value=1) for tokens in (SPEECH, TEXT)]
        torch.testing.assert_close(logits_of(model, *more), together, atol=1e-5, rtol=1e-5)
        for i in range(2):
            alone = [tokens[i : i + 1, tokens[i] != 1] for tokens in (SPEECH, TEXT)]
            torch.testing.assert_close(logits_of(model, *alone)[0], together[i], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["both", "cross"])
def test_every_token_of_both_modalities_counts(ssl_dir, mode):
    model = build(ssl_dir, **MODES[mode])
    expected = logits_of(model)
    for name, tokens in (("text", TEXT), ("audio", SPEECH)):
        for place in range(1, 3):
            changed = tokens.clone()
            changed[1, place] = 12
            other = logits_of(model, **{"text": TEXT, "audio": SPEECH, name: changed})
            assert torch.allclose(other[0], expected[0], atol=1e-6)
            assert (other[1] - expected[1]).abs().max() > 1e-4, (name, place)


@each_mode
def test_recomputing_activations_changes_no_number(ssl_dir, mode):
    gradients = []
    for recompute in (False, True):
        model = without_dropout(build(ssl_dir, checkpoint_activations=recompute, **MODES[mode]))
        logits = logits_of(model)
        logits.square().sum().backward()
        gradients.append((logits.detach(), {name: p.grad for name, p in model.named_parameters()}))
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-6)


def test_pretrained_weights_survive_initialisation(ssl_dir):
    """BERT's initialisation is for the cross-attention only, and comes before the pretrained weights."""
    model = build(ssl_dir, all_in=True, stack_up=True)
    for name, folder in (("text", "roberta.large"), ("speech", "vq-wav2vec-Kmeans-Roberta")):
        pretrained = load_roberta(ssl_dir / folder).state
        ours = model.encoder(name).state_dict()
        assert ours.keys() == pretrained.keys()
        assert all(torch.equal(ours[key], value) for key, value in pretrained.items())


def test_initialisation_of_what_is_new(tmp_path):
    from emofair.testing import tiny_ssl_dir

    wide = tiny_ssl_dir(tmp_path, text_dim=128, speech_dim=64, layers=1)
    model = build(wide, all_in=True, stack_up=True)
    for name, parameter in model.cross_attention.named_parameters():
        if name.endswith("weight"):
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name
        else:
            assert not parameter.any(), name
    layer = model.classification_heads[HEAD].out_proj
    bound = 1 / math.sqrt(192)  # torch's own for a linear layer, which is wider than BERT's
    assert layer.weight.abs().max() <= bound and layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    assert layer.bias.any() and layer.bias.abs().max() <= bound


@each_mode
def test_frozen_encoders_keep_their_weights_and_their_output(ssl_dir, mode):
    model = build(ssl_dir, frozen_ssl=True, **MODES[mode]).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features = model.encode(SPEECH, TEXT)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(2):
        loss = logits_of(model).square().sum()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        optimizer.step()
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"classification_heads"} | ({"cross_attention"} if model.stack_up else set())
    for name, encoded in model.encode(SPEECH, TEXT).items():  # no dropout, though the model is training
        assert torch.equal(encoded.features, features[name].features) and not encoded.features.requires_grad


def test_only_what_was_asked_for_is_loaded(ssl_dir, tmp_path):
    for name, folder in (("text", "roberta.large"), ("speech", "vq-wav2vec-Kmeans-Roberta")):
        (tmp_path / name).mkdir()
        (tmp_path / name / folder).symlink_to(ssl_dir / folder)
        options = {"t_only": name == "text", "a_only": name == "speech"}
        model = build(tmp_path / name, **options)
        assert model.modalities == (name,) and {n.split("_")[0] for n in model.state_dict()} == {name, "classification"}
        assert model.fused_dim == {"text": 48, "speech": 32}[name]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"all_in": True}, ("text", "speech")),
        ({"a_only": True, "t_only": True}, ("text", "speech")),
        ({"a_only": True, "all_in": True}, ("text", "speech")),
        ({"t_only": True}, ("text",)),
        ({"a_only": True}, ("speech",)),
    ],
)
def test_modalities(options, expected):
    assert robertaemo.modalities(OmegaConf.structured(RobertaEMOConfig(**options))) == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no modality is chosen.*--all-in, --a-only"),
        ({"v_only": True}, "--v-only: there is no video branch"),
        ({"v_only": True, "all_in": True}, "--v-only: there is no video branch"),
        ({"a_only": True, "stack_up": True}, "--stack-up needs both modalities.*speech"),
        ({"all_in": True, "encoder_embed_dim_t": 1024}, "--encoder-embed-dim-t 1024.*text encoder's width is 48"),
        ({"all_in": True, "encoder_embed_dim_a": 768}, "--encoder-embed-dim-a 768.*speech encoder's width is 32"),
        ({"all_in": True, "encoder_embed_dim_concat": 1792}, "concat 1792.*text . speech has width 80"),
        ({"t_only": True, "encoder_embed_dim_concat": 80}, "concat 80.*vector of text has width 48"),
        ({"all_in": True, "ssl_random": "huge"}, "--ssl-random huge: unknown size.*tiny, base, large"),
        ({"t_only": True, "pooler_dropout": 2.0}, "--pooler-dropout 2.0 is no probability.*0 to below 1"),
        ({"t_only": True, "dropout": -0.1}, "--dropout -0.1 is no probability"),
        ({"t_only": True, "attention_dropout": float("nan")}, "--attention-dropout nan is no probability"),
        ({"t_only": True, "activation_fn": "gelo"}, "--activation-fn gelo is not known.*gelu,"),
    ],
)
def test_what_cannot_work_is_told(ssl_dir, options, said):
    with pytest.raises(EmofairError, match=said):
        build(ssl_dir, **options)


def test_right_widths_are_accepted(ssl_dir):
    widths = {"encoder_embed_dim_t": 48, "encoder_embed_dim_a": 32, "encoder_embed_dim_concat": 80}
    assert build(ssl_dir, all_in=True, **widths).fused_dim == 80


def test_architectures(ssl_dir, tmp_path):
    (tmp_path / "roberta.base").symlink_to(ssl_dir / "roberta.large")
    for folder in ("roberta.large", "vq-wav2vec-Kmeans-Roberta"):
        (tmp_path / folder).symlink_to(ssl_dir / folder)
    for name in ARCHITECTURES:
        if name in ("robertaEMO_tiny", "semiemo"):
            continue
        model = RobertaEMOModel.build_model(config(tmp_path, _name=name, all_in=True, encoder_attention_heads=None))
        assert model.stack_up == (name == "robertaEMO_mulT")
        assert (model.cfg.encoder_attention_heads, model.cfg.encoder_layers_cross) == (16, 1)
        folder = "roberta.base" if name == "robertaEMO_base" else "roberta.large"
        assert RobertaEMOModel._pretrained_path(model.cfg, "text") == tmp_path / folder
    tiny = RobertaEMOModel.build_model(config(tmp_path / "absent", _name="robertaEMO_tiny", all_in=True))
    tiny.load_pretrained()
    assert (tiny.text_encoder.max_positions, tiny.speech_encoder.max_positions) == (512, 2048)


def test_the_named_sizes_are_the_published_ones():
    """roberta.large (355 M parameters less its LM head) and a base model of 13.6 k codes; 1792 values fused."""
    cfg = config("absent", all_in=True, ssl_random="large")
    with torch.device("meta"):
        model = RobertaEMOModel.build_model(cfg)
        model.register_classification_head(HEAD, 8)

    def millions(part):
        return sum(p.numel() for p in part.parameters()) / 1e6

    assert millions(model.text_encoder) == pytest.approx(354.3, abs=0.1)
    assert millions(model.speech_encoder) == pytest.approx(97.1, abs=0.2)
    assert model.classification_heads[HEAD].out_proj.weight.shape == (8, 1792)


def test_the_configuration_describes_the_encoders(ssl_dir):
    cfg = config(ssl_dir, all_in=True)
    RobertaEMOModel.prepare_config(cfg)
    assert RobertaSpec.from_json(cfg.text_ssl_json) == load_roberta(ssl_dir / "roberta.large").spec
    cfg.ssl_dir = str(ssl_dir / "absent")
    rebuilt = RobertaEMOModel.build_model(cfg)
    rebuilt.register_classification_head(HEAD, 8)
    trained = build(ssl_dir, all_in=True)
    rebuilt.load_state_dict(trained.state_dict(), strict=True)
    assert torch.equal(logits_of(rebuilt.eval()), logits_of(trained))


def test_heads_of_a_checkpoint(ssl_dir, caplog):
    """Renamed: the old one is left out and the new one starts fresh; kept on request, but then not trained."""
    trained = build(ssl_dir, t_only=True)
    state = trained.state_dict()
    renamed = build(ssl_dir, t_only=True)
    del renamed.classification_heads[HEAD]
    renamed.register_classification_head("sentiment", 1)
    fresh = renamed.classification_heads["sentiment"].out_proj.weight.clone()
    renamed.load_state_dict(dict(state), strict=True)
    assert set(renamed.classification_heads) == {"sentiment"}
    assert torch.equal(renamed.classification_heads["sentiment"].out_proj.weight, fresh)

    keeping = build(ssl_dir, t_only=True, load_checkpoint_heads=True)
    del keeping.classification_heads[HEAD]
    keeping.register_classification_head("sentiment", 1)
    keeping.load_state_dict(dict(state), strict=True)
    assert torch.equal(logits_of(keeping), logits_of(trained))
    trainable = [name for name, p in keeping.named_parameters() if p.requires_grad and "classification_heads" in name]
    assert trainable == [
        "classification_heads.sentiment.out_proj.weight",
        "classification_heads.sentiment.out_proj.bias",
    ]

    other = build(ssl_dir, outputs=7, t_only=True)
    with pytest.raises(EmofairError, match=r"has 8 outputs of width 48, the model 7 of width 48"):
        other.load_state_dict(dict(state))


def test_kept_heads_are_where_the_model_is(ssl_dir):
    state = build(ssl_dir, t_only=True).state_dict()
    half = build(ssl_dir, t_only=True, load_checkpoint_heads=True).to(torch.bfloat16)
    del half.classification_heads[HEAD]
    half.load_state_dict(state, strict=True)
    assert half.classification_heads[HEAD].out_proj.weight.dtype == torch.bfloat16


def test_the_call_of_the_original_and_ours_are_one(ssl_dir):
    model = build(ssl_dir, all_in=True)
    batch = {"audio": SPEECH, "text": TEXT}
    logits, _ = model(batch, features_only=True, classification_head_name=HEAD)
    assert torch.equal(logits, logits_of(model))
    fused, extra = model(batch)
    assert fused is extra["fused"] and fused.shape == (2, 80)
    assert model.max_positions() is None and model.get_targets({"target": 3}, None) == 3
    with pytest.raises(EmofairError, match="the batch holds no speech tokens"):
        model(text=TEXT)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_flags_and_hydra_give_the_same_model(ssl_dir, name, tmp_path):
    """fairseq applies architectures from flags only; here both ways end in one configuration and one set of shapes."""
    flags = ["--data", tmp_path, "--data-raw", tmp_path, "--task", "emotion_prediction", "--softmax-target-meld"]
    flags += ["--criterion", "emotion_prediction_cri", "--arch", name, "--all-in", "--ssl-dir", ssl_dir]
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=[str(flag) for flag in flags])
    task = {"_name": "emotion_prediction", "data": str(tmp_path), "softmax_target_meld": True}
    model = {"_name": name, "all_in": True, "ssl_dir": str(ssl_dir)}
    built = {}
    for front_end in ("flags", "hydra"):
        if front_end == "flags":
            cfg = convert_namespace_to_omegaconf(args)
        else:
            hydra_init("t2")
            with initialize_config_module("fairseq.config", version_base="1.1"):
                cfg = compose("t2")
            with open_dict(cfg):
                cfg.task, cfg.model, cfg.criterion = task, model, {"_name": "emotion_prediction_cri"}
            add_defaults(cfg)
        made = EmotionPredictionTask(cfg.task).build_model(cfg.model)
        built[front_end] = (
            {key: value for key, value in OmegaConf.to_container(made.cfg, resolve=True).items() if key != "_name"},
            {key: tuple(value.shape) for key, value in made.state_dict().items()},
            type(made),
        )
    assert built["flags"] == built["hydra"]
    assert built["hydra"][0]["stack_up"] == (name == "robertaEMO_mulT")
    assert built["hydra"][0]["encoder_attention_heads"] == 16
