import pytest

from emofair.checkpoints.layer_spec import parse_layers
from emofair.errors import EmofairError


@pytest.mark.parametrize(
    "text",
    [
        "[(512, 10, 5)]",
        "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2",
        "[(512,10,5), [256, 8, 4]] + 2 * [(512, 4, 2)]",
        "((512, 10, 5), (512, 8, 4))",
        "([(1, 2, 3)] + [(4, 5, 6)]) * 2",
    ],
)
def test_equals_python(text):
    assert parse_layers(text) == [tuple(layer) for layer in eval(text)]


def test_a_list_is_taken_as_it_is():
    assert parse_layers([(512, 10, 5), [512, 3, 2]]) == [(512, 10, 5), (512, 3, 2)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "5",
        "[512]",
        "[(512, 10)]",
        "[(512, 10, 0)]",
        "[(512, -1, 1)]",
        "[(512, 1.5, 1)]",
        "[(True, 1, 1)]",
        "[('a', 1, 1)]",
        "[(512, 10, 5)] - [(1, 1, 1)]",
        "[(512, 10, 5)] + 2",
        "[(512, 10, 5)] * [(512, 10, 5)]",
        "[(512, 10, 5)] * 1000000000",
        "[(1, 1, 1)] * 99 * 99",
        "[(2 ** 99, 1, 1)]",
        "[(1, 1, 1) for x in (1,)]",
        "__import__('os').getcwd()",
        "[(512, 10, 5)",
        "(" * 5000,
        "[(1, 1, 1)]" + " + [(1, 1, 1)]" * 2000,
        None,
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(EmofairError, match="not a list of convolution layers"):
        parse_layers(text)
