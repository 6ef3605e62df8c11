"""Tiny speech encoders with random weights, and the checkpoints of public programs that hold them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from emofair.encoders.speech import SpeechEncoder
    from emofair.encoders.speech_spec import SpeechSpec

LAYOUTS = ("base", "large")
# A quantiser and output layers as small as the encoder; HuBERT has one dictionary of so many classes.
PRETRAINING = {"quantize_targets": True, "final_dim": 12, "latent_vars": 5, "latent_groups": 2}
CLASSES = 7
_HUBERT_SHAPE = (
    *("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads"),
    *("conv_feature_layers", "conv_pos", "conv_pos_groups", "final_dim"),
)
_WAV2VEC2_SHAPE = (
    *_HUBERT_SHAPE,
    *("extractor_mode", "conv_bias", "layer_norm_first", "latent_vars", "latent_groups", "latent_dim"),
)


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


def padded_noise(*lengths: int) -> tuple[Tensor, Tensor]:
    """Waveforms of noise [B, L], zeros where the clips end, and their lengths [B] in samples."""
    import torch

    generator = torch.Generator().manual_seed(1)
    wav = torch.zeros(len(lengths), max(lengths))
    for row, n in zip(wav, lengths, strict=True):
        row[:n] = torch.randn(n, generator=generator)
    return wav, torch.tensor(lengths)


def model_of(model: type, config: type, arch: str, classes: Sequence[str], **options: Any) -> nn.Module:
    """A waveform model as fairseq builds it for a task with these classes, from its options, with fixed weights."""
    from types import SimpleNamespace

    import torch
    from omegaconf import OmegaConf

    cfg = OmegaConf.structured(config(**{"ssl_random": "tiny", **options}))
    OmegaConf.set_struct(cfg, False)
    cfg._name = arch
    torch.manual_seed(0)
    return model.build_model(cfg, SimpleNamespace(classes=tuple(classes)))


def shake(model: nn.Module) -> None:
    """Move every weight off its initial value, so that a bias of 0 or a scale of 1 cannot hide a mistake."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.2 if parameter.dim() < 2 else 1 / parameter[0].numel() ** 0.5
            parameter.add_(scale * torch.randn_like(parameter))


def fairseq_config(spec: SpeechSpec, **options: Any) -> Any:
    """The configuration of stock fairseq's ``wav2vec2`` or ``hubert`` with this encoder."""
    values = _options(spec) | options
    if spec.kind == "wav2vec2":
        from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config

        return Wav2Vec2Config(**values)
    from fairseq.models.hubert.hubert import HubertConfig

    return HubertConfig(label_rate=50, **values)


def fairseq_model(encoder: SpeechEncoder, **options: Any) -> nn.Module:
    """Stock fairseq's ``wav2vec2`` or ``hubert`` in evaluation mode, its encoder with the weights of ``encoder``.

    ``options`` are those of the model's configuration that the encoder does not decide.
    """
    spec, config = encoder.spec, fairseq_config(encoder.spec, **options)
    if spec.kind == "wav2vec2":
        from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model

        model = Wav2Vec2Model(config)
    else:
        from fairseq.models.hubert.hubert import HubertModel
        from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig

        task = HubertPretrainingConfig(sample_rate=spec.sample_rate, label_rate=50)
        model = HubertModel(config, task, [dictionary()])
    wanting, unknown = model.load_state_dict(encoder.state_dict(), strict=False)
    assert not unknown and all(name.startswith(("project_q", "final_proj", "quantizer", "label")) for name in wanting)
    return model.eval()


def dictionary() -> Any:
    """The dictionary of a HuBERT that predicts `CLASSES` clusters: fairseq's own has four special symbols."""
    from fairseq.data import Dictionary

    result = Dictionary()
    for index in range(CLASSES - len(result)):
        result.add_symbol(str(index))
    return result


