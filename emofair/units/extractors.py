"""What turns waveforms into frame features, behind one small interface: a speech encoder's layer, or MFCCs.

A further kind is a class that extends `Extractor` and a line in `EXTRACTORS`.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emofair.device import autocast_pays, find_device
from emofair.errors import EmofairError
from emofair.units import mfcc
from emofair.units.feature_store import n_frames

if TYPE_CHECKING:
    import torch

    from emofair.data.audio import PathLike
    from emofair.encoders.speech import SpeechEncoder
    from emofair.encoders.speech_spec import SpeechSpec
    from emofair.encoders.wav2vec import Wav2Vec
    from emofair.encoders.wav2vec_spec import Wav2VecSpec
    from emofair.models.wav2vec_frame_classifier import Wav2VecFrameClassifier


class Extractor(ABC):
    """Waveforms to frames of width ``dim``, every ``hop`` samples, each of which sees ``receptive_field`` samples.

    ``source`` (JSON values) says what the features are: equal sources, comparable frames. ``spec`` describes the
    encoder (JSON values; empty when there is none). ``trained_on`` are the facts of `emofair.data.leak_check` about the
    clips that the encoder has seen; None for a public model. ``autocast_bf16``: whether it computes in bfloat16.
    """

    dim: int
    hop: int
    receptive_field: int
    sample_rate: int
    source: dict[str, Any]
    spec: dict[str, Any]
    trained_on: dict[str, Any] | None = None
    autocast_bf16: bool = False

    def n_frames(self, n_samples: int) -> int:
        """Frames of a clip, by `feature_store.n_frames`."""
        return n_frames(n_samples, self.receptive_field, self.hop)

    def prepare(self, wav: np.ndarray) -> np.ndarray:
        """A whole clip float32 [n_samples] as the encoder wants to hear it: normalised where it was trained so."""
        return wav

    @abstractmethod
    def extract(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Features float32 [frames, dim] of each prepared waveform, or piece of one; they go through as one batch.

        A waveform gets what it gets alone, but for float noise.
        """


@dataclass(frozen=True)
class Options:
    """How to extract; what a kind cannot use must be left at its default.

    ``layer``: 1 to the number of layers, 0 for what the first one reads, -1 (also None) for the last. ``relu`` clips
    negative values at 0, as FT-w2v2-ser does before it clusters wav2vec 2.0 features.
    """

    checkpoint: PathLike | None = None
    layer: int | None = None
    relu: bool = False
    device: str = "cpu"
    autocast_bf16: bool = False


class ModelFeatures(Extractor):
    """Base of extractors that are a network: clips are padded to one batch, and what comes out is cut to each.

    ``spec`` is the shape of the network; where it says so, clips are normalised.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        spec: SpeechSpec | Wav2VecSpec,
        *,
        device: str | torch.device = "cpu",
        autocast_bf16: bool = False,
        trained_on: dict[str, Any] | None = None,
    ) -> None:
        self.device = find_device(device)
        self.autocast_bf16 = autocast_pays(self.device, autocast_bf16)
        self.model = model.to(self.device).eval()
        self.spec, self.trained_on = asdict(spec), trained_on
        self.hop, self.receptive_field, self.sample_rate = spec.hop, spec.receptive_field, spec.sample_rate
        self.normalize = spec.normalize

    def prepare(self, wav: np.ndarray) -> np.ndarray:
        """Zero mean and unit variance over the clip, where the network was trained so."""
        from emofair.data.speech_dataset import normalized

        return normalized(wav) if self.normalize else wav

    def extract(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Features float32 [frames, dim] of each prepared waveform."""
        import torch

        from emofair.data.speech_dataset import pad_waveforms

        wav, n_samples = pad_waveforms(waveforms)
        with (
            torch.inference_mode(),
            # The same numbers on a GPU as on a CPU, which its reduced-precision convolutions are not.
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast_bf16),
        ):
            features = self.compute(wav.to(self.device), n_samples.to(self.device)).float().cpu().numpy()
        return [frames[: self.n_frames(len(wav))] for frames, wav in zip(features, waveforms, strict=True)]

    @abstractmethod
    def compute(self, wav: torch.Tensor, n_samples: torch.Tensor) -> torch.Tensor:
        """Waveforms [B, L] that end at ``n_samples`` [B] → features [B, T, dim]."""


