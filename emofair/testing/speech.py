"""Tiny speech encoders with random weights, and the checkpoints of public programs that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from emofair.encoders.speech import SpeechEncoder
    from emofair.encoders.speech_spec import SpeechSpec

LAYOUTS = ("base", "large")


def tiny_speech_spec(kind: str = "wav2vec2", layout: str = "base", **overrides: Any) -> SpeechSpec:
    """The shape of a tiny encoder with the published kernels and strides: 50 frames per second.

    ``layout`` is "base" (group norm after the first convolution, post-norm Transformer) or "large" (layer norm after
    each, with biases, pre-norm; audio is normalised).
    """
    from emofair.encoders.speech_spec import CONV_LAYERS, SpeechSpec

    large = layout == "large"
    values = {
        "conv_layers": tuple((24, kernel, stride) for _, kernel, stride in CONV_LAYERS),
        "extractor_mode": "layer_norm" if large else "default",
        "conv_bias": large,
        "layer_norm_first": large,
        "normalize": large,
        "embed_dim": 32,
        "ffn_dim": 56,
        "layers": 3,
        "heads": 4,
        "conv_pos": 16,
        "conv_pos_groups": 4,
    }
    return SpeechSpec(kind=kind, **(values | overrides))


def tiny_speech_encoder(spec: SpeechSpec | None = None, seed: int = 0) -> SpeechEncoder:
    """A random encoder in evaluation mode in which every weight matters; the same seed gives the same weights."""
    import torch

    from emofair.encoders.speech import SpeechEncoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = SpeechEncoder(spec or tiny_speech_spec())
        shake(encoder)
    return encoder.eval()


def shake(model: nn.Module) -> None:
    """Move every weight off its initial value, so that a bias of 0 or a scale of 1 cannot hide a mistake."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.2 if parameter.dim() < 2 else 1 / parameter[0].numel() ** 0.5
            parameter.add_(scale * torch.randn_like(parameter))


def fairseq_model(encoder: SpeechEncoder, **options: Any) -> nn.Module:
    """Stock fairseq's ``wav2vec2`` or ``hubert`` in evaluation mode, its encoder with the weights of ``encoder``."""
    from emofair.checkpoints.fairseq_speech import options_of

    spec = encoder.spec
    options = options_of(spec) | options
    if spec.kind == "wav2vec2":
        from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

        model = Wav2Vec2Model(Wav2Vec2Config(**options))
    else:
        from fairseq.models.hubert.hubert import HubertConfig, HubertModel
        from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig

        task = HubertPretrainingConfig(sample_rate=spec.sample_rate, label_rate=50)
        model = HubertModel(HubertConfig(label_rate=50, **options), task, [])
    wanting, unknown = model.load_state_dict(encoder.state_dict(), strict=False)
    assert not unknown and all(name.startswith(("project_q", "final_proj", "quantizer", "label")) for name in wanting)
    return model.eval()