def tiny_speech_checkpoint(
    path: str | Path,
    kind: str = "wav2vec2",
    layout: str = "base",
    *,
    form: str = "fairseq",
    seed: int = 0,
    **overrides: Any,
) -> Path:
    """Write a tiny pretrained model of random weights in its public layout; return its path.

    ``kind`` is "wav2vec2", "hubert" or "wavlm"; ``layout`` and ``overrides`` as for `tiny_speech_spec`. ``form`` is
    "fairseq" (a ``.pt`` file as fairseq-hydra-train writes it; WavLM as Microsoft publishes it) or "huggingface" (a
    folder).
    """
    import torch

    path = Path(path)
    encoder = tiny_speech_encoder(tiny_speech_spec(kind, layout, **overrides), seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "huggingface":
        from emofair.checkpoints import huggingface_folder

        huggingface_folder.write(path, encoder.spec, encoder.state_dict())
    elif kind == "wavlm":
        torch.save({"cfg": wavlm_options(encoder.spec), "model": encoder.state_dict()}, path)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            torch.save(fairseq_checkpoint(encoder), path)
    return path


def tiny_wav2vec_checkpoint(path: str | Path, seed: int = 0) -> Path:
    """Write a tiny wav2vec (2019) of random weights as fairseq's ``audio_pretraining`` saves it; return its path."""
    import torch
    from fairseq.models.wav2vec.wav2vec import Wav2VecConfig, Wav2VecModel

    from emofair.encoders.wav2vec_spec import CONV_LAYERS

    options = {
        "conv_feature_layers": str([(12, kernel, stride) for _, kernel, stride in CONV_LAYERS]),
        "conv_aggregator_layers": "[(12, 2, 1), (12, 3, 1), (12, 4, 1)]",
        "prediction_steps": 3,
        "num_negatives": 2,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Wav2VecModel(Wav2VecConfig(**options, infonce=True))
        shake(model)
    cfg = {"model": {"_name": "wav2vec", **options}, "task": {"_name": "audio_pretraining", "normalize": False}}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"args": None, "cfg": cfg, "model": model.state_dict()}, path)
    return path


