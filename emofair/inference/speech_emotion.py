"""Prediction from raw audio with a waveform emotion model."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from emofair.data.audio import SAMPLE_RATE
from emofair.data.speech_dataset import normalized, pad_waveforms, windows_of
from emofair.errors import EmofairError
from emofair.inference.checkpoint import LoadedCheckpoint
from emofair.inference.prediction import Prediction, Wave, count, predictions, samples_of

if TYPE_CHECKING:
    from emofair.inference.timeline import Timeline


class SpeechEmotionPredictor:
    """A `speech_emotion` model. Nothing but its checkpoint is needed.

    Recordings longer than ``window_seconds`` are judged in overlapping windows, half a window apart, whose logits are
    averaged; None (default) judges them whole.
    """

    def __init__(self, loaded: LoadedCheckpoint, *, window_seconds: float | None = None) -> None:
        if window_seconds is not None and not 0 < window_seconds < math.inf:
            raise EmofairError(f"windows of {window_seconds} s", remedy="Give seconds above 0, or none")
        self.model, self.task, self.facts = loaded.model, loaded.task, loaded.facts
        self.mode = loaded.task.mode
        self.window_seconds = window_seconds
        self.window = None if window_seconds is None else round(window_seconds * SAMPLE_RATE)

    def open_tokenizers(self) -> None:
        """There are none."""

    def predict(self, wav: Wave, text: str | None = None) -> Prediction:
        """Predict one recording: a file, resampled to 16 kHz and mixed to mono when need be, or samples at 16 kHz.

        A transcript (``text``) changes nothing: this model only listens.
        """
        return self.predict_many([wav], [text])[0]

    def predict_many(self, wavs: Sequence[Wave], texts: Sequence[str | None] | None = None) -> list[Prediction]:
        """Predict several recordings at once; see `predict`."""
        texts = [None] * len(wavs) if texts is None else texts
        if not count({"recordings": wavs, "transcripts": texts}):
            return []
        clips = [samples_of(wav) for wav in wavs]
        if self.model.spec.normalize:
            clips = [normalized(clip) for clip in clips]
        spans = [
            windows_of(len(clip), self.window or len(clip), (self.window or len(clip)) // 2 or 1) for clip in clips
        ]
        device = next(self.model.parameters()).device
        wav, n_samples = pad_waveforms([c[a:b] for c, each in zip(clips, spans, strict=True) for a, b in each])
        item = torch.tensor([i for i, each in enumerate(spans) for _ in each], device=device)
        with torch.inference_mode():
            logits, _ = self.model(wav.to(device), n_samples.to(device), item=item, n_items=len(clips))
        return predictions(self.mode, logits)

    def timeline(
        self,
        wav: Wave,
        *,
        hop_seconds: float | None = None,
        smooth: str = "median",
        width: int = 5,
        penalty: float = 3.0,
        kmeans: str | os.PathLike[str] | None = None,
        features_layer: int | None = None,
        features_checkpoint: str | os.PathLike[str] | None = None,
        cluster_report: str | os.PathLike[str] | None = None,
    ) -> Timeline:
        """One recording frame by frame: what each adds to the logits, and the emotion of each.

        See `emofair.inference.timeline`; ``smooth``, ``width`` and ``penalty`` are those of `Smoothing`.
        """
        from emofair.inference.smoothing import Smoothing
        from emofair.inference.timeline import timeline

        return timeline(
            self.model,
            self.mode.classes,
            wav,
            window_seconds=self.window_seconds,
            hop_seconds=hop_seconds,
            smoothing=Smoothing(smooth, width, penalty),
            kmeans=kmeans,
            features_layer=features_layer,
            features_checkpoint=features_checkpoint,
            cluster_report=cluster_report,
        )
