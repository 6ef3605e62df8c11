"""The sides of `benchmarks/speech.py`: ours, transformers, stock fairseq; one shape, the same freezing and masks.

Every function here that takes ``device`` builds a side (see `common.Side`) and returns what one of its turns does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from common import PRECISIONS
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 4
# Stock fairseq fails where the draw of a clip comes to no span of channels: 64 of them at 5 % would.
MASKS = {"time_prob": 0.08, "time_length": 15, "channel_prob": 0.1, "channel_length": 16}
FLEA_MASKS = {"time_prob": 0.08, "time_length": 10, "channel_prob": 0.0, "channel_length": 16}


def spec_of(size: str) -> Any:
    """The encoder's shape; layer drop and what differs between the programs' defaults is off."""
    from emofair.encoders.pretrained import SPEECH_SIZES

    return SPEECH_SIZES[size]


def our_model(
    size: str, arch: str = "speech_emotion_classifier", masks: Mapping[str, float] = MASKS, **options: Any
) -> nn.Module:
    """`speech_emotion_classifier` with the convolutions frozen and everything else trained."""
    import emofair

    emofair.register()
    from omegaconf import OmegaConf

    from emofair.models.speech_emotion_classifier import SpeechEmotionClassifier, SpeechEmotionClassifierConfig

    cfg = OmegaConf.structured(
        SpeechEmotionClassifierConfig(
            ssl_random=size,
            train_projection=True,
            **{f"mask_{name}": value for name, value in masks.items()},
            **options,
        )
    )
    OmegaConf.set_struct(cfg, False)
    cfg._name = arch
    return SpeechEmotionClassifier.build_model(cfg, SimpleNamespace(classes=tuple("abcd")))


def transformers_config(size: str, hubert: bool = False) -> Any:
    """The same shape for transformers."""
    from transformers import HubertConfig, Wav2Vec2Config

    spec, masks = spec_of(size), FLEA_MASKS if hubert else MASKS
    widths, kernels, strides = (list(column) for column in zip(*spec.conv_layers, strict=True))
    return (HubertConfig if hubert else Wav2Vec2Config)(
        hidden_size=spec.embed_dim,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=spec.ffn_dim,
        conv_dim=widths,
        conv_kernel=kernels,
        conv_stride=strides,
        conv_bias=spec.conv_bias,
        feat_extract_norm="layer" if spec.extractor_mode == "layer_norm" else "group",
        do_stable_layer_norm=spec.layer_norm_first,
        num_conv_pos_embeddings=spec.conv_pos,
        num_conv_pos_embedding_groups=spec.conv_pos_groups,
        hidden_dropout=spec.dropout,
        attention_dropout=spec.attention_dropout,
        activation_dropout=spec.activation_dropout,
        feat_proj_dropout=spec.dropout_input,
        final_dropout=0.0,
        layerdrop=0.0,
        mask_time_prob=masks["time_prob"],
        mask_time_length=masks["time_length"],
        mask_feature_prob=masks["channel_prob"],
        mask_feature_length=masks["channel_length"],
        num_labels=CLASSES,
    )


class Transformers(nn.Module):
    """Wav2Vec2ForSequenceClassification with its convolutions frozen."""

    def __init__(self, size: str) -> None:
        super().__init__()
        from transformers import Wav2Vec2ForSequenceClassification

        self.model = Wav2Vec2ForSequenceClassification(transformers_config(size))
        self.model.freeze_feature_encoder()

    def forward(self, wav: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, None]:
        """Without an attention mask, as its authors recommend for group-norm models."""
        return self.model(wav).logits, None


class Fairseq(nn.Module):
    """Stock fairseq's wav2vec 2.0, mean pooling, and the same head as ours."""

    def __init__(self, size: str) -> None:
        super().__init__()
        from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model

        from emofair.testing.speech import fairseq_config

        spec = spec_of(size)
        config = fairseq_config(
            spec,
            feature_grad_mult=0.0,
            dropout_features=0.0,
            mask_prob=MASKS["time_prob"],
            mask_length=MASKS["time_length"],
            mask_channel_prob=MASKS["channel_prob"],
            mask_channel_length=MASKS["channel_length"],
        )
        self.encoder = Wav2Vec2Model(config)
        self.encoder.remove_pretraining_modules()
        self.encoder.feature_extractor.requires_grad_(False)
        self.hidden, self.out = nn.Linear(spec.embed_dim, 256), nn.Linear(256, CLASSES)

    def forward(self, wav: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, None]:
        """Masked in training, as transformers and ours."""
        if torch.is_autocast_enabled(wav.device.type):
            # Under autocast stock fairseq cannot put a vector in fp32 into what its linear layers give.
            self.encoder.mask_emb.data = self.encoder.mask_emb.data.bfloat16()
        x = self.encoder(wav, mask=self.training, features_only=True)["x"]
        return self.out(F.relu(self.hidden(x.mean(dim=1)))), None


