from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel

from emofair.encoders.roberta import RobertaSpec, RobertaTokenEncoder
from emofair.errors import EmofairError

SPEC = RobertaSpec(vocab_size=60, embed_dim=32, ffn_dim=48, layers=3, heads=4, max_positions=30)
# Two sequences of unequal length, padded with 1.
TOKENS = torch.tensor([[0, 11, 59, 7, 23, 7, 2], [0, 30, 4, 2, 1, 1, 1]])


def encoder_of(spec=SPEC, seed=0, scale=10.0, **options):
    """An encoder whose weights are large enough for attention to matter."""
    torch.manual_seed(seed)
    encoder = RobertaTokenEncoder(spec, **options)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.dim() == 2:
                parameter.mul_(scale)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval()


def stock_of(encoder):
    """fairseq's own RobertaModel with the weights of ``encoder``."""
    spec, dictionary = encoder.spec, Dictionary()
    for i in range(spec.vocab_size - 4):
        dictionary.add_symbol(f"w{i}")
    args = Namespace(
        encoder_layers=spec.layers,
        encoder_embed_dim=spec.embed_dim,
        encoder_ffn_embed_dim=spec.ffn_dim,
        encoder_attention_heads=spec.heads,
        max_positions=spec.max_positions,
        dropout=spec.dropout,
        attention_dropout=spec.attention_dropout,
        activation_dropout=spec.activation_dropout,
        activation_fn=spec.activation_fn,
        encoder_normalize_before=spec.normalize_before,
        layernorm_embedding=spec.layernorm_embedding,
        no_scale_embedding=not spec.scale_embedding,
        encoder_learned_pos=spec.positions == "learned",
        no_token_positional_embeddings=spec.positions == "none",
        encoder_layerdrop=spec.layerdrop,
    )
    model = RobertaModel.build_model(args, SimpleNamespace(source_dictionary=dictionary))
    missing, unexpected = torch.nn.Module.load_state_dict(model.encoder, encoder.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("lm_head.") for name in missing)
    return model.eval()


def hugging_face_of(encoder):
    """transformers' RobertaModel with the weights of ``encoder``."""
    transformers = pytest.importorskip("transformers")
    spec = encoder.spec
    config = transformers.RobertaConfig(
        vocab_size=spec.vocab_size,
        hidden_size=spec.embed_dim,
        intermediate_size=spec.ffn_dim,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        max_position_embeddings=spec.max_positions + 2,
        type_vocab_size=1,
        pad_token_id=1,
        layer_norm_eps=1e-5,
    )
    model = transformers.RobertaModel(config, add_pooling_layer=False).eval()
    names = {
        "self_attn.q_proj": "attention.self.query",
        "self_attn.k_proj": "attention.self.key",
        "self_attn.v_proj": "attention.self.value",
        "self_attn.out_proj": "attention.output.dense",
        "self_attn_layer_norm": "attention.output.LayerNorm",
        "fc1": "intermediate.dense",
        "fc2": "output.dense",
        "final_layer_norm": "output.LayerNorm",
        "embed_tokens": "embeddings.word_embeddings",
        "embed_positions": "embeddings.position_embeddings",
        "layernorm_embedding": "embeddings.LayerNorm",
    }
    state = {"embeddings.token_type_embeddings.weight": torch.zeros(1, spec.embed_dim)}
    for key, value in encoder.state_dict().items():
        key = key.removeprefix("sentence_encoder.")
        if key == "version":
            continue
        module, parameter = key.rsplit(".", 1)
        if module.startswith("layers."):
            _, number, module = module.split(".", 2)
            state[f"encoder.layer.{number}.{names[module]}.{parameter}"] = value
        else:
            state[f"{names[module]}.{parameter}"] = value
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("ids" in name for name in missing)  # buffers of position and type numbers
    return model


def hugging_face_features(model, tokens):
    with torch.no_grad():
        return model(input_ids=tokens, attention_mask=tokens.ne(1).long()).last_hidden_state


@pytest.mark.parametrize("tokens", [TOKENS, TOKENS[:1]], ids=["padded", "unpadded"])
def test_equals_transformers(tokens):
    encoder = encoder_of()
    features, padding_mask = encoder(tokens)
    expected = hugging_face_features(hugging_face_of(encoder), tokens)
    assert (features - expected)[~padding_mask].abs().max() < 1e-4
    assert features[~padding_mask].std() > 0.1
    assert torch.equal(padding_mask, tokens == 1)


