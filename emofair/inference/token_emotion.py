"""Prediction with robertaEMO from raw audio, a transcript, or token ids."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from emofair.checkpoints import ssl_dir as ssl
from emofair.data.audio import SAMPLE_RATE, read_audio
from emofair.data.token_dataset import collate_tokens
from emofair.errors import EmofairError
from emofair.inference.checkpoint import LoadedCheckpoint
from emofair.inference.predictions import decode
from emofair.units.bpe import TextTokenizer
from emofair.units.vq_wav2vec import SpeechTokenizer

Wave = str | os.PathLike[str] | np.ndarray | torch.Tensor
"""A file, or samples [n] at 16 kHz."""

REMEDY = f"Give a file, or an array or tensor [n] at {SAMPLE_RATE} Hz of floats or int16"
# Silence and full scale of the integer types that wav files come in.
PCM = {"uint8": (128, 2**7), "int16": (0, 2**15), "int32": (0, 2**31)}


@dataclass(frozen=True)
class Prediction:
    """What the model says of one utterance.

    For classes: ``label`` is the most likely one and ``scores`` holds the probability of each by name (of being present
    where every emotion is judged on its own). For a score: ``value``, with ``label`` its text and no ``scores``.
    """

    label: str
    scores: dict[str, float]
    value: float | None = None


def waveform(samples: np.ndarray | torch.Tensor) -> np.ndarray:
    """Samples [n] at 16 kHz as float32 within [-1, 1].

    Floats are taken as they are; PCM as int16, int32 or (around 128) uint8 is scaled. Raises `EmofairError` for
    anything else.
    """
    if isinstance(samples, torch.Tensor):
        samples = samples.detach().cpu()
        samples = (samples.float() if samples.is_floating_point() else samples).numpy()
    if not isinstance(samples, np.ndarray):
        raise EmofairError(f"a {type(samples).__name__} is no recording", remedy=REMEDY)
    if samples.dtype.name not in PCM and not np.issubdtype(samples.dtype, np.floating):
        raise EmofairError(f"samples of the type {samples.dtype} have no known scale", remedy=REMEDY)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise EmofairError(f"samples of shape {list(samples.shape)} are not one finite mono waveform", remedy=REMEDY)
    audio = samples.astype(np.float32, copy=False)
    if samples.dtype.name in PCM:
        silence, full_scale = PCM[samples.dtype.name]
        audio = (audio - silence) / full_scale
    return audio


class TokenEmotionPredictor:
    """A robertaEMO model with its tokenisers, which are opened when raw input first needs them.

    ``ssl_dir`` is the folder of the pretrained models; ``vq_wav2vec`` (file), ``speech_bert_path`` and
    ``text_roberta_path`` (folders with ``dict.txt`` and the BPE files) name them one by one.
    """

    def __init__(
        self,
        loaded: LoadedCheckpoint,
        *,
        ssl_dir: str | os.PathLike[str] | None = None,
        vq_wav2vec: str | os.PathLike[str] | None = None,
        speech_bert_path: str | os.PathLike[str] | None = None,
        text_roberta_path: str | os.PathLike[str] | None = None,
    ) -> None:
        self.model, self.task, self.facts = loaded.model, loaded.task, loaded.facts
        self.mode = loaded.task.mode
        self.head = loaded.cfg.model.classification_head_name
        self._ssl_dir = ssl_dir
        self._paths = {
            "vq_wav2vec": vq_wav2vec,
            "speech_bert": speech_bert_path,
            "text_roberta": text_roberta_path,
        }

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model listens to: ``text``, ``speech`` or both."""
        return self.model.modalities

    @cached_property
    def speech_tokenizer(self) -> SpeechTokenizer:
        """vq-wav2vec with the dictionary of the Speech-BERT."""
        device = next(self.model.parameters()).device
        speech_bert = self._locate("speech_bert")
        folder = speech_bert if speech_bert.is_dir() else speech_bert.parent
        tokenizer = SpeechTokenizer(self._locate("vq_wav2vec"), folder / "dict.txt", device=str(device))
        self._check_dictionary("speech", tokenizer.dictionary, folder)
        return tokenizer

    @cached_property
    def text_tokenizer(self) -> TextTokenizer:
        """The BPE of the text RoBERTa."""
        roberta = self._locate("text_roberta")
        folder = roberta if roberta.is_dir() else roberta.parent
        tokenizer = TextTokenizer.from_dir(folder)
        self._check_dictionary("text", tokenizer.dictionary, folder)
        return tokenizer

    def open_tokenizers(self) -> None:
        """Open now what raw input will need; raises `EmofairError` when a file is missing or of another model."""
        if "speech" in self.modalities:
            _ = self.speech_tokenizer
        if "text" in self.modalities:
            _ = self.text_tokenizer

    def predict(self, wav: Wave | None = None, text: str | None = None) -> Prediction:
        """Predict one utterance.

        ``wav``: a file, resampled to 16 kHz and mixed to mono when need be, or samples [n] at 16 kHz (see `waveform`).
        ``text``: the transcript. Raises `EmofairError` when the model needs what is not given.
        """
        return self.predict_many([wav], [text])[0]

    def predict_many(self, wavs: Sequence[Wave | None], texts: Sequence[str | None]) -> list[Prediction]:
        """Predict utterances given as parallel lists; see `predict`."""
        if not _count({"recordings": wavs, "transcripts": texts}):
            return []
        speech, words = None, None
        if "speech" in self.modalities:
            speech = self.speech_tokenizer.encode([self._samples(wav) for wav in wavs])
        if "text" in self.modalities:
            if any(text is None for text in texts):
                raise EmofairError("this model reads the transcript too", remedy="Give it as text (--text)")
            words = [self.text_tokenizer.encode(text) for text in texts]
        return self.predict_tokens(speech, words)

    def predict_tokens(
        self, speech: Sequence[np.ndarray] | None = None, text: Sequence[np.ndarray] | None = None
    ) -> list[Prediction]:
        """Predict from token ids, one int array [T] per utterance and modality, first id and last id included."""
        device = next(self.model.parameters()).device
        given = {name: ids for name, ids in (("speech", speech), ("text", text)) if ids is not None}
        if given and not _count(given):
            return []
        net_input = {}
        for name, key in (("speech", "audio"), ("text", "text")):
            if name in self.modalities and name in given:
                tokens = collate_tokens([np.asarray(s) for s in given[name]], self.task.max_tokens[name])
                net_input[key] = torch.from_numpy(tokens).to(device)
        with torch.inference_mode():
            logits, _ = self.model(**net_input, features_only=True, classification_head_name=self.head)
        return [self._prediction(row) for row in decode(self.mode, logits).tolist()]

    def _prediction(self, values: list[float]) -> Prediction:
        if not self.mode.classes:
            return Prediction(f"{values[0]:.3f}", {}, values[0])
        best = max(range(len(values)), key=values.__getitem__)
        return Prediction(self.mode.classes[best], dict(zip(self.mode.classes, values, strict=True)))

    def _samples(self, wav: Wave | None) -> np.ndarray:
        if wav is None:
            raise EmofairError("this model listens to speech", remedy="Give a wav file")
        return read_audio(wav, resample=True) if isinstance(wav, (str, os.PathLike)) else waveform(wav)

    def _locate(self, kind: str) -> Path:
        return ssl.locate(kind, ssl_dir=self._ssl_dir, path=self._paths[kind])

    def _check_dictionary(self, name: str, dictionary, folder: Path) -> None:
        # A masked language model appends <mask>, which no dict.txt holds.
        rows = self.model.encoder(name).spec.vocab_size
        if len(dictionary) not in (rows, rows - 1):
            raise EmofairError(
                f"a dictionary of {len(dictionary)} entries does not belong to this model's {name} encoder of {rows}",
                file=folder / "dict.txt",
                remedy="Give the folder of the pretrained model that it was fine-tuned from",
            )


def _count(lists: Mapping[str, Sequence]) -> int:
    """Length of parallel lists."""
    lengths = {len(each) for each in lists.values()}
    if len(lengths) > 1:
        told = " and ".join(f"{len(each)} {name}" for name, each in lists.items())
        raise EmofairError(f"{told} are not parallel lists", remedy="Give one per utterance, None where there is none")
    return lengths.pop()