class EncoderFeatures(ModelFeatures):
    """Hidden states of one layer of wav2vec 2.0, HuBERT or WavLM; no masks, no dropout."""

    def __init__(self, encoder: SpeechEncoder, layer: int = -1, *, relu: bool = False, **options: Any) -> None:
        super().__init__(encoder, encoder.spec, **options)
        if layer < -1:
            raise EmofairError(f"layer {layer} is none", remedy=f"Give 0 to {encoder.spec.layers}, or -1 for the last")
        number = encoder.layer_number(layer)
        # The last layer by its number comes without the final norm of pre-norm models: other features, in these only.
        final_norm = layer == -1 and encoder.spec.layer_norm_first
        self.layer, self.relu, self.dim = -1 if final_norm else number, relu, encoder.spec.embed_dim
        self.source = {
            "features": "encoder",
            "checkpoint_sha256": encoder_hash(encoder),
            "layer": number,
            "final_layer_norm": final_norm,
            "relu": relu,
        }

    def compute(self, wav: torch.Tensor, n_samples: torch.Tensor) -> torch.Tensor:
        """Hidden states [B, T, embed_dim] of the layer."""
        hidden = self.model(wav, n_samples, layers=(self.layer,)).hidden[self.layer]
        return hidden.relu() if self.relu else hidden


class Wav2VecFeatures(ModelFeatures):
    """Frames of wav2vec (2019) or a vq-wav2vec, 100 per second: features (layer 0), or else the context of each."""

    def __init__(self, model: Wav2Vec, layer: int = -1, *, relu: bool = False, **options: Any) -> None:
        if layer not in (0, -1):
            raise EmofairError(f"a wav2vec of 2019 has no layer {layer}", remedy="Give 0 (features) or -1 (context)")
        super().__init__(model, model.spec, **options)
        self.layer, self.relu = layer, relu
        self.dim = model.spec.dim if layer == 0 else model.spec.context_dim
        self.source = {
            "features": "wav2vec",
            "checkpoint_sha256": weights_hash(self.spec, model),
            "layer": "features" if layer == 0 else "context",
            "relu": relu,
        }

    def compute(self, wav: torch.Tensor, n_samples: torch.Tensor) -> torch.Tensor:
        """Features [B, T, dim] or their context [B, T, context_dim]."""
        frames = self.model.features(wav, n_samples) if self.layer == 0 else self.model(wav, n_samples).c
        return frames.relu() if self.relu else frames


class FrameClassifierFeatures(ModelFeatures):
    """The frames that P-TAPT's first stage classifies: wav2vec, thinned to 50 Hz; no masks."""

    def __init__(self, model: Wav2VecFrameClassifier, **options: Any) -> None:
        from emofair.models.wav2vec_frame_classifier import ALIGN, KERNEL, STRIDE

        spec = model.spec
        super().__init__(model, spec, **options)
        self.dim, self.hop = spec.context_dim, STRIDE * spec.hop
        lead = 0 if model.cfg.no_align_pad else sum(ALIGN)
        self.receptive_field = spec.receptive_field + (KERNEL - 1) * spec.hop - lead
        self.source = {
            "features": "wav2vec frames",
            "checkpoint_sha256": weights_hash(self.spec, model),
            "lead": lead,
        }

    def compute(self, wav: torch.Tensor, n_samples: torch.Tensor) -> torch.Tensor:
        """Frames [B, T, context_dim]; every norm of the model keeps to the valid frames of its clip."""
        return self.model.frames(wav, n_samples).features


