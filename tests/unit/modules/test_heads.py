import pytest
import torch
from torch import nn

from emofair.errors import EmofairError
from emofair.modules.heads import ClassificationHead, reconcile_heads


def state_of(**outputs):
    state = {"encoder.weight": torch.zeros(2)}
    for name, n in outputs.items():
        state |= {f"m.heads.{name}.out_proj.{k}": v for k, v in nn.Linear(3, n).state_dict().items()}
    return state


def test_a_head_is_dropout_and_one_linear_layer():
    head = ClassificationHead(3, 2, dropout=0.5)
    x = torch.randn(5, 3)
    torch.testing.assert_close(head.eval()(x), x @ head.out_proj.weight.T + head.out_proj.bias)
    assert sum(p.numel() for p in head.parameters()) == 8
    torch.manual_seed(0)
    dropped = nn.functional.dropout(x, 0.5)
    torch.manual_seed(0)
    torch.testing.assert_close(head.train()(x), head.out_proj(dropped))


def test_heads_of_the_checkpoint_only_are_left_out_or_made(caplog):
    heads = nn.ModuleDict({"a": ClassificationHead(3, 2, 0.0)})
    state = state_of(a=2, b=4)
    made = []
    kept = dict(state)

    def register(name, outputs):
        made.append((name, outputs))
        heads[name] = ClassificationHead(3, outputs, 0.0)

    reconcile_heads(heads, kept, "m.heads.", register)
    assert kept.keys() == state.keys() and made == [("b", 4)]
    del heads["b"]
    reconcile_heads(heads, state, "m.heads.", None)
    assert sorted(state) == ["encoder.weight", "m.heads.a.out_proj.bias", "m.heads.a.out_proj.weight"]
    assert "'b'" in caplog.text and "--load-checkpoint-heads" in caplog.text


def test_heads_of_the_model_only_keep_their_weights(caplog):
    heads = nn.ModuleDict({"a": ClassificationHead(3, 2, 0.0)})
    state = state_of()
    reconcile_heads(heads, state, "m.heads.", None)
    assert torch.equal(state["m.heads.a.out_proj.weight"], heads["a"].out_proj.weight)
    assert "'a'" in caplog.text and "keeps its initial weights" in caplog.text


def test_another_size_is_an_error_with_both_numbers():
    heads = nn.ModuleDict({"a": ClassificationHead(3, 2, 0.0)})
    with pytest.raises(EmofairError, match=r"'a'.* 7 outputs of width 3, the model 2 of width 3.*target and modality"):
        reconcile_heads(heads, state_of(a=7), "m.heads.", None)
