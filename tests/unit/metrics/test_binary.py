"""One decision per emotion against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from sklearn.dummy import DummyClassifier

from emofair.metrics import binary
from emofair.testing.devices import reads_from_device

NAMES = ("neutral", "sad", "angry", "happy")


def batch(n=150, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, 2, generator=generator), torch.randint(0, 4, (n,), generator=generator)


CASES = {
    "random": batch(),
    "one item": batch(1, seed=3),
    "an emotion absent": (batch(40)[0], batch(40)[1] % 3),
    "always present": (torch.tensor([0.0, 1.0]).expand(30, 4, 2), batch(30)[1]),
    "always absent": (torch.tensor([1.0, 0.0]).expand(30, 4, 2), batch(30)[1]),
}


@pytest.mark.parametrize("case", CASES, ids=lambda name: name.replace(" ", "_"))
def test_figures(case):
    logits, target = CASES[case]
    sums = binary.decision_counts(logits, target)
    figures = {name: figure(sums) for name, figure in binary.figures(NAMES).items()}
    says, true = (logits[..., 1] > logits[..., 0]).numpy(), np.eye(4, dtype=bool)[target.numpy()]
    best = (logits[..., 1] - logits[..., 0]).argmax(1).numpy()
    expected = {"accuracy": (says == true).mean()}
    for i, name in enumerate(NAMES):
        expected[f"accuracy_{name}"] = reference.accuracy_score(true[:, i], says[:, i])
        expected[f"f1_{name}"] = reference.f1_score(true[:, i], says[:, i], average="weighted", zero_division=0)
        positive = reference.f1_score(true[:, i], says[:, i], labels=[True], average=None, zero_division=0)
        expected[f"f1pos_{name}"] = positive[0]
    expected["accuracy4"] = reference.accuracy_score(target, best)
    present = sorted(set(target.tolist()))
    expected["uar4"] = reference.recall_score(target, best, labels=present, average="macro", zero_division=0)
    assert figures == pytest.approx(expected, abs=1e-12)
    assert all(type(value) is float for value in figures.values())


def test_a_tie_is_absent():
    sums = binary.decision_counts(torch.zeros(1, 4, 2), torch.tensor([1]))
    assert binary.figures(NAMES)["accuracy"](sums) == 0.75
    assert binary.figures(NAMES)["accuracy_sad"](sums) == 0.0


def test_meld_counts_seven():
    names = tuple("abcdefg")
    sums = binary.decision_counts(torch.randn(9, 7, 2), torch.arange(9) % 7)
    assert {"accuracy7", "uar7", "f1pos_g"} <= set(binary.figures(names))
    assert binary.split(sums, 7)[0].sum(axis=(1, 2)).tolist() == [9.0] * 7


def test_sums_of_batches_are_the_whole():
    logits, target = CASES["random"]
    parts = map(binary.decision_counts, logits.split(7), target.split(7))
    assert torch.equal(sum(parts), binary.decision_counts(logits, target))


def test_no_items_give_zeros():
    sums = binary.decision_counts(torch.zeros(0, 4, 2), torch.zeros(0, dtype=torch.long))
    assert not sums.any()
    assert not any(figure(sums) for figure in binary.figures(NAMES).values())


def test_counting_does_not_wait_for_the_device():
    assert reads_from_device(binary.decision_counts, *CASES["random"]) == 0


def test_report_has_a_table_per_emotion_and_one_for_all():
    tables = binary.report(binary.decision_counts(*CASES["random"]), NAMES).split("\n\n")
    assert [len(table.splitlines()) for table in tables] == [3, 3, 3, 3, 5]
    assert tables[3].splitlines()[1].startswith("not happy")


@pytest.mark.parametrize("actual", [[0, 1, 2, 3, 3], [1, 1, 1, 0], [2]], ids=["plurality", "majority", "one item"])
def test_constant_guess(actual):
    """Each decision is that of the majority, and the emotion ranked first is the most frequent one."""
    names = ("neutral", "sad", "angry", "happy")
    guess, constant = binary.constant_guess(torch.tensor(actual), names)
    assert guess == names[np.bincount(actual).argmax()]
    figures = {name: figure(constant) for name, figure in binary.figures(names).items()}
    for index, name in enumerate(names):
        present = np.asarray(actual) == index
        floor = DummyClassifier(strategy="most_frequent").fit(present, present).predict(present)
        assert figures[f"accuracy_{name}"] == pytest.approx(reference.accuracy_score(present, floor))
        assert figures[f"f1_{name}"] == pytest.approx(reference.f1_score(present, floor, average="weighted"))
    assert figures["accuracy4"] == pytest.approx(np.bincount(actual).max() / len(actual))
    assert binary.confusion(constant, names).sum() == len(actual)
