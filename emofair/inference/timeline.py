"""The emotion timeline of one recording: what each frame adds to the logit of each class.

The head is linear and pooling is a weighted mean with weights a_t that add up to 1, so the logits split exactly into
shares of the frames h_t: logits = W sum_t a_t h_t + b = sum_t a_t (W h_t + b). That holds for the poolings attention,
mean and mean_drop_last, with or without ReLU on the frames and with a learned mixture of layers, for these come before
it. It does not hold for max and attentive statistics, nor with a hidden layer in the head: these are refused.

Over overlapping windows the logits are the mean of those of the R windows, as in `emofair evaluate`, so a frame's share
is the sum of what it has in each window, divided by R: shares still add up to the logits and weights to 1. The frame
posterior is the softmax of the mean of W h_t + b over the windows that the frame is in. Windows start at any sample: a
frame of a window counts for the frame of the recording that starts closest to it, at most one hop away.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from emofair.data.audio import SAMPLE_RATE, audio_info
from emofair.data.speech_dataset import normalized, windows_of
from emofair.errors import EmofairError
from emofair.inference.frame_clusters import FrameClusters
from emofair.inference.listening import check_window, heard
from emofair.inference.prediction import Wave
from emofair.inference.smoothing import Smoothing, runs
from emofair.models.speech_emotion_classifier import SpeechEmotionClassifier
from emofair.modules.pooling import WEIGHTED_MEANS

# Seconds of audio in one batch of windows.
_SECONDS_AT_ONCE = 80.0


class Segment(NamedTuple):
    """A stretch of frames of one class, in seconds, with the mean of that class's posterior over it."""

    start: float
    end: float
    label: str
    posterior: float


class ClusterRun(NamedTuple):
    """A stretch of frames of one cluster, in seconds."""

    start: float
    end: float
    cluster: int


class Shares(NamedTuple):
    """What the frames make of a recording: see the module.

    ``logits`` [K] are the model's own, ``attention`` [T] and ``contributions`` [T, K] add up to 1 and to them;
    ``log_posteriors`` [T, K]. All float64.
    """

    logits: np.ndarray
    attention: np.ndarray
    contributions: np.ndarray
    log_posteriors: np.ndarray
    n_windows: int


@dataclass(frozen=True)
class Timeline:
    """One recording frame by frame; T frames, K classes.

    ``samples`` float32 [n] at `SAMPLE_RATE` are what was heard. ``times`` [T] are the centres of the frames and
    ``edges`` [T + 1] the borders half-way between them, from 0 to the end of the recording, in seconds. ``decisions``
    [T] are the classes after smoothing, of which ``segments`` are the runs. ``clusters`` [T] and ``cluster_runs`` are
    None without a k-means; ``cluster_posteriors`` [T, classes] are P(emotion | cluster of the frame) for each of
    ``cluster_classes``, None without a report on the clusters. ``facts`` (JSON values): how it was made.
    """

    samples: np.ndarray
    classes: tuple[str, ...]
    logits: np.ndarray
    probabilities: np.ndarray
    times: np.ndarray
    edges: np.ndarray
    attention: np.ndarray
    contributions: np.ndarray
    posteriors: np.ndarray
    decisions: np.ndarray
    segments: list[Segment]
    clusters: np.ndarray | None
    cluster_runs: list[ClusterRun] | None
    facts: dict[str, Any]
    cluster_classes: tuple[str, ...] | None = None
    cluster_posteriors: np.ndarray | None = None

    @property
    def label(self) -> str:
        """The class of the whole recording."""
        return self.classes[int(self.logits.argmax())]

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return float(self.edges[-1])


