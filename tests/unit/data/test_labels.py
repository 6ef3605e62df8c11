from types import SimpleNamespace

import pytest

from emofair.data.labels import MODES, resolve_target_mode
from emofair.errors import EmofairError


def config(num_classes=-1, emotions=None, **flags):
    return SimpleNamespace(num_classes=num_classes, emotions=emotions, **{**dict.fromkeys(MODES, False), **flags})


@pytest.mark.parametrize(
    ("option", "kind", "outputs"),
    [
        ("regression_target", "mse", 1),
        ("regression_target_mos", "l1", 1),
        ("binary_target_iemocap", "binary", 8),
        ("softmax_target_iemocap", "softmax", 4),
        ("softmax_target_meld", "softmax", 7),
        ("softmax_target_binary_meld", "binary", 14),
    ],
)
def test_every_option_gives_its_kind_and_width(option, kind, outputs):
    for num_classes in (-1, outputs):
        mode = resolve_target_mode(config(num_classes, **{option: True}))
        assert (mode.kind, mode.num_outputs) == (kind, outputs)
        assert mode.is_regression == (option.startswith("regression"))


def test_iemocap_merges_excited_into_happy_and_knows_long_and_short_names():
    mode = MODES["binary_target_iemocap"]
    assert mode.classes == ("neutral", "sad", "angry", "happy")
    codes = {"neu": 0, "sad": 1, "ang": 2, "hap": 3, "exc": 3}
    names = {"neutral": 0, "Sadness": 1, "anger": 2, "angry": 2, "happiness": 3, "happy": 3, "excited": 3, " EXC ": 3}
    for label, index in {**codes, **names}.items():
        assert mode.class_index(label) == index
    assert mode.class_index("fru") is None


def test_meld_order():
    mode = MODES["softmax_target_meld"]
    labels = ["neutral", "sadness", "anger", "joy", "surprise", "fear", "disgust"]
    assert [mode.class_index(label) for label in labels] == list(range(7))
    assert mode.classes == tuple(labels)
    assert mode.class_index("excited") is None


def test_emotions_replace_the_classes_and_keep_the_aliases():
    mode = resolve_target_mode(config(softmax_target_iemocap=True, emotions="neu, ang,exc,hap,boredom"))
    assert mode.classes == ("neutral", "angry", "excited", "happy", "boredom")
    assert (mode.class_index("exc"), mode.class_index("hap"), mode.class_index("boredom")) == (2, 3, 4)
    assert mode.num_outputs == 5
    assert mode.class_index("sad") is None
    five = resolve_target_mode(config(5, softmax_target_meld=True, emotions="neutral,sadness,surprise,joy,anger"))
    assert five.class_index("surprise") == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no target is chosen"),
        ({"binary_target_iemocap": True, "regression_target_mos": True}, "--regression-target-mos"),
        ({"binary_target_iemocap": True, "emotions": "a,b"}, "--emotions cannot be combined"),
        ({"softmax_target_meld": True, "emotions": "joy"}, "at least two"),
        ({"softmax_target_meld": True, "emotions": "joy,,fear"}, "at least two"),
        ({"softmax_target_meld": True, "emotions": "joy,happy"}, "stand for the same labels"),
    ],
)
def test_contradictory_options_are_refused_in_one_line(options, said):
    with pytest.raises(EmofairError, match=said) as error:
        resolve_target_mode(config(**options))
    assert "\n" not in str(error.value)


def test_wrong_number_of_classes_names_both_numbers():
    with pytest.raises(EmofairError, match=r"7.*8 outputs"):
        resolve_target_mode(config(7, binary_target_iemocap=True))
    with pytest.raises(EmofairError, match=r"2.*1 outputs"):
        resolve_target_mode(config(2, regression_target_mos=True))
