from argparse import Namespace

import pytest
import torch
from omegaconf import OmegaConf

from emofair.checkpoints.fairseq_form import as_dict, model_arguments, model_state, task_arguments
from emofair.errors import EmofairError

CFG = {"model": {"width": 3, "linked": "${task.rate}"}, "task": {"data": "d", "rate": 5}}


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"args": Namespace(width=3, data="d", rate=5)},
        {"args": None, "cfg": CFG},
        {"cfg": OmegaConf.create(CFG)},
        {"args": None, "cfg": {"model": Namespace(width=3), "task": Namespace(data="d")}},
        {"cfg": Namespace(model={"width": 3}, task={"data": "d"})},
    ],
)
def test_both_forms_are_read_alike(checkpoint):
    assert model_arguments(checkpoint, "x.pt")["width"] == 3
    assert task_arguments(checkpoint, "x.pt")["data"] == "d"


def test_interpolations_stay_text():
    assert as_dict(OmegaConf.create({"a": "${oc.env:HOME}"})) == {"a": "${oc.env:HOME}"}


def test_only_tensors_are_weights():
    assert list(model_state({"model": {"w": torch.zeros(1), "note": "x"}}, "x.pt")) == ["w"]


@pytest.mark.parametrize("checkpoint", [{}, {"model": None}, {"model": {}}, {"model": [torch.zeros(1)]}])
def test_a_file_without_weights_is_refused_with_what_it_has(checkpoint):
    with pytest.raises(EmofairError, match=r"x\.pt: holds no weights.*extra"):
        model_state(checkpoint | {"extra": 1}, "x.pt")


@pytest.mark.parametrize("checkpoint", [{}, {"args": None, "cfg": None}, {"cfg": {"task": {"a": 1}}}])
def test_a_file_without_options_is_refused(checkpoint):
    with pytest.raises(EmofairError, match=r"x\.pt: has neither"):
        model_arguments(checkpoint, "x.pt")