def timeline(
    model: SpeechEmotionClassifier,
    classes: tuple[str, ...],
    wav: Wave,
    *,
    window_seconds: float | None = None,
    hop_seconds: float | None = None,
    judged_seconds: float | None = None,
    smoothing: Smoothing | None = None,
    kmeans: str | os.PathLike[str] | None = None,
    features_layer: int | None = None,
    features_checkpoint: str | os.PathLike[str] | None = None,
    cluster_report: str | os.PathLike[str] | None = None,
) -> Timeline:
    """The timeline of a file (resampled and mixed to mono when need be) or of samples at 16 kHz.

    Recordings longer than ``window_seconds`` go through in windows every ``hop_seconds`` (default: half a window).
    ``judged_seconds``: `emofair evaluate` judges only so much of a recording, which the facts of a longer one tell.
    ``kmeans``, with ``features_layer``, ``features_checkpoint`` and ``cluster_report``, as for `FrameClusters`. Raises
    EmofairError for a model that does not split, a recording that is silent or shorter than a frame, and windows that
    leave frames out.
    """
    check_splits(model)
    smoothing = smoothing or Smoothing()
    window, hop = window_samples(model, window_seconds, hop_seconds)
    clusters = open_clusters(model, kmeans, features_layer, features_checkpoint, cluster_report)
    samples = heard(wav, model.spec.receptive_field)
    shares = decompose(model, samples, window, hop)
    ids = None if clusters is None else clusters.ids(samples, window_seconds)
    emotions = clusters and clusters.emotions
    times, edges = frame_times(model, len(samples))
    decisions = smoothing.decide(shares.log_posteriors)
    posteriors = np.exp(shares.log_posteriors)
    return Timeline(
        samples=samples,
        classes=tuple(classes),
        logits=shares.logits,
        probabilities=np.exp(_log_softmax(shares.logits)),
        times=times,
        edges=edges,
        attention=shares.attention,
        contributions=shares.contributions,
        posteriors=posteriors,
        decisions=decisions,
        segments=segments_of(decisions, posteriors, edges, classes),
        clusters=ids,
        cluster_runs=None if ids is None else [ClusterRun(*run) for run in _runs_in_seconds(ids, edges)],
        facts={
            "recording": os.fspath(wav) if isinstance(wav, (str, os.PathLike)) else None,
            "seconds": float(edges[-1]),
            "file_sample_rate": audio_info(wav).sample_rate if isinstance(wav, (str, os.PathLike)) else None,
            "sample_rate": SAMPLE_RATE,
            "n_samples": len(samples),
            "frame_rate": SAMPLE_RATE / model.spec.hop,
            "pooling": model.cfg.pooling,
            "layer": model.cfg.layer,
            "window_seconds": window_seconds,
            "hop_seconds": hop and hop / SAMPLE_RATE,
            "n_windows": shares.n_windows,
            "judged_seconds": judged_seconds if judged_seconds and judged_seconds < edges[-1] else None,
            "smoothing": smoothing.facts(),
            "clusters": clusters and clusters.facts,
        },
        cluster_classes=emotions and emotions[0],
        cluster_posteriors=emotions and emotions[1][ids],
    )


def check_splits(model: torch.nn.Module) -> None:
    """Raise EmofairError for a model whose logits are not a sum over frames."""
    works = (
        f"A timeline needs a speech_emotion_classifier that pools by {', '.join(WEIGHTED_MEANS)} and has no hidden "
        "layer in its head (--head-hidden 0)"
    )
    if not isinstance(model, SpeechEmotionClassifier):
        raise EmofairError(f"the logits of a {type(model).__name__} do not split into shares of frames", remedy=works)
    if model.cfg.pooling not in WEIGHTED_MEANS:
        raise EmofairError(f"pooling {model.cfg.pooling} does not split logits into shares of frames", remedy=works)
    if model.hidden is not None:
        raise EmofairError(f"a hidden layer ({model.cfg.head_hidden}) in the head mixes the frames", remedy=works)


def window_samples(
    model: SpeechEmotionClassifier, window_seconds: float | None, hop_seconds: float | None
) -> tuple[int | None, int | None]:
    """Length and step of the windows in samples, None and None without windows."""
    if window_seconds is None:
        if hop_seconds is not None:
            raise EmofairError("a step without windows", remedy="Give --window-seconds with --hop-seconds")
        return None, None
    check_window(model.spec, window_seconds)
    window = round(window_seconds * SAMPLE_RATE)
    # With a longer step a frame could fall between two windows, whose frames are rounded to those of the recording.
    longest = (model.encoder.n_frames(window) - 1) * model.spec.hop
    hop_seconds = window // 2 / SAMPLE_RATE if hop_seconds is None else hop_seconds
    if not 1 <= hop_seconds * SAMPLE_RATE <= longest:
        raise EmofairError(
            f"a step of {hop_seconds} s between windows of {window_seconds} s may leave frames out",
            remedy=f"Give --hop-seconds above 0 and at most {longest / SAMPLE_RATE}",
        )
    hop = round(hop_seconds * SAMPLE_RATE)
    return window, hop


def open_clusters(
    model: SpeechEmotionClassifier,
    kmeans: str | os.PathLike[str] | None,
    layer: int | None,
    checkpoint: str | os.PathLike[str] | None,
    report: str | os.PathLike[str] | None = None,
) -> FrameClusters | None:
    """The k-means to label frames with; None where there is none."""
    if kmeans is not None:
        return FrameClusters(kmeans, model.encoder, layer=layer, checkpoint=checkpoint, report=report)
    if layer is not None or checkpoint is not None:
        raise EmofairError("features of a k-means without the k-means", remedy="Give --kmeans too")
    if report is not None:
        raise EmofairError("a report on clusters without their k-means", file=report, remedy="Give --kmeans too")
    return None


