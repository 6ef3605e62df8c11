"""Checkpoints of the original robertaEMO code, put together from stock fairseq parts, and what that code computes."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

HEAD = "emotion_classification_head"
BRANCHES = {"text": "model_text2vec", "speech": "roberta_vqwav2vec"}

# Some of the options that fairseq 0.9 stored with every model, in its spelling.
_OF_FAIRSEQ = {
    "optimizer": "adam",
    "adam_betas": "(0.9, 0.98)",
    "adam_eps": 1e-06,
    "lr": [1e-05],
    "clip_norm": 0.0,
    "min_lr": -1,
    "max_epoch": 10,
    "max_update": 0,
    "update_freq": [8],
    "lr_scheduler": "polynomial_decay",
    "ddp_backend": "no_c10d",
    "distributed_world_size": 1,
    "bucket_cap_mb": 25,
    "device_id": 0,
    "cpu": False,
    "fp16": False,
    "memory_efficient_fp16": False,
    "log_format": None,
    "tensorboard_logdir": "",
    "max_sentences": 4,
    "save_dir": "checkpoints",
    "restore_file": "None",
    "reset_optimizer": True,
    "no_epoch_checkpoints": True,
}


class OriginalRobertaEMO:
    """Two small random encoders with cross-attention stacks and an output layer, stored as the original does.

    ``widths`` and ``words`` (dictionary lines) are by modality, text first. Encoders get one attention head per 64
    channels, as the published ones have. ``cross_trained`` false leaves the biases of the cross-attention at zero.
    """

    def __init__(
        self,
        *,
        stack_up: bool = False,
        layers: int = 2,
        classes: int = 8,
        modalities: tuple[str, ...] = ("text", "speech"),
        cross_trained: bool = True,
        widths: tuple[int, int] = (128, 64),
        words: tuple[int, int] = (40, 30),
        max_positions: tuple[int, int] = (20, 20),
    ) -> None:
        import torch
        from fairseq.modules import MultiheadAttention

        self.modalities, self.stack_up, self.classes = modalities, stack_up, classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            shapes = zip(("text", "speech"), widths, words, max_positions, strict=True)
            self.encoders = {name: _encoder(*shape) for name, *shape in shapes}
            self.cross: dict[str, list[nn.Module]] = {"ta": [], "at": []}
            for name, query, memory in (("ta", *widths), ("at", *widths[::-1])):
                for _ in range(layers):
                    attention = MultiheadAttention(query, 4, kdim=memory, vdim=memory, encoder_decoder_attention=True)
                    for key, parameter in attention.named_parameters():
                        if key.endswith("bias"):
                            torch.nn.init.normal_(parameter, std=0.1 if cross_trained else 0.0)
                    self.cross[name].append(attention.eval())
            width = sum(w for name, w in zip(("text", "speech"), widths, strict=True) if name in modalities)
            self.head = torch.nn.Linear(width, classes)

    def save(self, path: str | Path, arch: str = "robertEMO_large", **options: Any) -> Path:
        """Write the checkpoint; ``options`` replace stored command-line options. Returns its path."""
        import torch
        from fairseq.meters import AverageMeter, StopwatchMeter, TimeMeter

        state = {}
        for name in self.modalities:
            state[f"{BRANCHES[name]}._float_tensor"] = torch.zeros(1)
            for key, value in self.encoders[name].state_dict().items():
                if not key.endswith(".version"):
                    key = key.replace("encoder.", "decoder.", 1).replace("layernorm_embedding", "emb_layer_norm")
                    state[f"{BRANCHES[name]}.model.{key}"] = value
        if self.stack_up:
            for name, attentions in self.cross.items():
                for i, attention in enumerate(attentions):
                    for key, value in attention.state_dict().items():
                        state[f"decoder.sentence_encoder.layers_{name}.{i}.self_cross_attn.{key}"] = value
        for key, value in self.head.state_dict().items():
            state[f"classification_heads.{HEAD}.out_proj.{key}"] = value
        values = {
            "arch": arch,
            "task": "emotion_prediction",
            "criterion": "emotion_prediction_cri",
            "data": "./T_data/iemocap",
            "num_classes": self.classes,
            "binary_target_iemocap": True,
            "a_only": "speech" in self.modalities,
            "t_only": "text" in self.modalities,
            "all_in": False,
            "stack_up": self.stack_up,
            "encoder_layers_cross": len(self.cross["ta"]),
            "encoder_attention_heads": 4,
            "encoder_embed_dim_concat": 1792,
            "dropout": 0.2,
            "attention_dropout": 0.3,
            "pooler_dropout": 0.15,
            "seed": 7,
            "valid_subset": "valid",
            "best_checkpoint_metric": "loss",
            **_OF_FAIRSEQ,
        }
        checkpoint = {
            "args": Namespace(**values | options),
            "model": state,
            "optimizer_history": [
                {
                    "criterion_name": "EmotionPredictionCri",
                    "optimizer_name": "FairseqAdam",
                    "lr_scheduler_state": {"best": None},
                    "num_updates": 2760,
                }
            ],
            "extra_state": {
                "train_iterator": {"epoch": 10, "iterations_in_epoch": 0},
                "train_meters": {"train_loss": AverageMeter(), "wps": TimeMeter(), "train_wall": StopwatchMeter()},
                "best": 0.42,
                "val_loss": 0.43,
            },
            "last_optimizer_state": None,
        }
        torch.save(checkpoint, path)
        return Path(path)

    def logits(self, text: Tensor, speech: Tensor, *, use_cross: bool) -> Tensor:
        """Token ids [B, T] padded with 1 → what the original computes, [B, classes]."""
        import torch

        tokens = {"text": text, "speech": speech}
        with torch.no_grad():
            features = {name: self.encoders[name](tokens[name], features_only=True)[0] for name in tokens}
            first = {name: value[:, 0] for name, value in features.items()}
            if use_cross:
                for stack, query, memory in (("ta", "text", "speech"), ("at", "speech", "text")):
                    padding = tokens[memory] == 1
                    keys = (features[memory] * ~padding[..., None]).transpose(0, 1)
                    x = features[query][:, :1].transpose(0, 1)
                    for attention in self.cross[stack]:
                        x = x + attention(x, keys, keys, key_padding_mask=padding)[0]
                    first[query] = x[0]
            return self.head(torch.cat([first[name] for name in self.modalities], dim=1))


def _encoder(width: int, words: int, max_positions: int) -> nn.Module:
    import torch
    from fairseq.data import Dictionary
    from fairseq.models.roberta import RobertaModel

    dictionary = Dictionary()
    for i in range(words):
        dictionary.add_symbol(f"w{i}")
    dictionary.add_symbol("<mask>")
    args = Namespace(
        encoder_layers=2,
        encoder_embed_dim=width,
        encoder_ffn_embed_dim=48,
        encoder_attention_heads=max(1, width // 64),
        max_positions=max_positions,
    )
    model = RobertaModel.build_model(args, SimpleNamespace(source_dictionary=dictionary)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model
