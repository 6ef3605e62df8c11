"""Modules without numbers."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from emofair.encoders.shapes import shapes_only, unfilled


def test_modules_have_the_shapes_of_real_ones_and_no_memory():
    def build():
        return nn.ModuleList([nn.Embedding(7, 4, 1), nn.Linear(4, 3), nn.Conv1d(3, 2, 5), nn.MultiheadAttention(4, 2)])

    with shapes_only():
        empty = build()
    real = build().state_dict()
    assert {name: value.shape for name, value in empty.state_dict().items()} == {n: v.shape for n, v in real.items()}
    assert all(value.is_meta for value in empty.state_dict().values())


def test_unfilled_modules_take_no_random_numbers_and_all_weights_of_a_checkpoint():
    source = nn.Linear(4, 3)
    state = torch.get_rng_state()
    with unfilled():
        module = nn.Linear(4, 3)
    assert torch.equal(torch.get_rng_state(), state)
    module.load_state_dict(source.state_dict())
    assert torch.equal(module.weight, source.weight)


def test_initialisation_works_again_afterwards():
    with shapes_only():
        nn.Linear(2, 2)
    weight = nn.init.constant_(torch.empty(3), 2.0)
    assert weight.tolist() == [2.0] * 3
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def test_torchs_compiler_is_not_imported():
    """Its import takes seconds of every start; torch's random numbers on the device meta cause it."""
    program = (
        "import sys\n"
        "from torch import nn\n"
        "from emofair.encoders.shapes import shapes_only, unfilled\n"
        "with shapes_only():\n"
        "    nn.Embedding(5, 4), nn.Linear(4, 4), nn.MultiheadAttention(4, 2)\n"
        "with unfilled():\n"
        "    nn.Embedding(5, 4), nn.Linear(4, 4)\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
