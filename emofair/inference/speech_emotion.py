"""Prediction from raw audio with a waveform emotion model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from emofair.data.speech_dataset import normalized, pad_waveforms, windows_of
from emofair.inference.checkpoint import LoadedCheckpoint
from emofair.inference.listening import check_window, heard, judged, window_options
from emofair.inference.prediction import Prediction, Wave, count, predictions

if TYPE_CHECKING:
    from emofair.inference.timeline import Timeline


class SpeechEmotionPredictor:
    """A `speech_emotion` model. Nothing but its checkpoint is needed.

    A recording is judged as by `emofair evaluate`: whole, or what the options of the training say. Those longer than
    ``window_seconds`` are judged in overlapping windows, half a window apart, whose logits are averaged.
    """

    modalities = ("speech",)

    def __init__(self, loaded: LoadedCheckpoint, *, window_seconds: float | None = None) -> None:
        self.model, self.task, self.facts = loaded.model, loaded.task, loaded.facts
        self.mode = loaded.task.mode
        self.options = {**loaded.task.cfg, **window_options(window_seconds)}
        check_window(self.model.spec, window_seconds)

    def open_tokenizers(self) -> None:
        """There are none."""

    def predict(self, wav: Wave, text: str | None = None) -> Prediction:
        """Predict one recording: a file, resampled to 16 kHz and mixed to mono when need be, or samples at 16 kHz.

        A transcript (``text``) changes nothing: this model only listens. Raises `EmofairError` for a recording that is
        silent or shorter than a frame.
        """
        return self.predict_many([wav], [text])[0]

    def predict_many(self, wavs: Sequence[Wave], texts: Sequence[str | None] | None = None) -> list[Prediction]:
        """Predict several recordings at once; see `predict`."""
        texts = [None] * len(wavs) if texts is None else texts
        if not count({"recordings": wavs, "transcripts": texts}):
            return []
        clips = [heard(wav, self.model.spec.receptive_field) for wav in wavs]
        if self.model.spec.normalize:
            clips = [normalized(clip) for clip in clips]
        limit, window, hop = judged(self.options)
        lengths = [min(len(clip), limit or len(clip)) for clip in clips]
        spans = [windows_of(n, window or n, hop or n) for n in lengths]
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

        See `emofair.inference.timeline`; ``smooth``, ``width`` and ``penalty`` are those of `Smoothing`. Windows are
        those of `predict`, unless ``hop_seconds`` says otherwise.
        """
        from emofair.inference.smoothing import Smoothing
        from emofair.inference.timeline import timeline

        window_seconds = self.options["eval_window_seconds"]
        if window_seconds is not None and hop_seconds is None:
            hop_seconds = self.options["eval_hop_seconds"]
        return timeline(
            self.model,
            self.mode.classes,
            wav,
            window_seconds=window_seconds,
            hop_seconds=hop_seconds,
            judged_seconds=self.options["eval_max_seconds"],
            smoothing=Smoothing(smooth, width, penalty),
            kmeans=kmeans,
            features_layer=features_layer,
            features_checkpoint=features_checkpoint,
            cluster_report=cluster_report,
        )