class MfccFeatures(Extractor):
    """13 MFCCs, their deltas and the deltas of these: 39 numbers at 100 Hz; see `emofair.units.mfcc`."""

    dim, hop, receptive_field, sample_rate = mfcc.DIM, mfcc.HOP, mfcc.WINDOW, mfcc.SAMPLE_RATE
    source: dict[str, Any] = {"features": "mfcc"}
    spec: dict[str, Any] = {}

    def extract(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Features float32 [frames, 39] of each waveform."""
        return [mfcc.mfcc_with_deltas(wav) for wav in waveforms]


def encoder_hash(encoder: SpeechEncoder) -> str:
    """SHA-256 of weights and shape, so that a checkpoint and its conversion to another format share it."""
    return weights_hash(asdict(encoder.spec), encoder)


def weights_hash(spec: dict[str, Any], model: torch.nn.Module) -> str:
    """SHA-256 of the weights of ``model`` and of the shape that ``spec`` (JSON values) describes, without dropout."""
    import torch

    shape = {name: value for name, value in spec.items() if "drop" not in name}
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {list(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())  # numpy has no bfloat16
    return digest.hexdigest()


def open_extractor(kind: str, options: Options) -> Extractor:
    """The extractor called ``kind``, a key of `EXTRACTORS`."""
    return EXTRACTORS[kind](options)


def _open_encoder(options: Options) -> Extractor:
    if options.checkpoint is None:
        raise EmofairError("features of an encoder need its checkpoint", remedy="Give --checkpoint, or --features mfcc")
    from emofair.checkpoints.speech import load_speech_encoder
    from emofair.checkpoints.trained_on import trained_on
    from emofair.checkpoints.wav2vec import holds_wav2vec, load_wav2vec
    from emofair.encoders.speech import SpeechEncoder
    from emofair.encoders.wav2vec import Wav2Vec

    device, stored = find_device(options.device), _looked_at(options.checkpoint)
    if (frames := _frame_classifier(options, stored, device)) is not None:
        return frames
    if holds_wav2vec(stored):
        load, encoder, extractor = load_wav2vec, Wav2Vec, Wav2VecFeatures
    else:
        load, encoder, extractor = load_speech_encoder, SpeechEncoder, EncoderFeatures
    loaded = load(options.checkpoint)
    return extractor(
        encoder.from_state(loaded.spec, loaded.state),
        -1 if options.layer is None else options.layer,
        relu=options.relu,
        device=device,
        autocast_bf16=options.autocast_bf16,
        trained_on=trained_on(loaded.path),
    )


def _looked_at(checkpoint: PathLike) -> dict[str, Any]:
    """What is in the checkpoint's file, its weights left there; nothing for a folder."""
    from emofair.checkpoints import safe

    path = Path(checkpoint)
    return safe.load(path, weights=False) if path.is_file() and path.suffix != ".safetensors" else {}


def _frame_classifier(options: Options, stored: dict[str, Any], device: torch.device) -> Extractor | None:
    """The extractor of a checkpoint of P-TAPT's first stage; None for any other."""
    from emofair.checkpoints.fairseq_form import as_dict

    path = Path(options.checkpoint)
    model = as_dict(as_dict(stored.get("cfg")).get("model")).get("_name") or ""
    if not model.startswith("wav2vec_frame_classifier"):
        return None
    if options.layer is not None or options.relu:
        raise EmofairError(
            "a frame classifier has one kind of frames, without layers",
            file=path,
            remedy="Leave --layer and --relu out",
        )
    from emofair.checkpoints.trained_on import trained_on
    from emofair.inference.checkpoint import load_checkpoint

    loaded = load_checkpoint(path)
    return FrameClassifierFeatures(
        loaded.model, device=device, autocast_bf16=options.autocast_bf16, trained_on=trained_on(path)
    )


def _open_mfcc(options: Options) -> Extractor:
    unused = asdict(Options())
    for name, value in asdict(options).items():
        if value != unused[name]:
            raise EmofairError(f"--{name.replace('_', '-')} does not go with --features mfcc")
    return MfccFeatures()


EXTRACTORS: dict[str, Callable[[Options], Extractor]] = {"encoder": _open_encoder, "mfcc": _open_mfcc}
