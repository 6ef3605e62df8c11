"""A speech encoder as a checkpoint that stock fairseq loads and goes on training (WavLM: Microsoft's own code)."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from emofair.checkpoints.fairseq_form import configuration_of
from emofair.checkpoints.fairseq_speech import options_of
from emofair.checkpoints.loaded_speech import PRETRAINING, LoadedSpeech
from emofair.checkpoints.to_fairseq import configuration, stored_form, write_checkpoint
from emofair.errors import EmofairError
from emofair.units.label_check import LABELS

# Width of the output layer of published models by the width of their Transformer, for files that have none.
_FINAL_DIM = {768: 256, 1024: 768, 1280: 1024}
_SEED = 1
NO_HEADS = "Leave --heads out"


@dataclasses.dataclass(frozen=True)
class NewLabels:
    """Other labels to predict: for each of ``sizes`` a set, called 0 to size - 1, with a projection of its own.

    A table of embeddings says what the labels mean, so it never stays, even where as many rows are there; the
    projection in front of it may (``keep_projection``), as long as there is one set.
    """

    sizes: tuple[int, ...]
    keep_projection: bool = False
    seed: int = _SEED


@dataclasses.dataclass(frozen=True)
class Written:
    """Names of the weights that were left out, and of those that are random because the input has none."""

    left_out: list[str]
    new: list[str]


def write(
    loaded: LoadedSpeech,
    out: str | PathLike[str],
    *,
    labels: NewLabels | None = None,
    keep_labels: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Written:
    """Write the encoder as the model of fairseq that it is of, with all that a strict load asks for.

    wav2vec 2.0 keeps its quantiser and projections. HuBERT's label embeddings belong to a clustering and are left out,
    unless ``keep_labels``: with ``labels`` there are new, random ones, for ``--finetune-from-model`` with a dictionary
    of as many; without, the model gets the dictionaries of whoever loads it. ``facts`` (`emofair.data.leak_check`)
    say what the weights have seen. Raises `EmofairError` where fairseq has no such model and where nothing can be
    written.
    """
    if labels is not None and loaded.spec.kind != "hubert":
        raise EmofairError(
            f"{loaded.spec.kind} has no labels that could be reset", file=loaded.path, remedy="Give a HuBERT"
        )
    if keep_labels and not loaded.symbols:
        raise EmofairError("has no table of labels that could be kept", file=loaded.path, remedy=NO_HEADS)
    if loaded.spec.kind == "wavlm":
        checkpoint = {"cfg": options_of(loaded.spec), "model": loaded.state, "task_state": dict(facts or {})}
        write_checkpoint(checkpoint, out)
        return Written(sorted(loaded.pretraining), [])
    with configuration_of(loaded.path):
        sets: list[Sequence[str]] = [loaded.symbols if keep_labels else ()]
        if labels is not None:
            sets = [tuple(map(str, range(n))) for n in labels.sizes]
        checkpoint, left_out, new = _checkpoint(loaded, labels, sets, facts or {})
    write_checkpoint(checkpoint, out)
    return Written(left_out, new)


def _checkpoint(
    loaded: LoadedSpeech, labels: NewLabels | None, sets: Sequence[Sequence[str]], facts: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str], list[str]]:
    spec, given = loaded.spec, loaded.pretraining
    options = _model_options(loaded, len(sets))
    seed = _SEED if labels is None else labels.seed
    dictionaries = [_dictionary(symbols) for symbols in sets]
    heads = _heads(loaded, options, dictionaries, seed)
    if labels is not None:
        stays = "final_proj." if labels.keep_projection else ()
        given = {name: value for name, value in given.items() if name.startswith(stays)}
    kept = {name: given[name] for name in heads if name in given and given[name].shape == heads[name].shape}
    new = {name: value for name, value in heads.items() if name not in kept}
    hubert = spec.kind == "hubert"
    names = json.dumps(["km"] if len(sets) == 1 else [f"km{len(symbols)}" for symbols in sets])
    task = (
        ["--task", "hubert_pretraining", "--labels", names, "--label-rate", "50"]
        if hubert
        else [*("--task", "audio_pretraining")]
    )
    # Not a folder: these weights were not trained here, whatever lies where the command was typed.
    arguments = [os.devnull, *task, "--arch", spec.kind, "--criterion", spec.kind.removesuffix("2")]
    arguments += ["--sample-rate", str(spec.sample_rate), *(["--normalize"] if spec.normalize else [])]
    cfg = configuration(arguments, options)
    criterion = "HubertCriterion" if hubert else "Wav2vecCriterion"
    task_state = {"dictionaries": dictionaries} if hubert else {}
    if labels is not None:
        task_state[LABELS] = {}
    checkpoint = stored_form(cfg, {**loaded.state, **kept, **new}, {**task_state, **facts}, criterion)
    return checkpoint, sorted(loaded.pretraining.keys() - kept.keys()), sorted(new)


def _dictionary(symbols: Sequence[str]) -> Any:
    """fairseq's dictionary of the labels: four special symbols come first, so label k is entry k + 4."""
    if not symbols:
        return None
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    return dictionary


def _model_options(loaded: LoadedSpeech, n_sets: int) -> dict[str, Any]:
    """All options of fairseq's model: the encoder's, those of the input that are known, shapes as they are.

    A HuBERT is to have ``n_sets`` sets of labels.
    """
    from fairseq.models.hubert.hubert import HubertConfig
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config

    config = Wav2Vec2Config if loaded.spec.kind == "wav2vec2" else HubertConfig
    options = dataclasses.asdict(config())
    for name in ("_name", "label_rate"):  # the rate is the task's
        options.pop(name, None)
    # fairseq's parser has some of these under the same name for other purposes, with other defaults.
    options |= {name: loaded.options[name] for name in options if loaded.options.get(name) is not None}
    options |= options_of(loaded.spec)
    given = loaded.pretraining
    options["final_dim"] = _FINAL_DIM.get(loaded.spec.embed_dim, 256)
    if "label_embs_concat" in given:
        options["final_dim"] = given["label_embs_concat"].shape[1]
    elif "final_proj.weight" in given:
        options["final_dim"] = given["final_proj.weight"].shape[0]
    options["target_glu"] = any(name.startswith("target_glu.") for name in given)
    if loaded.spec.kind == "hubert":
        return options | {"untie_final_proj": n_sets > 1}
    options["quantize_targets"] = "quantizer.vars" in given or "project_q.weight" not in given
    if "quantizer.vars" in given:
        rows, width = given["quantizer.vars"].shape[1:]
        groups = int(options.setdefault("latent_groups", 2))
        options |= {"latent_vars": rows // groups, "latent_dim": width * groups}
    return options


def _heads(loaded: LoadedSpeech, options: dict[str, Any], dictionaries: list[Any], seed: int) -> dict[str, Tensor]:
    """What fairseq's model has beside its encoder, with fresh weights (the same for the same sizes)."""
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig

    # One small layer: the others are the encoder's, and need not be made.
    options = options | {"encoder_layers": 1, "encoder_ffn_embed_dim": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if loaded.spec.kind == "hubert":
            task = HubertPretrainingConfig(sample_rate=loaded.spec.sample_rate, label_rate=50)
            model = HubertModel(HubertConfig(**options | {"label_rate": 50}), task, dictionaries)
        else:
            model = Wav2Vec2Model(Wav2Vec2Config(**options))
    return {name: value for name, value in model.state_dict().items() if name.startswith(PRETRAINING)}