class TransformersAttention(nn.Module):
    """HubertModel, attention over time and one linear layer, as FLEA's original code fine-tunes it."""

    def __init__(self, size: str) -> None:
        super().__init__()
        from transformers import HubertModel

        self.encoder = HubertModel(transformers_config(size, hubert=True))
        self.encoder.feature_extractor._freeze_parameters()
        width = spec_of(size).embed_dim
        self.score, self.dropout, self.out = nn.Linear(width, 1, bias=False), nn.Dropout(0.1), nn.Linear(width, CLASSES)

    def forward(self, wav: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, None]:
        """Masked in training, as ours."""
        frames = self.dropout(self.encoder(wav).last_hidden_state)
        weights = torch.tanh(self.score(frames)).softmax(dim=1)
        return self.out((weights * frames).sum(dim=1)), None


MODELS: dict[str, Callable[[str], nn.Module]] = {
    "ours": lambda size: our_model(size, head_hidden=256),
    "transformers": Transformers,
    "fairseq": Fairseq,
}
FLEA_MODELS: dict[str, Callable[[str], nn.Module]] = {
    "ours": lambda size: our_model(size, "hubert_ser", FLEA_MASKS),
    "transformers": TransformersAttention,
}


def noise(batch: int, seconds: float, device: str, seed: int = 0) -> Tensor:
    """Waveforms [batch, samples] of noise."""
    generator = torch.Generator().manual_seed(seed)
    return (0.1 * torch.randn(batch, round(16000 * seconds), generator=generator)).to(device)


def autocast(device: str, precision: str, *, ours: bool = False) -> torch.autocast:
    """The precision of a run; weights stay in fp32. Ours leaves bf16 out where its commands do."""
    from emofair.device import autocast_pays

    asked = PRECISIONS[precision] is not None
    enabled = autocast_pays(torch.device(device), asked) if ours else asked
    return torch.autocast(device.split(":")[0], torch.bfloat16, enabled=enabled)


def frontend_side(name: str, size: str, precision: str, batch: int, seconds: float, device: str) -> Callable:
    """Convolutions alone, forward: ours, or fairseq's conv1d and group norm."""
    if name == "ours":
        model = our_model(size).encoder.feature_extractor
    else:
        model = Fairseq(size).encoder.feature_extractor
    model = model.to(device).eval()
    wav = noise(batch, seconds, device)

    def turn(_: Any) -> None:
        with torch.inference_mode(), autocast(device, precision):
            model(wav)

    return turn


