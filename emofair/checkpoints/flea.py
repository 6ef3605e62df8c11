"""What FLEA's original code (arXiv 2312.16383) puts on top of transformers' HuBERT, in our names and back.

Its pre-training has a projection and a table of label embeddings, its fine-tuning attention over time and one linear
layer. Both are saved beside the encoder, in the layout of Hugging Face.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from emofair.checkpoints import safe
from emofair.checkpoints.fairseq_form import as_dict
from emofair.checkpoints.loaded_speech import SPECIAL_LABELS, LoadedSpeech, listing
from emofair.errors import EmofairError

CLASSES = ("hap", "neu", "sad", "ang")
"""Names of the outputs of a classifier that does not tell them."""

OF_PRETRAINING = "logit_generator."
"""Part of the names of the weights that only pre-training has."""

_TABLE = f"{OF_PRETRAINING}label_embeddings"
_PROJECTION = {f"final_proj.{part}": f"{OF_PRETRAINING}final_proj.{part}" for part in ("weight", "bias")}
_ATTENTION = "atten.atten_weight"
_SCORE, _OUTPUT = "pool.score.weight", "classifier.weight"
_CLASSIFIER = {f"classifier.{part}": f"classifier.fc_out_1.{part}" for part in ("weight", "bias")}
_SEED = 1
_REMEDY = "Leave --heads out"
# Names of the original's classes, which transformers notes in config.json.
_PRETRAINING_CLASS, _CLASSIFIER_CLASS = "HubertModelPreTrainBase", "HubertForClassification"


def is_classifier(head: Mapping[str, Tensor]) -> bool:
    """Whether weights on top of an encoder are those of the fine-tuning."""
    return _ATTENTION in head


def pretraining_of(
    weights: Mapping[str, Tensor], path: str | PathLike[str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Of all weights in a file those of the pre-training alone, in fairseq's names, and their labels; or nothing.

    fairseq's table has four rows more, for the special symbols of its dictionary: they are drawn at random, as at the
    start of a training, the same for the same width. Raises `EmofairError` where one of the weights is missing.
    """
    given = {name[name.index(OF_PRETRAINING) :]: value for name, value in weights.items() if OF_PRETRAINING in name}
    if not given:
        return {}, ()
    _check_names(given, {_TABLE, *_PROJECTION.values()}, path)
    table = given[_TABLE]
    generator = torch.Generator().manual_seed(_SEED)
    special = torch.rand(SPECIAL_LABELS, table.shape[1], generator=generator).to(table.dtype)
    pretraining = {ours: given[theirs] for ours, theirs in _PROJECTION.items()}
    pretraining["label_embs_concat"] = torch.cat([special, table])
    return pretraining, tuple(map(str, range(len(table))))


def head_of(loaded: LoadedSpeech, trust: bool | None = None) -> dict[str, Any]:
    """What `huggingface_folder.write` needs to write what a HuBERT has on top as the original would save it.

    That is the classifier of a model fine-tuned here, or else the table of labels of a pre-trained one. Raises
    `EmofairError` where there is neither, or one that the original does not know.
    """
    if loaded.spec.kind != "hubert":
        raise EmofairError(f"is a {loaded.spec.kind}; FLEA is of HuBERT", file=loaded.path, remedy=_REMEDY)
    if is_classifier(loaded.head):
        raise EmofairError("is a folder of FLEA's original code already", file=loaded.path, remedy="Use it as it is")
    if loaded.symbols:
        prefix, (head, facts) = "", _pretraining_head(loaded)
    elif _OUTPUT in loaded.head:
        stored = safe.load(loaded.path, trust=trust, weights=False)
        options, classes = as_dict(as_dict(stored.get("cfg")).get("model")), stored["task_state"]["classes"]
        prefix, (head, facts) = "hubert.", _classifier_head(loaded, options, tuple(classes))
    else:
        raise EmofairError("has neither labels nor a classifier on top", file=loaded.path, remedy=_REMEDY)
    return {"head": head, "prefix": prefix, "config_facts": facts}


def _pretraining_head(loaded: LoadedSpeech) -> tuple[dict[str, Tensor], dict[str, Any]]:
    numbers = {str(k): row for row, k in enumerate(loaded.symbols)}
    if numbers.keys() != set(map(str, range(len(numbers)))):
        raise EmofairError(
            "the labels that it predicts are not the numbers of clusters", file=loaded.path, remedy=_REMEDY
        )
    rows = [SPECIAL_LABELS + numbers[str(k)] for k in range(len(numbers))]
    head = {theirs: loaded.pretraining[ours] for ours, theirs in _PROJECTION.items()}
    head[_TABLE] = loaded.pretraining["label_embs_concat"][rows]
    return head, {"architectures": [_PRETRAINING_CLASS]}


def classifier_state(loaded: LoadedSpeech) -> dict[str, Tensor]:
    """Weights of a fine-tuned model in the names of our `SpeechEmotionClassifier`; `EmofairError` where some lack."""
    _check_names(loaded.head, {_ATTENTION, *_CLASSIFIER.values()}, loaded.path)
    state = {f"encoder.{name}": value for name, value in loaded.state.items()}
    state[_SCORE] = loaded.head[_ATTENTION].t().contiguous()
    return state | {ours: loaded.head[theirs] for ours, theirs in _CLASSIFIER.items()}


def _classifier_head(
    loaded: LoadedSpeech, options: Mapping[str, Any], classes: tuple[str, ...]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    fixed = {"pooling": "attention", "attention_score": "tanh", "relu_features": False, "head_hidden": 0}
    wrong = [f"{name} {options.get(name)}" for name, value in fixed.items() if options.get(name) != value]
    if str(options.get("layer")) != "-1":
        wrong.append(f"layer {options.get('layer')}")
    if wrong:
        raise EmofairError(
            f"FLEA's original code has no classifier with {', '.join(wrong)}", file=loaded.path, remedy=_REMEDY
        )
    head = {theirs: loaded.head[ours] for ours, theirs in _CLASSIFIER.items()}
    head[_ATTENTION] = loaded.head[_SCORE].t().contiguous()
    facts = {
        "architectures": [_CLASSIFIER_CLASS],
        "id2label": {str(i): name for i, name in enumerate(classes)},
        "label2id": {name: i for i, name in enumerate(classes)},
        "final_dropout": options.get("frame_dropout"),
    }
    return head, facts


def classes_of(config: Mapping[str, Any], n: int, path: str | PathLike[str]) -> tuple[str, ...]:
    """Names of the ``n`` outputs: those in ``config.json``, else the original's four."""
    names = config.get("id2label")
    if isinstance(names, Mapping) and set(names) == set(map(str, range(n))):
        found = tuple(str(names[str(i)]) for i in range(n))
        if any(name != f"LABEL_{i}" for i, name in enumerate(found)):
            return found
    if n != len(CLASSES):
        raise EmofairError(
            f"has {n} outputs and does not name them; the original's are {', '.join(CLASSES)}",
            file=path,
            remedy=f"Write them as id2label into {os.path.join(os.path.dirname(path), 'config.json')}",
        )
    return CLASSES


def _check_names(given: Mapping[str, Tensor], expected: set[str], path: str | PathLike[str]) -> None:
    if missing := sorted(expected - given.keys()):
        raise EmofairError(f"lacks weights that FLEA's original code saves: {listing(missing)}", file=path)
    if unknown := sorted(given.keys() - expected):
        raise EmofairError(f"has weights that FLEA's original code does not know: {listing(unknown)}", file=path)
