"""Tiny random pretrained models, laid out like a folder of downloaded ones."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from emofair.testing.byte_bpe import SENTENCES, write_byte_bpe

if TYPE_CHECKING:
    from emofair.encoders.roberta import RobertaSpec

SPEECH_WORDS = 64
TEXT_WORDS = 300
# The strides of the published vq-wav2vec: one code per 160 samples, each seeing 465.
CONV_LAYERS = "[({d}, 10, 5), ({d}, 8, 4)] + [({d}, 4, 2)] * 3 + [({d}, 1, 1)] * 3"


def tiny_ssl_dir(
    out_dir: str | Path,
    *,
    speech_dim: int = 32,
    text_dim: int = 48,
    layers: int = 2,
    heads: int = 4,
    speech_vocab: int = SPEECH_WORDS,
    text_vocab: int = TEXT_WORDS,
    text_name: str = "roberta.large",
    bpe: str = "gpt2",
    old_style: bool = False,
    seed: int = 0,
) -> Path:
    """Write a folder of tiny random pretrained models under the names of the public downloads; return it.

    ``vq-wav2vec/vq-wav2vec_kmeans.pt``, ``vq-wav2vec-Kmeans-Roberta/{bert_kmeans.pt,dict.txt}`` and
    ``<text_name>/{model.pt,dict.txt}`` with ``encoder.json`` and ``vocab.bpe`` (``bpe="gpt2"``) or
    ``sentencepiece.bpe.model`` (``bpe="sentencepiece"``). ``speech_vocab`` and ``text_vocab`` count the
    lines of the two dictionaries (an embedding has 5 rows more); a ``speech_vocab`` that is no square
    leaves the last code pairs unknown. ``old_style`` saves as fairseq 0.8 did: ``args`` in place of
    ``cfg``, old parameter names. The same arguments give the same weights, and torch's random state is
    left alone.
    """
    import torch

    root = Path(out_dir)
    codes = math.ceil(math.sqrt(speech_vocab))
    words = [f"{first}-{second}" for first in range(codes) for second in range(codes)][:speech_vocab]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        write_vq_wav2vec(root / "vq-wav2vec" / "vq-wav2vec_kmeans.pt", codes=codes, old_style=old_style)
        shape = {"layers": layers, "heads": heads, "old_style": old_style}
        speech = root / "vq-wav2vec-Kmeans-Roberta"
        write_roberta(speech, words, name="bert_kmeans.pt", dim=speech_dim, max_positions=2048, **shape)
        text = root / text_name
        if bpe == "gpt2":
            pieces = write_byte_bpe(text, text_vocab)
            # Not in the order of the ids, as in the published dictionary, which is sorted by frequency.
            words = [str(piece) for piece in reversed(range(pieces))]
            words += [f"madeupword{i:04d}" for i in range(text_vocab - pieces)]
        else:
            from emofair.units.bpe import train_sentencepiece

            train_sentencepiece(SENTENCES, text, vocab_size=text_vocab, seed=seed)
            lines = (text / "dict.txt").read_text(encoding="utf-8").splitlines()
            words = [line.rsplit(" ", 1)[0] for line in lines]
        write_roberta(text, words, name="model.pt", dim=text_dim, max_positions=512, **shape)
    return root


def tiny_spec(vocab_size: int, **overrides: Any) -> RobertaSpec:
    """The hyper-parameters of a tiny RoBERTa over ``vocab_size`` ids (specials and mask included)."""
    from emofair.encoders.roberta import RobertaSpec

    values = {"embed_dim": 32, "ffn_dim": 64, "layers": 2, "heads": 4, "max_positions": 512} | overrides
    return RobertaSpec(vocab_size=vocab_size, **values)


def write_roberta(
    folder: Path,
    words: list[str],
    *,
    name: str,
    dim: int,
    layers: int,
    heads: int,
    max_positions: int,
    old_style: bool = False,
) -> Path:
    """Write ``dict.txt`` with ``words`` and a masked language model as ``folder/name``; return its path."""
    from fairseq.data import Dictionary
    from fairseq.models.roberta import RobertaModel

    folder.mkdir(parents=True, exist_ok=True)
    dictionary = Dictionary()
    for word in words:
        dictionary.add_symbol(word, n=1)
    dictionary.save(str(folder / "dict.txt"))
    dictionary.add_symbol("<mask>")
    args = Namespace(
        encoder_layers=layers,
        encoder_embed_dim=dim,
        encoder_ffn_embed_dim=2 * dim,
        encoder_attention_heads=heads,
        max_positions=max_positions,
        tokens_per_sample=max_positions,
        activation_fn="gelu",
        dropout=0.1,
        attention_dropout=0.1,
    )
    # The published checkpoints know nothing of the arguments that later fairseqs fill in with defaults.
    published = Namespace(**vars(args))
    model = RobertaModel.build_model(args, SimpleNamespace(source_dictionary=dictionary))
    for parameter in model.parameters():
        if parameter.dim() == 2:
            # BERT's deviation of 0.02 suits widths near 1000; here attention would hand almost nothing to
            # <s>.
            parameter.data.mul_(1.0 / (0.02 * math.sqrt(dim)))
    task = {"_name": "masked_lm", "data": str(folder), "tokens_per_sample": max_positions, "seed": 1}
    state = model.state_dict()
    if old_style:
        state = {_old_roberta_name(key): value for key, value in state.items() if not key.endswith(".version")}
    return _save(folder / name, state, "roberta", vars(published), task, "masked_lm", old_style, as_namespace=True)


def write_vq_wav2vec(path: Path, *, codes: int, dim: int = 16, groups: int = 2, old_style: bool = False) -> Path:
    """Write a vq-wav2vec with k-means quantizer of ``groups`` groups of ``codes`` codes; return its path."""
    from fairseq.models.wav2vec.wav2vec import Wav2VecConfig, Wav2VecModel

    values = {
        "conv_feature_layers": CONV_LAYERS.format(d=dim),
        "conv_aggregator_layers": f"[({dim}, 2, 1), ({dim}, 3, 1)]",
        "vq_type": "kmeans",
        "vq_vars": codes,
        "vq_groups": groups,
        "combine_groups": True,
        "prediction_steps": 2,
        "num_negatives": 2,
    }
    model = Wav2VecModel(Wav2VecConfig(**values, infonce=True))
    _spread_codes(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    if old_style:
        # Later options are absent from the public file's arguments, and the default of this one would be
        # wrong.
        del values["combine_groups"]
    task = {"_name": "audio_pretraining", "data": str(path.parent), "sample_rate": 16000}
    return _save(path, model.state_dict(), "wav2vec", values, task, "wav2vec", old_style, as_namespace=False)


def _spread_codes(model: Any) -> None:
    """Put the codes on frames of a varied sound: fairseq's initial ones would leave most of them unused."""
    import torch

    time = torch.arange(48000) / 16000
    sweep = torch.sin(2 * torch.pi * (80 * time + 600 * time**2))
    loudness = torch.sin(2 * torch.pi * 1.7 * time) ** 2
    sound = (loudness * sweep + (1 - loudness) * 0.3 * torch.randn(48000))[None]
    quantizer = model.vector_quantizer
    with torch.no_grad():
        frames = quantizer.projection(model.eval().feature_extractor(sound))[0]
        frames = frames.view(quantizer.groups, quantizer.var_dim, -1).permute(0, 2, 1).flatten(0, 1)
        chosen = torch.randperm(len(frames))[: quantizer.num_vars]
        quantizer.embedding.copy_(frames[chosen][:, None])