def fairseq_checkpoint(encoder: SpeechEncoder) -> dict[str, Any]:
    """What fairseq-hydra-train saves of a stock ``wav2vec2`` or ``hubert``, its configuration as plain containers."""
    from dataclasses import asdict

    spec = encoder.spec
    wav2vec2 = spec.kind == "wav2vec2"
    options = PRETRAINING if wav2vec2 else {"final_dim": PRETRAINING["final_dim"]}
    task = {"data": "/gone", "sample_rate": spec.sample_rate, "normalize": spec.normalize}
    parts = {
        "common": {"seed": 1},
        "task": {"_name": "audio_pretraining", **task},
        "model": {**asdict(fairseq_config(spec, **options)), "_name": spec.kind},
        "criterion": {"_name": "wav2vec" if wav2vec2 else "hubert"},
    }
    if not wav2vec2:
        parts["task"] |= {"_name": "hubert_pretraining", "labels": ["km"], "label_rate": 50}
    criterion = "Wav2vecCriterion" if wav2vec2 else "HubertCriterion"
    return {
        "args": None,
        "cfg": {"_name": None, **parts},
        "model": fairseq_model(encoder, **options).state_dict(),
        "optimizer_history": [
            {"criterion_name": criterion, "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 9}
        ],
        "task_state": {} if wav2vec2 else {"dictionaries": [dictionary()]},
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "last_optimizer_state": None,
    }


def wavlm_options(spec: SpeechSpec) -> dict[str, Any]:
    """The flat ``cfg`` of Microsoft's WavLM checkpoints."""
    masks = {"mask_length": 10, "mask_prob": 0.8, "mask_selection": "static", "mask_other": 0.0}
    return {**_options(spec), **masks, "feature_grad_mult": 0.1, "normalize": spec.normalize}


def _options(spec: SpeechSpec) -> dict[str, Any]:
    """fairseq's options for an encoder, written out here so that the translation can be tested on them."""
    options = {
        "extractor_mode": spec.extractor_mode,
        "conv_feature_layers": str(list(spec.conv_layers)),
        "conv_bias": spec.conv_bias,
        "encoder_layers": spec.layers,
        "encoder_embed_dim": spec.embed_dim,
        "encoder_ffn_embed_dim": spec.ffn_dim,
        "encoder_attention_heads": spec.heads,
        "activation_fn": spec.activation_fn,
        "layer_norm_first": spec.layer_norm_first,
        "dropout": spec.dropout,
        "attention_dropout": spec.attention_dropout,
        "activation_dropout": spec.activation_dropout,
        "dropout_input": spec.dropout_input,
        "encoder_layerdrop": spec.layerdrop,
        "conv_pos": spec.conv_pos,
        "conv_pos_groups": spec.conv_pos_groups,
    }
    if spec.kind == "wavlm":
        options |= {"relative_position_embedding": True, "gru_rel_pos": True}
        options |= {"num_buckets": spec.num_buckets, "max_distance": spec.max_distance}
    return options


def write_frame_labels(corpus: Path, k: int = 9, splits: Sequence[str] = ("train", "valid"), name: str = "km") -> None:
    """Frame labels ``{split}.{name}`` of made-up clusters beside the lists of ``splits``, with their dictionary."""
    for split in splits:
        sizes = [int(line.split("\t")[1]) for line in (corpus / f"{split}.tsv").read_text().splitlines()[1:]]
        rows = [" ".join(str(t % k) for t in range((n - 400) // 320 + 1)) for n in sizes]
        (corpus / f"{split}.{name}").write_text("\n".join(rows) + "\n")
    (corpus / f"dict.{name}.txt").write_text("".join(f"{label} 1\n" for label in range(k)))


def hubert_pretraining_arguments(
    corpus: Path, start: Path, save_dir: Path, labels: Sequence[str] = ("km",)
) -> list[object]:
    """fairseq-train's arguments for one update of stock HuBERT pre-training that goes on from ``start``."""
    return [
        *(corpus, "--task", "hubert_pretraining", "--label-dir", corpus, "--labels", json.dumps(list(labels))),
        *("--label-rate", 50, "--arch", "hubert", "--criterion", "hubert"),
        *(*_shape_arguments(start, _HUBERT_SHAPE), "--mask-prob", 0.3),
        *("--mask-length", 3, "--optimizer", "adam", "--lr", "1e-4", "--batch-size", 2, "--max-update", 1),
        *("--cpu", "--num-workers", 0, "--max-sample-size", 16000, "--min-sample-size", 1000),
        *("--required-batch-size-multiple", 1, "--save-dir", save_dir, "--finetune-from-model", start),
    ]


def wav2vec2_pretraining_arguments(corpus: Path, start: Path, save_dir: Path) -> list[object]:
    """fairseq-train's arguments for one update of stock wav2vec 2.0 pre-training that goes on from ``start``."""
    return [
        *(corpus, "--task", "audio_pretraining", "--arch", "wav2vec2", "--criterion", "wav2vec", "--infonce"),
        *(*_shape_arguments(start, _WAV2VEC2_SHAPE), "--quantize-targets", "--num-negatives", 3, "--mask-prob", 0.3),
        *("--mask-length", 3, "--loss-weights", "[0.1, 10]", "--enable-padding", "--optimizer", "adam", "--lr", "1e-4"),
        *("--batch-size", 2, "--max-update", 1, "--cpu", "--num-workers", 0, "--max-sample-size", 16000),
        *("--min-sample-size", 1000, "--required-batch-size-multiple", 1, "--disable-validation"),
        *("--save-dir", save_dir, "--finetune-from-model", start),
    ]


def _shape_arguments(start: Path, names: Sequence[str]) -> list[str]:
    from emofair.checkpoints import safe

    model = safe.load(start)["cfg"]["model"]
    words: list[str] = []
    for name in names:
        flag, value = f"--{name.replace('_', '-')}", model.get(name)
        words += [flag] if value is True else [] if value in (None, False) else [flag, str(value)]
    return words
