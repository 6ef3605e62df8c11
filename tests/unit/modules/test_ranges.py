import pytest
import torch
from fairseq.utils import get_activation_fn

from emofair.errors import EmofairError
from emofair.modules.ranges import ACTIVATIONS, check_activation, check_dropout


def test_dropout():
    for value in (0, 0.0, 0.999):
        check_dropout("--dropout", value)
    for value in (1, 1.0, -0.1, float("nan"), "0.1", None):
        with pytest.raises(EmofairError, match=rf"^--dropout {value} is no probability\."):
            check_dropout("--dropout", value)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_a_function_of_fairseq(name):
    check_activation("--activation-fn", name)
    assert get_activation_fn(name)(torch.ones(2)).shape == (2,)


@pytest.mark.parametrize("name", ["gelo", "swish", None])
def test_other_activations(name):
    with pytest.raises(EmofairError, match=rf"^--activation-fn {name} is not known\. Choose one of gelu, "):
        check_activation("--activation-fn", name)