def trainer(name: str, model: nn.Module, device: str, precision: str) -> Callable[..., float]:
    """A training step of a side with AdamW on what is not frozen: forward, backward, update."""
    model = model.to(device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)

    def step(target: Tensor, *args: Any, **inputs: Any) -> float:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision, ours=name == "ours"):
            logits, _ = model(*args, **inputs)
            loss = F.cross_entropy(logits.float(), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def step_side(
    name: str, size: str, precision: str, batch: int, seconds: float, device: str, flea: bool = False
) -> Callable:
    """A fine-tuning step on clips of one length."""
    torch.manual_seed(0)
    step = trainer(name, (FLEA_MODELS if flea else MODELS)[name](size), device, precision)
    wav = noise(batch, seconds, device)
    n_samples = torch.full((batch,), wav.size(1), device=device)
    target = torch.arange(batch, device=device) % CLASSES
    return lambda _: step(target, wav, n_samples)


def utterances(folder: str) -> list:
    """The clips of a prepared folder."""
    from emofair.data.manifests import read_split

    return read_split(folder, "train")


def epoch_side(
    name: str, folder: str, size: str, precision: str, batch: int, device: str, cache: str | None
) -> Callable:
    """An epoch over the clips of a folder, read from disk; with ``cache`` ours fills it in its first turn.

    A turn returns what it was ("fill" or "epoch"), the number of its batches, and the seconds of padded audio in them.
    """
    torch.manual_seed(0)
    model = MODELS[name](size)
    step = trainer(name, model, device, precision)
    step(torch.zeros(1, dtype=torch.long, device=device), noise(1, 1.0, device))  # what is done once is not counted
    batches = _our_batches if name == "ours" else _grouped_batches
    dataset = batches(folder, batch)

    def epoch(number: Any) -> tuple[str, int, float]:
        if cache is not None and dataset.frames is None:
            from emofair.units.frontend_cache import open_frontend_cache

            options = {"autocast_bf16": precision == "bf16"}
            dataset.read_from(open_frontend_cache(cache, model.encoder, dataset.items, "train", **options))
            return "fill", 0, 0.0
        count, padded = 0, 0
        for inputs, target in dataset.batches_of(int(number or 0)):
            first = inputs.get("wav", inputs.get("features"))
            padded += first.size(0) * int(inputs["n_samples"].max())
            count += 1
            moved = {key: value.to(device) for key, value in inputs.items()}
            step(target.to(device), **moved)
        return "epoch", count, padded / 16000

    return epoch


def _our_batches(folder: str, batch: int) -> Any:
    from emofair.data.emotion_dataset import SpeechEmotionDataset, label_distributions

    items = utterances(folder)
    shares = label_distributions(items, tuple("abcd"), "train", folder)

    class Ours(SpeechEmotionDataset):
        def batches_of(self, number: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
            self.set_epoch(number)
            chosen = self.batch_by_size(self.ordered_indices(), max_sentences=batch)
            for index in np.random.default_rng([1, number]).permutation(len(chosen)):
                merged = self.collater([self[i] for i in chosen[index]])
                yield merged["net_input"], merged["target"]

    return Ours(items, "train", shares, training=True, crop_hop=320)


def _grouped_batches(folder: str, batch: int) -> Any:
    import soundfile
    from transformers import Wav2Vec2FeatureExtractor
    from transformers.trainer_pt_utils import LengthGroupedSampler

    items = utterances(folder)
    pad = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=False)

    class Clips(torch.utils.data.Dataset):
        frames = None

        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return soundfile.read(items[index].path, dtype="float32")[0], "abcd".index(items[index].label)

        def batches_of(self, number: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
            generator = torch.Generator().manual_seed(number)
            lengths = [item.n_samples for item in items]
            sampler = LengthGroupedSampler(batch, lengths=lengths, generator=generator)
            yield from torch.utils.data.DataLoader(self, batch, sampler=sampler, collate_fn=self.merge)

        @staticmethod
        def merge(samples: Sequence[tuple[np.ndarray, int]]) -> tuple[dict[str, Tensor], Tensor]:
            waves, labels = zip(*samples, strict=True)
            wav = pad(list(waves), sampling_rate=16000, padding=True, return_tensors="pt")["input_values"]
            return {"wav": wav, "n_samples": torch.tensor([len(w) for w in waves])}, torch.tensor(labels)

    return Clips()


def features_side(
    name: str, folder: str, out: str, size: str, precision: str, device: str, layer: int | None = None
) -> Callable:
    """A layer of every clip as an array on disk, in batches of at most 40 s of padded audio, longest first.

    Without ``layer`` it is the last one of a wav2vec 2.0, else that of a HuBERT.
    """
    items = utterances(folder)
    if name == "ours":
        from emofair.units.extractors import EncoderFeatures
        from emofair.units.feature_dump import dump_shard

        extractor = EncoderFeatures(
            our_model(size).encoder, layer or -1, device=device, autocast_bf16=precision == "bf16"
        )
        return lambda number: dump_shard(extractor, items, Path(out) / f"ours{number}", "train") and None
    import soundfile
    from transformers import HubertModel, Wav2Vec2Model

    config = transformers_config(size, hubert=layer is not None)
    model = (Wav2Vec2Model if layer is None else HubertModel)(config).to(device).eval()
    batches = _at_most(items, 40.0)

    def turn(number: Any) -> None:
        target = Path(out) / f"{name}{number}"
        target.mkdir()
        for batch in batches:
            waves = [soundfile.read(item.path, dtype="float32")[0] for item in batch]
            wav = torch.zeros(len(waves), max(map(len, waves)))
            for row, clip in zip(wav, waves, strict=True):
                row[: len(clip)] = torch.from_numpy(clip)
            with torch.inference_mode(), autocast(device, precision):
                found = model(wav.to(device), output_hidden_states=layer is not None)
                states = found.last_hidden_state if layer is None else found.hidden_states[layer]
                hidden = states.float().cpu().numpy()
            for item, clip, frames in zip(batch, waves, hidden, strict=True):
                np.save(target / f"{item.id}.npy", frames[: max((len(clip) - 400) // 320 + 1, 1)])

    return turn


def _at_most(items: Sequence[Any], seconds: float) -> list[list[Any]]:
    batches: list[list[Any]] = []
    longest = 0
    for item in sorted(items, key=lambda item: -item.n_samples):
        if batches and (len(batches[-1]) + 1) * longest <= seconds * 16000:
            batches[-1].append(item)
        else:
            batches.append([item])
            longest = item.n_samples
    return batches


def frontend_flops(size: str, batch: int, seconds: float) -> float:
    """Operations of the convolutions, forward: their products alone."""
    length, width_in, total = round(16000 * seconds), 1, 0.0
    for width, kernel, stride in spec_of(size).conv_layers:
        length = (length - kernel) // stride + 1
        total += 2.0 * length * width * width_in * kernel
        width_in = width
    return batch * total


def clip_flops(size: str, seconds: Sequence[float], *, training: bool, layers: int | None = None) -> float:
    """Operations on clips of these lengths, without padding: forward, with ``training`` the Transformer backward too.

    ``layers``: of the Transformer, where not all are computed.
    """
    return sum(step_flops(size, 1, each, layers=layers, backward=training) for each in seconds)


def step_flops(size: str, batch: int, seconds: float, *, layers: int | None = None, backward: bool = True) -> float:
    """Operations of a step: the convolutions forward, all behind them forward and, unless told, ``backward``."""
    spec = spec_of(size)
    frames, width = math.floor(seconds * 50), spec.embed_dim
    layer = 2 * frames * (4 * width**2 + 2 * width * spec.ffn_dim) + 4 * frames**2 * width
    position = 2 * frames * width * (width // spec.conv_pos_groups) * spec.conv_pos
    projection = 2 * frames * spec.conv_dim * width
    passes = 3 if backward else 1
    behind = (spec.layers if layers is None else layers) * layer + position + projection
    return frontend_flops(size, batch, seconds) + passes * batch * behind


def pretraining_side(folder: str, labels: str, size: str, max_tokens: int, workers: int, device: str) -> Callable:
    """Steps of stock fairseq's HuBERT pre-training on frame labels, read by ``workers`` processes.

    A turn takes so many steps; returns the seconds of all, and those in which nothing was there to work on.
    """
    import emofair

    emofair.register()
    import time

    from common import synchronise
    from fairseq import tasks
    from fairseq.criterions.hubert_criterion import HubertCriterion

    from emofair.checkpoints.fairseq_speech import options_of
    from emofair.checkpoints.to_fairseq import configuration

    torch.manual_seed(0)
    task = ["--task", "hubert_pretraining", "--label-dir", labels, "--labels", '["km"]', "--label-rate", "50"]
    task += ["--random-crop", "--max-sample-size", "250000", "--min-sample-size", "16000", "--sample-rate", "16000"]
    arguments = [folder, *task, "--arch", "hubert", "--criterion", "hubert", "--feature-grad-mult", "0"]
    cfg = configuration(arguments, options_of(spec_of(size)) | {"final_dim": 256, "encoder_layerdrop": 0.05})
    task = tasks.setup_task(cfg.task)
    task.load_dataset("train")
    model = task.build_model(cfg.model).to(device).train()
    criterion = HubertCriterion(task, 1.0, 0.0, loss_weights=[10.0])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    batches = task.get_batch_iterator(
        task.datasets["train"], max_tokens=max_tokens, num_workers=workers, seed=1, data_buffer_size=10
    )

    def forever() -> Iterator[Any]:
        while True:
            yield from batches.next_epoch_itr(shuffle=True)

    from fairseq.utils import move_to_cuda

    endless = forever()

    def turn(steps: int) -> tuple[float, float]:
        began, waited = time.perf_counter(), 0.0
        for _ in range(steps):
            synchronise(device)
            asked = time.perf_counter()
            sample = next(endless)
            waited += time.perf_counter() - asked
            if device != "cpu":
                sample = move_to_cuda(sample)
            optimizer.zero_grad(set_to_none=True)
            loss, sample_size, _ = criterion(model, sample)
            (loss / sample_size).backward()
            optimizer.step()
        synchronise(device)
        return time.perf_counter() - began, waited

    turn(2)  # the workers start
    return turn