def decompose(
    model: SpeechEmotionClassifier, samples: np.ndarray, window: int | None = None, hop: int | None = None
) -> Shares:
    """Split the logits of ``samples`` [n], at `SAMPLE_RATE`, into shares of frames; windows as of `window_samples`."""
    from tqdm import tqdm

    spec, n = model.spec, len(samples)
    wav = normalized(samples) if spec.normalize else samples
    spans = windows_of(n, window or n, hop or n)
    length, n_frames = spans[0][1], model.encoder.n_frames(n)
    in_window = model.encoder.n_frames(length)
    starts = np.array([start for start, _ in spans])
    offsets = np.minimum((2 * starts + spec.hop) // (2 * spec.hop), n_frames - in_window)  # to the nearest frame
    offsets[-1] = n_frames - in_window  # the last window ends with the recording
    k = model.classifier.out_features
    logits = torch.zeros(k, dtype=torch.float64)
    attention, counts = torch.zeros(2, n_frames, dtype=torch.float64)
    contributions, frame_logits = torch.zeros(2, n_frames, k, dtype=torch.float64)
    device = next(model.parameters()).device
    rows = max(1, int(_SECONDS_AT_ONCE * SAMPLE_RATE) // length)
    for first in tqdm(range(0, len(spans), rows), desc="timeline", unit="batch", delay=2, leave=False, disable=None):
        part = slice(first, first + rows)
        batch = torch.from_numpy(np.stack([wav[start:end] for start, end in spans[part]])).to(device)
        with torch.inference_mode():
            encoded = model.frames(batch, torch.full((len(batch),), length, device=device))
            frames, padding = encoded.hidden[0], encoded.padding_mask()
            weights = model.pool.weights(frames, padding).double().cpu()
            values = model.classifier(frames).double().cpu()
            logits += model.classifier(model.pool(frames, padding)).double().cpu().sum(dim=0)
        place = (torch.from_numpy(offsets[part])[:, None] + torch.arange(in_window)).flatten()
        attention.index_add_(0, place, weights.flatten())
        counts.index_add_(0, place, torch.ones(len(place), dtype=torch.float64))
        contributions.index_add_(0, place, (weights[..., None] * values).flatten(0, 1))
        frame_logits.index_add_(0, place, values.flatten(0, 1))
    n_windows = len(spans)
    log_posteriors = (frame_logits / counts[:, None]).log_softmax(dim=-1)
    parts = (logits / n_windows, attention / n_windows, contributions / n_windows, log_posteriors)
    return Shares(*(part.numpy() for part in parts), n_windows)


def frame_times(model: SpeechEmotionClassifier, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres [T] of the frames of a recording and the borders [T + 1] half-way between them, in seconds.

    The first border is 0 and the last the end of the recording.
    """
    spec = model.spec
    starts = np.arange(model.encoder.n_frames(n_samples)) * spec.hop
    centres = (starts + spec.receptive_field / 2) / SAMPLE_RATE
    edges = np.empty(len(centres) + 1)
    edges[0], edges[-1] = 0.0, n_samples / SAMPLE_RATE
    edges[1:-1] = (starts[1:] + (spec.receptive_field - spec.hop) / 2) / SAMPLE_RATE
    return centres, edges


def segments_of(
    decisions: np.ndarray, posteriors: np.ndarray, edges: np.ndarray, classes: tuple[str, ...]
) -> list[Segment]:
    """Runs of equal ``decisions`` [T] with the mean of their class's ``posteriors`` [T, K]."""
    first, end = runs(decisions)
    sums = np.add.reduceat(posteriors[np.arange(len(decisions)), decisions], first)
    return [
        Segment(start, stop, classes[which], mean)
        for (start, stop, which), mean in zip(
            _runs_in_seconds(decisions, edges), (sums / (end - first)).tolist(), strict=True
        )
    ]


def _runs_in_seconds(values: np.ndarray, edges: np.ndarray) -> list[tuple[float, float, int]]:
    first, end = runs(values)
    return list(zip(edges[first].tolist(), edges[end].tolist(), values[first].tolist(), strict=True))


def _log_softmax(values: np.ndarray) -> np.ndarray:
    return torch.from_numpy(values).log_softmax(dim=-1).numpy()
