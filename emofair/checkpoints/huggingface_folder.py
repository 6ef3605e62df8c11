"""Folders in the layout of Hugging Face that hold a wav2vec 2.0, HuBERT or WavLM: reading and writing."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from emofair.checkpoints import flea, huggingface, safe
from emofair.checkpoints.diagnosis import FETCH_AGAIN, check_file
from emofair.checkpoints.loaded_speech import LoadedSpeech, add_mask_embedding, listing, split_pretraining
from emofair.data.audio import SAMPLE_RATE
from emofair.encoders.speech_spec import SpeechSpec
from emofair.errors import EmofairError, require

logger = logging.getLogger(__name__)

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_FACTS = "emofair_trained_on"
SAFETENSORS, BIN = "model.safetensors", "pytorch_model.bin"


def read(folder: str | PathLike[str], *, trust: bool | None = None) -> LoadedSpeech:
    """The speech encoder in a folder with ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``.

    ``normalize`` is ``do_normalize`` of ``preprocessor_config.json``. Raises `EmofairError` when a file is missing or
    broken, and for another architecture.
    """
    folder = Path(folder)
    config = read_json(folder / CONFIG)
    normalize, sample_rate = _audio(folder, config)
    try:
        spec = huggingface.spec_of(config, normalize=normalize, sample_rate=sample_rate)
    except EmofairError as error:
        raise EmofairError(error.what, file=folder / CONFIG, remedy=error.remedy) from None
    file = next((folder / name for name in (SAFETENSORS, BIN) if (folder / name).exists()), None)
    if file is None:
        raise EmofairError(f"has neither {SAFETENSORS} nor {BIN}", file=folder)
    weights = _weights(file, trust)
    names = huggingface.to_ours(weights, spec.extractor_mode)
    others = sorted(weights.keys() - names.keys())
    inside = any(map(huggingface.has_prefix, weights))
    others = [name for name in others if flea.OF_PRETRAINING not in name]
    head = {name: weights[name] for name in others if inside and not huggingface.has_prefix(name)}
    if others := [name for name in others if name not in head]:
        raise EmofairError(f"has weights that no {spec.kind} has: {listing(others)}", file=file)
    state, pretraining = split_pretraining({ours: weights[theirs] for theirs, ours in names.items()})
    of_flea, symbols = flea.pretraining_of(weights, file)
    if not (config.get("mask_time_prob", 0.05) or config.get("mask_feature_prob", 0.0)):
        add_mask_embedding(state)
    options = huggingface.pretraining_options(config) if spec.kind == "wav2vec2" else {}
    called = functools.partial(huggingface.name_of, mode=spec.extractor_mode)
    source, pretraining = f"Hugging Face {spec.kind}", pretraining | of_flea
    return LoadedSpeech(spec, state, file, source, pretraining, options, symbols, head, called)


def read_facts(folder: str | PathLike[str]) -> dict[str, Any] | None:
    """What `write` noted about the data that the weights were trained on; None in folders of other programs."""
    file = Path(folder) / CONFIG
    return read_json(file).get(_FACTS) if file.is_file() else None


def write(
    folder: str | PathLike[str],
    spec: SpeechSpec,
    state: Mapping[str, Tensor],
    pretraining: Mapping[str, Tensor] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    head: Mapping[str, Tensor] | None = None,
    prefix: str = "",
    config_facts: Mapping[str, Any] | None = None,
    trained_on: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write a folder that transformers loads; the names of the weights are returned that it has no place for.

    ``pretraining`` and ``options`` as in `LoadedSpeech`. ``head`` are weights of another program's model around the
    encoder, under its names, whose names for those of the encoder begin with ``prefix``; ``config_facts`` is what its
    ``config.json`` says beyond the encoder, ``trained_on`` what the weights have seen (`emofair.data.leak_check`).
    Raises `EmofairError` for a shape that transformers does not know and where nothing can be written.
    """
    safetensors = require("safetensors", "hf", "Writing .safetensors files")
    save_file = require("safetensors.torch", "hf").save_file
    folder, pretraining = Path(folder), dict(pretraining or {})
    config = huggingface.config_of(spec)
    weights = dict(state)
    if huggingface.has_counterpart(spec.kind, pretraining):
        prefix = f"{spec.kind}."
        config |= {"architectures": [huggingface.PRETRAINING_CLASS]}
        config |= huggingface.pretraining_config(pretraining, options or {})
        weights |= pretraining
    else:
        config |= {"architectures": [huggingface.CLASSES[spec.kind]]} | dict(config_facts or {})
    if trained_on:
        config[_FACTS] = dict(trained_on)
    names = huggingface.to_theirs(weights, spec.extractor_mode, prefix)
    tensors = {names[name]: weights[name].contiguous() for name in names} | dict(head or {})
    audio = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": spec.normalize,
        "sampling_rate": spec.sample_rate,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": spec.extractor_mode == "layer_norm",
    }
    with _making(folder, OSError, safetensors.SafetensorError):
        save_file(tensors, folder / SAFETENSORS, metadata={"format": "pt"})
        (folder / PREPROCESSOR).write_text(json.dumps(audio, indent=2) + "\n", encoding="utf-8")
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return sorted((weights.keys() | pretraining.keys()) - names.keys())


@contextmanager
def _making(folder: Path, *failures: type[Exception]) -> Iterator[None]:
    """A new folder; what cannot be written into it is told in one line."""
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise EmofairError("is a folder that is not empty", file=folder, remedy="Give another --out")
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except failures as error:
        reason = getattr(error, "strerror", None) or error
        raise EmofairError(f"cannot be written ({reason})", file=folder, remedy="Give another --out") from None


def _weights(file: Path, trust: bool | None) -> dict[str, Tensor]:
    """The weights in a ``.safetensors`` or ``.bin`` file by name."""
    if file.suffix != ".safetensors":
        return {name: value for name, value in safe.load(file, trust=trust).items() if isinstance(value, Tensor)}
    check_file(file)
    load_file = require("safetensors.torch", "hf", "Reading .safetensors files").load_file
    try:
        weights = load_file(file)
    except Exception as error:  # its own SafetensorError, but also OSError, ValueError and struct's
        raise EmofairError(f"is not a safetensors file ({error})", file=file, remedy=FETCH_AGAIN) from None
    safe.check_finite(weights, file)
    return weights


def _audio(folder: Path, config: Mapping[str, Any]) -> tuple[bool, int]:
    """Whether audio is normalised, and its rate."""
    if not (folder / PREPROCESSOR).exists():
        normalize = config.get("feat_extract_norm") == "layer"
        logger.warning(
            "%s: has no %s; audio is taken to be %s, as for published models with its norms",
            folder,
            PREPROCESSOR,
            "normalised" if normalize else "used as it is",
        )
        return normalize, SAMPLE_RATE
    audio = read_json(folder / PREPROCESSOR)
    return audio.get("do_normalize", True), audio.get("sampling_rate", SAMPLE_RATE)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file of such a folder."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EmofairError(f"has no {file.name}, as a Hugging Face folder does", file=file.parent) from None
    except (OSError, ValueError) as error:
        raise EmofairError(f"is not JSON ({error})", file=file, remedy=FETCH_AGAIN) from None
    if not isinstance(value, dict):
        raise EmofairError(f"holds a {type(value).__name__}, not a JSON object", file=file)
    return value
