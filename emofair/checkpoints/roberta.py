"""Pretrained masked language models of fairseq (RoBERTa, Speech-BERT) as encoder weights, old and new forms alike."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor

from emofair.checkpoints import safe
from emofair.checkpoints.fairseq_form import model_arguments, model_state, task_arguments
from emofair.encoders.roberta import RobertaSpec, RobertaTokenEncoder
from emofair.encoders.shapes import shapes_only
from emofair.errors import EmofairError
from emofair.special_tokens import PAD

FILES = ("model.pt", "bert_kmeans.pt", "checkpoint_best.pt", "checkpoint_last.pt")


@dataclasses.dataclass(frozen=True)
class LoadedRoberta:
    """A pretrained encoder: its shape, its weights in `RobertaTokenEncoder`'s names, its dictionary, its file."""

    spec: RobertaSpec
    state: dict[str, Tensor]
    dictionary: Dictionary
    path: Path


def load_roberta(path: str | PathLike[str], dict_path: str | PathLike[str] | None = None) -> LoadedRoberta:
    """Read a fairseq masked language model from its file, or from a folder that holds it.

    In a folder, the first of ``model.pt``, ``bert_kmeans.pt``, ``checkpoint_best.pt``, ``checkpoint_last.pt`` or else
    the only ``.pt`` is taken. The dictionary is ``dict_path``, else ``dict.txt`` beside the checkpoint, else the one in
    the folder it was trained on. Raises `EmofairError` when something is missing or does not fit together.
    """
    path = find_file(path)
    checkpoint = safe.load(path)
    state = encoder_state(model_state(checkpoint, path))
    if not state:
        raise EmofairError("holds no RoBERTa encoder (no weight is called sentence_encoder...)", file=path)
    spec = read_spec(state, model_arguments(checkpoint, path), path)
    check_fit(spec, state, path)
    dictionary = load_dictionary(_find_dictionary(path, dict_path, checkpoint))
    if len(dictionary) != spec.vocab_size:
        raise EmofairError(
            f"its embedding has {spec.vocab_size} rows, but the dictionary has {len(dictionary)} symbols "
            "(its lines, 4 special symbols and <mask>)",
            file=path,
            remedy=f"Use the dict.txt with which it was trained: {spec.vocab_size - 5} lines",
        )
    return LoadedRoberta(spec, state, dictionary, path)


def find_file(path: str | PathLike[str]) -> Path:
    """The checkpoint file that ``path``, a file or a folder, stands for."""
    path = Path(path)
    if not path.is_dir():
        return path
    for name in FILES:
        if (path / name).is_file():
            return path / name
    found = sorted(path.glob("*.pt"))
    if len(found) == 1:
        return found[0]
    what = "several .pt files, none of which has a known name" if found else "no checkpoint"
    raise EmofairError(f"holds {what} (looked for {', '.join(FILES)})", file=path, remedy="Name the file itself")


def load_dictionary(path: str | PathLike[str]) -> Dictionary:
    """A fairseq ``dict.txt`` as the masked-LM task sees it: special symbols first, ``<mask>`` last."""
    dictionary = Dictionary()
    try:
        dictionary.add_from_file(str(path))
    except FileNotFoundError:
        raise EmofairError("no such dictionary", file=path) from None
    except Exception as error:  # fairseq raises ValueError, RuntimeError and Exception for different bad lines
        raise EmofairError(f"is not a fairseq dictionary ({error})", file=path) from None
    dictionary.add_symbol("<mask>")
    return dictionary