def test_equals_transformers_at_base_size():
    spec = RobertaSpec(vocab_size=1000, embed_dim=768, ffn_dim=3072, layers=12, heads=12, max_positions=512)
    encoder = encoder_of(spec, scale=1.5)
    tokens = torch.randint(4, 1000, (2, 40))
    tokens[1, 25:] = 1
    with torch.no_grad():
        features, padding_mask = encoder(tokens)
    expected = hugging_face_features(hugging_face_of(encoder), tokens)
    assert (features - expected)[~padding_mask].abs().max() < 1e-4


VARIANTS = {
    "roberta": SPEC,
    "prenorm": RobertaSpec(60, 32, 48, 2, 4, 30, normalize_before=True, layernorm_embedding=False),
    "sinusoidal": RobertaSpec(60, 32, 48, 2, 4, 30, positions="sinusoidal", scale_embedding=True),
    "no positions, relu": RobertaSpec(60, 32, 48, 2, 4, 30, positions="none", activation_fn="relu"),
}


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS.keys())
def test_features_and_gradients_equal_stock_fairseq(spec):
    encoder = encoder_of(spec)
    stock = stock_of(encoder)
    ours, padding_mask = encoder(TOKENS)
    theirs, _ = stock(TOKENS, features_only=True)
    assert torch.equal(ours[~padding_mask], theirs[~padding_mask])
    weight = torch.randn(spec.embed_dim)
    (ours[:, 0] @ weight).pow(2).sum().backward()
    (theirs[:, 0] @ weight).pow(2).sum().backward()
    expected = dict(stock.encoder.named_parameters())
    for name, parameter in encoder.named_parameters():
        assert torch.equal(parameter.grad, expected[name].grad), name
    assert encoder.sentence_encoder.embed_tokens.weight.grad.abs().sum() > 0


def test_training_equals_stock_fairseq_with_dropout_and_layerdrop():
    spec = RobertaSpec(60, 32, 48, 4, 4, 30, dropout=0.3, attention_dropout=0.2, activation_dropout=0.1, layerdrop=0.4)
    encoder = encoder_of(spec).train()
    stock = stock_of(encoder).train()
    torch.manual_seed(5)
    ours = encoder(TOKENS)[0]
    torch.manual_seed(5)
    theirs = stock(TOKENS, features_only=True)[0]
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, encoder(TOKENS)[0])


@pytest.mark.parametrize("tokens", [TOKENS, TOKENS[:1]], ids=["padded", "unpadded"])
def test_training_without_dropout_equals_evaluation_with_and_without_gradient(tokens):
    spec = RobertaSpec(60, 32, 48, 3, 4, 30, dropout=0.0, attention_dropout=0.0)
    encoder = encoder_of(spec)
    _, padding_mask = encoder(tokens)
    results = []
    for training in (True, False):
        for gradient in (True, False):
            with torch.set_grad_enabled(gradient):
                results.append(encoder.train(training)(tokens)[0][~padding_mask])
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=1e-6, rtol=0)


def test_padding_changes_nothing():
    encoder = encoder_of()
    wide = torch.cat([TOKENS, torch.ones(2, 20, dtype=torch.long)], dim=1)
    alone = encoder(TOKENS[1:, :4])[0][0]
    assert (encoder(TOKENS)[0][1, :4] - alone).abs().max() < 1e-5
    assert (encoder(wide)[0][1, :4] - alone).abs().max() < 1e-5


def test_recomputed_activations_change_no_number_even_below_frozen_embeddings():
    encoder = encoder_of(RobertaSpec(60, 32, 48, 3, 4, 30, dropout=0.3)).train()
    encoder.sentence_encoder.embed_tokens.requires_grad_(False)
    encoder.sentence_encoder.embed_positions.requires_grad_(False)
    encoder.sentence_encoder.layernorm_embedding.requires_grad_(False)
    results, saved = [], []
    for on in (False, True):
        encoder.checkpoint_activations(on)
        encoder.zero_grad()
        kept = []
        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            features, _ = encoder(TOKENS)
        features[:, 0].pow(2).sum().backward()
        results.append([features, *(p.grad for p in encoder.parameters() if p.requires_grad)])
        saved.append(sum(kept))
    for plain, recomputed in zip(*results, strict=True):
        assert torch.equal(plain, recomputed)
    assert saved[1] < saved[0] / 3
    assert encoder.sentence_encoder.layers[0].fc1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_follow_the_dtype_of_the_weights(dtype):
    encoder = encoder_of()
    expected, padding_mask = encoder(TOKENS)
    features, _ = encoder.to(dtype)(TOKENS)
    assert features.dtype == dtype
    assert (features - expected)[~padding_mask].abs().max() < 0.2
    features[:, 0].float().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_autocast_gives_nearly_the_same_features_and_gradients():
    encoder = encoder_of()
    expected, padding_mask = encoder(TOKENS)
    with torch.autocast("cpu", torch.bfloat16):
        features, _ = encoder(TOKENS)
    assert (features - expected)[~padding_mask].abs().max() < 0.2
    features[:, 0].float().pow(2).sum().backward()
    assert encoder.sentence_encoder.embed_tokens.weight.grad.dtype == torch.float32


