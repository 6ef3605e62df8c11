"""semiemo: supervised it is robertaEMO; views, mixing and consistency against their definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

from emofair.errors import EmofairError
from emofair.models.robertaemo import RobertaEMOModel
from emofair.models.semiemo import SemiEMOConfig, SemiEMOModel

HEAD = "emotion_classification_head"
TEXT = torch.tensor([[0, 11, 29, 7, 23, 7, 2], [0, 30, 4, 2, 1, 1, 1]])
SPEECH = torch.tensor([[0, 8, 2, 1, 1], [0, 5, 6, 7, 2]])
LABELLED = {"text": TEXT, "audio": SPEECH}
UNLABELLED = {"text": TEXT[:, :5] + 3 * (TEXT[:, :5] > 2), "audio": SPEECH.flip(0)}


def build(ssl_dir, model=SemiEMOModel, outputs=8, **options):
    torch.manual_seed(0)
    base = {"_name": "semiemo", "ssl_dir": str(ssl_dir), "all_in": True, "stack_up": True, "encoder_attention_heads": 4}
    base |= {"dropout": 0.0, "attention_dropout": 0.0, "classification_head_name": HEAD}
    built = model.build_model(OmegaConf.merge(OmegaConf.structured(SemiEMOConfig), base | options))
    built.load_pretrained()
    built.register_classification_head(HEAD, outputs)
    return built.eval()


def call(model, **options):
    return model(LABELLED, features_only=True, classification_head_name=HEAD, **options)


@pytest.mark.parametrize("stack_up", [False, True])
def test_supervised_it_is_robertaemo(ssl_dir, stack_up):
    semi, plain = (build(ssl_dir, model, stack_up=stack_up) for model in (SemiEMOModel, RobertaEMOModel))
    assert semi.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(semi.state_dict())
    assert torch.equal(call(semi, unlabelled=UNLABELLED)[0], call(plain)[0])
    assert call(semi, unlabelled=UNLABELLED)[1].keys() == call(plain)[1].keys()


def test_uda_compares_clean_and_masked_views(ssl_dir):
    model = build(ssl_dir, semisup="uda", aug_mask_audio=0.9, aug_mask_text=0.9)
    logits, extra = call(model, unlabelled=UNLABELLED)
    clean = model(UNLABELLED, features_only=True, classification_head_name=HEAD)[0]
    torch.testing.assert_close(extra["ori_uda_logits"], clean)
    assert not extra["ori_uda_logits"].requires_grad and extra["aug_uda_logits"].requires_grad
    assert (extra["aug_uda_logits"] - clean).abs().max() > 1e-3
    assert torch.equal(logits, call(model)[0])
    # With nothing hidden both views are one.
    model.hidden_fraction = {"text": 0.0, "speech": 0.0}
    extra = call(model, unlabelled=UNLABELLED)[1]
    torch.testing.assert_close(extra["aug_uda_logits"], extra["ori_uda_logits"])


def test_a_view_hides_the_fraction_asked_for_but_never_the_first_position(ssl_dir):
    model = build(ssl_dir, semisup="uda", aug_mask_audio=0.3, aug_mask_text=0.1)
    encoded = model.encode(torch.full((40, 500), 5), torch.full((40, 500), 7))
    hidden = model._hide(encoded)
    for name, fraction in (("speech", 0.3), ("text", 0.1)):
        assert hidden[name][:, 1:].float().mean().item() == pytest.approx(fraction, abs=0.01)
        assert not hidden[name][:, 0].any()


def test_hidden_positions_are_not_looked_at(ssl_dir):
    model = build(ssl_dir, semisup="uda")
    encoded = model.encode(SPEECH, TEXT)
    hidden = {"speech": torch.zeros_like(SPEECH).bool(), "text": torch.zeros_like(TEXT).bool()}
    hidden["speech"][1, 2:], hidden["text"][0, 3] = True, True
    expected = model.fuse(encoded, hidden)
    for name, where in hidden.items():
        features = encoded[name].features.masked_fill(where[..., None], 100.0)
        encoded[name] = encoded[name]._replace(features=features)
    torch.testing.assert_close(model.fuse(encoded, hidden), expected)
    assert (model.fuse(encoded) - expected).abs().max() > 1e-3


@pytest.mark.parametrize(("outputs", "groups", "width"), [(8, 4, 2), (7, 1, 7)], ids=["binary", "softmax"])
def test_mixmatch(ssl_dir, outputs, groups, width):
    """Targets are mixed as the vectors are; the pseudo label is the sharpened mean of two views."""
    model = build(ssl_dir, outputs=outputs, semisup="mixmatch", aug_mask_audio=0.0, aug_mask_text=0.0)
    targets = F.one_hot(torch.arange(2 * groups).view(2, groups) % width, width).float()
    torch.manual_seed(5)
    _, extra = call(model, unlabelled=UNLABELLED, target_probabilities=targets)
    torch.manual_seed(5)
    for tokens in (UNLABELLED["text"], UNLABELLED["audio"]) * 2:  # what hiding draws, twice
        torch.rand(tokens.shape)
    share = torch.distributions.Beta(0.75, 0.75).sample()
    share = torch.maximum(share, 1 - share)
    partner = torch.randperm(6)
    # Without hidden positions both views are the clean vectors.
    fused = torch.cat([model(LABELLED)[0], *[model(UNLABELLED)[0]] * 2])
    head = model.classification_heads[HEAD]
    guess = head(model(UNLABELLED)[0]).view(2, groups, width).softmax(-1) ** 2
    guess = guess / guess.sum(-1, keepdim=True)
    wanted = torch.cat([targets, guess, guess])
    torch.testing.assert_close(extra["mixup_targets"], share * wanted + (1 - share) * wanted[partner])
    mixed = head(share * fused + (1 - share) * fused[partner]).view(6, groups, width)
    torch.testing.assert_close(extra["mixup_logits"], mixed)
    torch.testing.assert_close(extra["mixup_targets"].sum(-1), torch.ones(6, groups))
    assert not extra["mixup_targets"].requires_grad


@pytest.mark.parametrize("semisup", ["none", "mixmatch", "uda"])
def test_every_parameter_gets_a_gradient(ssl_dir, semisup):
    model = build(ssl_dir, semisup=semisup).train()
    targets = torch.full((2, 4, 2), 0.5)
    logits, extra = call(model, unlabelled=UNLABELLED, target_probabilities=targets)
    loss = logits.square().sum()
    for name in ("mixup_logits", "aug_uda_logits"):
        loss = loss + extra[name].square().sum() if name in extra else loss
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"semisup": "uda", "stack_up": False}, "--semisup uda compares views.*--stack-up"),
        ({"semisup": "mixmatch", "stack_up": False}, "--semisup mixmatch compares views.*--stack-up"),
        ({"aug_mask_audio": 1.0}, "--aug-mask-audio 1.0 is not a fraction"),
        ({"aug_mask_text": -0.1}, "--aug-mask-text -0.1 is not a fraction"),
    ],
)
def test_what_cannot_work_is_told(ssl_dir, options, said):
    with pytest.raises(EmofairError, match=said):
        build(ssl_dir, **options)