def encoder_state(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The encoder weights of any fairseq RoBERTa, renamed to today's names as in `RobertaTokenEncoder`.

    Understands ``decoder.`` for ``encoder.``, the ``model.`` of a hub interface, ``emb_layer_norm``, numbered layer
    norms and the fused ``in_proj`` of the oldest files. Language-model and classification heads are left out.
    """
    name = re.compile(re.escape(prefix) + r"(?:model\.)?(?:(?:encoder|decoder)\.)?(sentence_encoder\..+)")
    result: dict[str, Tensor] = {}
    for key, value in state.items():
        match = name.fullmatch(key)
        if match is None or re.search(r"\.(version|_float_tensor|embed_positions\.weights)$", key):
            continue
        key = match[1].replace(".emb_layer_norm.", ".layernorm_embedding.")
        key = key.replace(".layer_norms.0.", ".self_attn_layer_norm.").replace(".layer_norms.1.", ".final_layer_norm.")
        fused = re.fullmatch(r"(.+\.)in_proj_(weight|bias)", key)
        if fused:
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                result[f"{fused[1]}{part}_proj.{fused[2]}"] = piece
        else:
            result[key] = value
    if result:
        # fairseq drops the last layer norm of a Transformer that claims a version below 2, or none.
        result["sentence_encoder.version"] = torch.tensor([3.0])
    return result


def read_spec(state: Mapping[str, Tensor], options: Mapping[str, Any], path: str | PathLike[str]) -> RobertaSpec:
    """The encoder's shape: from the weights where they tell, else from the options it was trained with."""
    root = "sentence_encoder."
    try:
        vocab_size, embed_dim = state[root + "embed_tokens.weight"].shape
        ffn_dim = state[root + "layers.0.fc1.weight"].shape[0]
    except KeyError as missing:
        raise EmofairError(f"is not a RoBERTa encoder: the weight {missing} is missing", file=path) from None
    layers = {int(match[1]) for key in state if (match := re.match(r"sentence_encoder\.layers\.(\d+)\.", key))}
    table = state.get(root + "embed_positions.weight")
    if table is not None:
        positions, max_positions = "learned", table.shape[0] - PAD - 1
    else:
        positions = "none" if options.get("no_token_positional_embeddings") else "sinusoidal"
        max_positions = options.get("max_positions") or options.get("tokens_per_sample")
    if not options.get("encoder_attention_heads") or not max_positions:
        missing = "attention heads" if max_positions else "positions"
        raise EmofairError(f"does not tell how many {missing} its encoder has", file=path)
    try:
        return RobertaSpec(
            vocab_size=vocab_size,
            embed_dim=embed_dim,
            ffn_dim=ffn_dim,
            layers=len(layers),
            heads=int(options["encoder_attention_heads"]),
            max_positions=int(max_positions),
            dropout=float(options.get("dropout", 0.1)),
            attention_dropout=float(options.get("attention_dropout", 0.1)),
            activation_dropout=float(options.get("activation_dropout", 0.0)),
            layerdrop=float(options.get("encoder_layerdrop", 0.0)),
            activation_fn=str(options.get("activation_fn", "gelu")),
            normalize_before=root + "layer_norm.weight" in state,
            layernorm_embedding=root + "layernorm_embedding.weight" in state,
            scale_embedding=not options.get("no_scale_embedding", True),
            positions=positions,
        )
    except (EmofairError, TypeError, ValueError) as error:
        raise EmofairError(f"its options make no encoder: {error}", file=path) from None


def check_fit(spec: RobertaSpec, state: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Raise `EmofairError`, naming the weights, unless ``state`` is exactly what an encoder of ``spec`` holds."""
    with shapes_only():
        expected = {name: value.shape for name, value in RobertaTokenEncoder(spec).state_dict().items()}
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    wrong = [
        f"{name} {list(state[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in state and state[name].shape != shape
    ]
    for what, names in (("lacks", missing), ("has the unknown", extra), ("has misshapen", wrong)):
        if names:
            listing = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise EmofairError(f"is not a RoBERTa encoder as fairseq writes it: it {what} weights {listing}", file=path)


def _find_dictionary(
    path: Path, dict_path: str | PathLike[str] | None, checkpoint: Mapping[str, Any]
) -> str | PathLike[str]:
    if dict_path is not None:
        return dict_path
    trained_on = str(task_arguments(checkpoint, path).get("data") or "").split(":")[0]
    places = [path.parent / "dict.txt"] + ([Path(trained_on) / "dict.txt"] if trained_on else [])
    for place in places:
        if place.is_file():
            return place
    raise EmofairError(
        f"its dictionary is missing (looked for {' and '.join(map(str, places))})",
        file=path,
        remedy="Put the dict.txt it was trained with beside it",
    )
