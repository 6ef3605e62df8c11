"""The cluster of every frame of one recording, as `emofair features` and `emofair units` would label it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from emofair.encoders.speech import SpeechEncoder
from emofair.errors import EmofairError
from emofair.units.cluster_report import read_posterior
from emofair.units.extractors import EncoderFeatures, Extractor, Options, open_extractor
from emofair.units.feature_dump import cut_clip
from emofair.units.kmeans import load_kmeans
from emofair.units.nearest import NearestCentroid


class FrameClusters:
    """A k-means over frames of ``encoder``, or of the one in ``checkpoint``, which must have the same frames.

    ``layer`` defaults to the one that the k-means was fitted on. With a ``report``, the JSON of `emofair clusters`,
    ``emotions`` are its classes and P(emotion | cluster) [k, classes]. Raises EmofairError for a k-means that was
    fitted on other features, for bare centroids without a ``layer`` and for a report of other clusters.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoder: SpeechEncoder,
        *,
        layer: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        report: str | os.PathLike[str] | None = None,
    ) -> None:
        self.kmeans = load_kmeans(path)
        self.emotions = None if report is None else read_posterior(report, self.kmeans.k, self.kmeans.sha256)
        fitted = self.kmeans.facts.get("features", {}).get("source") or {}
        if fitted.get("features", "encoder") != "encoder":
            raise EmofairError(
                f"was fitted on {fitted['features']}, not on frames of an encoder",
                file=path,
                remedy="Give one that was fitted on a layer of the model",
            )
        if layer is None:
            if "layer" not in fitted:
                raise EmofairError(
                    "does not say which layer it was fitted on", file=path, remedy="Name it with --features-layer"
                )
            layer = -1 if fitted.get("final_layer_norm") else fitted["layer"]
        relu = bool(fitted.get("relu"))
        device = next(encoder.parameters()).device
        self.extractor: Extractor
        if checkpoint is None:
            self.extractor = EncoderFeatures(encoder, layer, relu=relu, device=device)
        else:
            self.extractor = open_extractor("encoder", Options(checkpoint, layer, relu, str(device)))
            self._check_frames(encoder, checkpoint)
        self.kmeans.check_source(
            self.extractor.dim,
            self.extractor.source,
            f"of layer {layer} of {'the model' if checkpoint is None else os.fspath(checkpoint)}",
            path,
            "Name the encoder that it was fitted on with --features-checkpoint, or leave --features-layer out",
        )
        self.nearest = NearestCentroid(self.kmeans.centroids, device)
        self.facts: dict[str, Any] = {
            "kmeans": os.fspath(path),
            "kmeans_sha256": self.kmeans.sha256,
            "k": self.kmeans.k,
            "features": self.extractor.source,
            "report": report and os.fspath(report),
        }

    def _check_frames(self, encoder: SpeechEncoder, checkpoint: str | os.PathLike[str]) -> None:
        spec, frames = encoder.spec, self.extractor
        wanted = (spec.hop, spec.receptive_field, spec.sample_rate)
        if (frames.hop, frames.receptive_field, frames.sample_rate) != wanted:
            raise EmofairError(
                f"a frame every {frames.hop} samples that sees {frames.receptive_field}, and the model has one every "
                f"{spec.hop} that sees {spec.receptive_field}",
                file=checkpoint,
            )

    def ids(self, wav: np.ndarray, window_seconds: float | None = None) -> np.ndarray:
        """Cluster int64 [T] of every frame of a recording [n]; a long one is cut as by ``features --max-seconds``."""
        prepared = self.extractor.prepare(wav)
        found = []
        for first, last, _ in cut_clip(len(wav), self.extractor, window_seconds):
            features = self.extractor.extract([prepared[first:last]])[0]
            for start in range(0, len(features), self.nearest.block):
                found.append(self.nearest(features[start : start + self.nearest.block])[0])
        return np.concatenate(found)