def _old_roberta_name(key: str) -> str:
    key = key.replace("encoder.", "decoder.", 1) if key.startswith("encoder.") else key
    return key.replace("layernorm_embedding", "emb_layer_norm")


def _save(
    path: Path,
    state: dict[str, Any],
    arch: str,
    values: dict[str, Any],
    task: dict[str, Any],
    criterion: str,
    old_style: bool,
    *,
    as_namespace: bool,
) -> Path:
    import torch

    checkpoint: dict[str, Any] = {
        "model": state,
        "optimizer_history": [
            {
                "criterion_name": criterion,
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {"best": None},
                "num_updates": 0,
            }
        ],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "last_optimizer_state": None,
    }
    if old_style:
        names = {"wav2vec": ("audio_cpc", "speech_pretraining", "binary_cross_entropy")}
        arch, task_name, criterion = names.get(arch, (arch, task["_name"], criterion))
        rest = {key: value for key, value in task.items() if key != "_name"}
        checkpoint["args"] = Namespace(arch=arch, task=task_name, criterion=criterion, **(rest | values))
    else:
        # fairseq keeps the arguments of a model without a config class as a namespace with the name in
        # `_name`.
        model = {"_name": arch, **values}
        checkpoint["args"] = None
        checkpoint["cfg"] = {
            "_name": None,
            "common": {"seed": 1},
            "task": task,
            "tokenizer": None,
            "bpe": None,
            "model": Namespace(arch=arch, **model) if as_namespace else model,
            "criterion": {"_name": criterion, "infonce": True} if arch == "wav2vec" else {"_name": criterion},
        }
    torch.save(checkpoint, path)
    return path
