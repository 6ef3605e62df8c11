"""A speech encoder as it comes out of a file, and the check that its weights are what its shape asks for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emofair.encoders.shapes import shapes_only
from emofair.encoders.speech import SpeechEncoder
from emofair.encoders.speech_spec import SpeechSpec
from emofair.errors import EmofairError

# What self-supervised training has on top of the encoder, under fairseq's names.
PRETRAINING = ("quantizer.", "project_q.", "final_proj.", "label_embs_concat", "target_glu.")
SPECIAL_LABELS = 4
"""Entries of every dictionary of fairseq, so rows of every table of label embeddings, that come before its symbols."""

_WEIGHT_NORM = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
_LISTED = 12


@dataclasses.dataclass(frozen=True)
class LoadedSpeech:
    """A pretrained speech encoder: its shape, its weights in `SpeechEncoder`'s names, its file and the file's form.

    ``pretraining`` are the weights that only self-supervised training needs, under fairseq's names, ``options`` what
    the file says about that training, in the words of its form, and ``symbols`` the labels that a HuBERT predicts, in
    the order of its table behind fairseq's four special ones, where they are known; all are for conversion. ``head``
    are the weights of a fine-tuned model's head, as the file calls them. ``called`` gives the file's own name for a
    weight of the encoder.
    """

    spec: SpeechSpec
    state: dict[str, Tensor]
    path: Path
    source: str
    pretraining: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    symbols: tuple[str, ...] = ()
    head: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    called: Callable[[str], str] = str


def split_pretraining(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights under fairseq's names as those of the encoder and those of `PRETRAINING`."""
    state = {name: value for name, value in weights.items() if not name.startswith(PRETRAINING)}
    return state, {name: value for name, value in weights.items() if name not in state}


def add_mask_embedding(state: dict[str, Tensor]) -> None:
    """Put a mask embedding of zeros among an encoder's weights where the file leaves out one that nothing used."""
    if "encoder.layer_norm.bias" in state:
        state.setdefault("mask_emb", torch.zeros_like(state["encoder.layer_norm.bias"]))


def plain_weight_norm(name: str) -> str:
    """The name of a weight with weight normalisation called as torch did before 2.0: weight_g and weight_v."""
    for new, old in _WEIGHT_NORM.items():
        name = name.replace(new, old)
    return name


def check_fit(loaded: LoadedSpeech) -> None:
    """Raise `EmofairError` unless the weights are exactly what an encoder of this shape holds.

    Weights that are missing, unknown or misshapen are listed.
    """
    spec, state, path, called = loaded.spec, loaded.state, loaded.path, loaded.called
    found = _convolutions(state)
    if found and found != [(width, kernel) for width, kernel, _ in spec.conv_layers]:
        raise EmofairError(
            f"describes convolutions (width, kernel) {[layer[:2] for layer in spec.conv_layers]}, its weights {found}",
            file=path,
        )
    with shapes_only():
        expected = {name: value.shape for name, value in SpeechEncoder(spec).state_dict().items()}
    wrong = [
        f"{called(name)} {list(state[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in state and state[name].shape != shape
    ]
    missing = sorted(called(name) for name in expected.keys() - state.keys())
    unknown = sorted(called(name) for name in state.keys() - expected.keys())
    for what, names in (("lacks", missing), ("has the unknown", unknown), ("has misshapen", wrong)):
        if names:
            raise EmofairError(
                f"is not the {spec.kind} that it describes: it {what} weights {listing(names)}", file=path
            )


def listing(names: Sequence[str]) -> str:
    """Names with commas between them; of many, the first dozen."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _convolutions(state: Mapping[str, Tensor]) -> list[tuple[int, int]]:
    """Width and kernel of each convolution whose weights have their usual form."""
    found = {}
    for name, value in state.items():
        match = re.fullmatch(r"feature_extractor\.conv_layers\.(\d+)\.0\.weight", name)
        if match and value.dim() == 3:
            found[int(match[1])] = (value.shape[0], value.shape[2])
    return [found[index] for index in sorted(found)]
