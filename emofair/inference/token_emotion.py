"""Prediction with robertaEMO from raw audio, a transcript, or token ids."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from emofair.checkpoints import ssl_dir as ssl
from emofair.data.token_dataset import collate_tokens
from emofair.errors import EmofairError
from emofair.inference.checkpoint import LoadedCheckpoint
from emofair.inference.prediction import Prediction, Wave, count, predictions, samples_of
from emofair.units.bpe import TextTokenizer
from emofair.units.vq_wav2vec import SpeechTokenizer


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
        if not count({"recordings": wavs, "transcripts": texts}):
            return []
        speech, words = None, None
        if "speech" in self.modalities:
            speech = self.speech_tokenizer.encode([samples_of(wav) for wav in wavs])
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
        if given and not count(given):
            return []
        net_input = {}
        for name, key in (("speech", "audio"), ("text", "text")):
            if name in self.modalities and name in given:
                tokens = collate_tokens([np.asarray(s) for s in given[name]], self.task.max_tokens[name])
                net_input[key] = torch.from_numpy(tokens).to(device)
        with torch.inference_mode():
            logits, _ = self.model(**net_input, features_only=True, classification_head_name=self.head)
        return predictions(self.mode, logits)

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
