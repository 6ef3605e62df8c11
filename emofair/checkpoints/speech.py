"""One entry for the published files that hold a wav2vec 2.0, HuBERT or WavLM encoder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from torch import Tensor

from emofair.checkpoints import fairseq_speech, huggingface, huggingface_folder, lightning, safe, torchaudio_names
from emofair.checkpoints.loaded_speech import LoadedSpeech, check_fit, listing
from emofair.encoders.speech_spec import KINDS
from emofair.errors import EmofairError

__all__ = ["LoadedSpeech", "load_speech_encoder"]

logger = logging.getLogger(__name__)


def load_speech_encoder(
    path: str | PathLike[str],
    kind: str = "auto",
    *,
    attention_heads: int | None = None,
    trust: bool | None = None,
) -> LoadedSpeech:
    """Read the speech encoder in ``path``; what the file holds is recognised by its content.

    Read are fairseq's wav2vec 2.0 and HuBERT, pre-trained or fine-tuned for speech recognition; Microsoft's WavLM;
    Hugging Face folders; torchaudio's and FT-w2v2-ser's weights; and what was trained here. ``kind`` ("wav2vec2",
    "hubert", "wavlm") makes another kind an error; where a file does not tell wav2vec 2.0 from HuBERT, which are the
    same network, it decides. ``attention_heads`` is for files that do not tell it and have an unpublished width;
    ``trust`` as for `safe.load`. Raises `EmofairError` when a file is missing or broken, describes another
    architecture, or when weights are missing, unknown or misshapen, which are listed.
    """
    path = Path(path)
    if kind not in ("auto", *KINDS):
        raise EmofairError(f"no speech encoder is of kind {kind!r}", remedy=f"Choose one of auto, {', '.join(KINDS)}")
    loaded = _read(path, kind, attention_heads, trust)
    if kind not in ("auto", loaded.spec.kind):
        raise EmofairError(f"is a {loaded.spec.kind}, not a {kind}", file=path)
    check_fit(loaded)
    return loaded


def _read(path: Path, kind: str, attention_heads: int | None, trust: bool | None) -> LoadedSpeech:
    if path.name in (huggingface_folder.SAFETENSORS, huggingface_folder.BIN, huggingface_folder.CONFIG):
        path = path.parent
    if path.is_dir():
        loaded = huggingface_folder.read(path, trust=trust)
        if loaded.head:
            logger.warning("%s: the weights of its head are left out: %s", loaded.path, listing(sorted(loaded.head)))
        return loaded
    checkpoint = safe.load(path, trust=trust)
    if isinstance(checkpoint.get("state_dict"), Mapping):
        return lightning.read(checkpoint, path, attention_heads)
    if isinstance(checkpoint.get("model"), Mapping):
        return fairseq_speech.read(checkpoint, path)
    weights = {name: value for name, value in checkpoint.items() if isinstance(value, Tensor)}
    if any(name.startswith(torchaudio_names.PREFIX) for name in weights):
        return torchaudio_names.read(weights, path, "wav2vec2" if kind == "auto" else kind, attention_heads)
    if huggingface.to_ours(weights, "default"):
        raise EmofairError(
            "holds weights under transformers' names and nothing that describes them",
            file=path,
            remedy="Put its config.json beside it and name the folder",
        )
    known = ", ".join(map(str, list(checkpoint)[:5]))
    raise EmofairError(f"holds no wav2vec 2.0, HuBERT or WavLM in a known form; it has {known}", file=path)