def test_a_copy_from_a_state_shares_nothing_and_is_fp32():
    for spec in VARIANTS.values():
        encoder = encoder_of(spec)
        half = {name: value.half() for name, value in encoder.state_dict().items()}
        copy = RobertaTokenEncoder.from_state(spec, half).eval()
        assert all(parameter.dtype == torch.float32 for parameter in copy.parameters())
        encoder.load_state_dict(half)
        assert torch.equal(copy(TOKENS)[0][:, 0], encoder(TOKENS)[0][:, 0])
        with torch.no_grad():
            copy.sentence_encoder.embed_tokens.weight.zero_()
        assert half["sentence_encoder.embed_tokens.weight"].any()


def test_new_encoders_start_as_bert_does():
    encoder = RobertaTokenEncoder(RobertaSpec(500, 64, 128, 2, 4))
    layer = encoder.sentence_encoder.layers[1]
    assert layer.fc1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not layer.fc1.bias.any()
    assert not encoder.sentence_encoder.embed_tokens.weight[1].any()


def test_the_spec_survives_json_and_refuses_nonsense():
    for spec in VARIANTS.values():
        assert RobertaSpec.from_json(spec.to_json()) == spec
        assert "\n" not in spec.to_json()
    for text in ("{", "[]", '{"vocab_size": 3}', '{"colour": 1}', SPEC.to_json().replace('"heads": 4', '"heads": 5')):
        with pytest.raises(EmofairError):
            RobertaSpec.from_json(text)
    with pytest.raises(EmofairError, match="dropout"):
        RobertaSpec(60, 32, 48, 2, 4, dropout=1.0)
    with pytest.raises(EmofairError, match="learned"):
        RobertaSpec(60, 32, 48, 2, 4, positions="rotary")
    with pytest.raises(EmofairError, match="activation_fn gelo is not known"):
        RobertaSpec(60, 32, 48, 2, 4, activation_fn="gelo")


def test_the_longest_sequence_fits_and_a_longer_one_is_refused():
    encoder = encoder_of()
    assert encoder.max_positions == 30
    assert encoder.sentence_encoder.embed_positions.weight.shape[0] == 32
    encoder(torch.full((1, 30), 5))
    with pytest.raises(EmofairError, match=r"31 tokens.* 30"):
        encoder(torch.full((1, 31), 5))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([[0, 60, 2]]), "id 60 .* vocabulary of 60"),
        (torch.tensor([[0, -1, 2]]), "id -1"),
        (torch.tensor([[0, 5, 2], [1, 1, 1]]), "padding only"),
        (torch.tensor([0, 5, 2]), "shape"),
        (torch.empty(0, 3, dtype=torch.long), "shape"),
    ],
)
def test_bad_tokens_are_refused(tokens, message):
    with pytest.raises(EmofairError, match=message):
        encoder_of()(tokens)


def test_32_bit_tokens_are_taken():
    encoder = encoder_of()
    assert torch.equal(encoder(TOKENS.int())[0], encoder(TOKENS)[0])


@pytest.mark.parametrize("normalize_before", [False, True])
@pytest.mark.parametrize("checkpoint_activations", [False, True])
def test_first_position_alone_has_the_numbers_and_gradients_of_the_whole(normalize_before, checkpoint_activations):
    torch.manual_seed(0)
    spec = RobertaSpec(60, 32, 64, 3, 4, dropout=0.0, attention_dropout=0.0, normalize_before=normalize_before)
    encoder = RobertaTokenEncoder(spec, checkpoint_activations=checkpoint_activations).train()
    tokens = torch.randint(4, 60, (3, 11))
    tokens[1, 7:] = tokens[2, 3:] = 1
    results = {}
    for first_only in (False, True):
        encoder.zero_grad()
        features, _ = encoder(tokens, first_only=first_only)
        features[:, 0].square().sum().backward()
        results[first_only] = features[:, 0].detach(), [p.grad.clone() for p in encoder.parameters()]
    assert encoder(tokens, first_only=True)[0].shape == (3, 1, 32)
    torch.testing.assert_close(results[True], results[False], atol=1e-5, rtol=1e-5)
