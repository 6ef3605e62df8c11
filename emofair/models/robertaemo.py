"""robertaEMO: two pretrained token encoders, speech and text, fine-tuned jointly for emotion or sentiment.

Siriwardhana, Reis, Weerasekera, Nanayakkara: "Jointly Fine-Tuning 'BERT-like' Self Supervised Models to
Improve Multimodal Speech Emotion Recognition", Interspeech 2020, arXiv 2008.06682.
"""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model, register_model_architecture
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from omegaconf import II, DictConfig, open_dict
from torch import Tensor, nn

from emofair import compat
from emofair.checkpoints import ssl_dir
from emofair.checkpoints.roberta import LoadedRoberta, load_roberta
from emofair.encoders.roberta import RobertaSpec, RobertaTokenEncoder
from emofair.errors import EmofairError
from emofair.modules.cross_attention import BLOCKS, CrossAttentionFusion
from emofair.modules.heads import ClassificationHead, reconcile_heads
from emofair.modules.pooling import mean_over_time
from emofair.modules.ranges import check_activation, check_dropout

logger = logging.getLogger(__name__)

NO_EFFECT = "accepted for the original's commands; no effect"


@dataclass
class RobertaEMOConfig(FairseqDataclass):
    """Options of the model; those left unset take the architecture's value."""

    a_only: bool = field(default=False, metadata={"help": "use the speech branch (with --t-only: both)"})
    t_only: bool = field(default=False, metadata={"help": "use the text branch (with --a-only: both)"})
    v_only: bool = field(default=False, metadata={"help": "video: refused, the original has no code for it"})
    all_in: bool = field(default=False, metadata={"help": "use speech and text"})
    stack_up: bool = field(default=False, metadata={"help": "fuse by cross-attention instead of concatenation"})
    cross_block: ChoiceEnum(BLOCKS) = field(
        default="attn",
        metadata={"help": "cross-attention layer: residual attention alone, or a full post-norm block"},
    )
    pooling: ChoiceEnum(["cls", "mean"]) = field(
        default="cls",
        metadata={"help": "summary of a sequence: its first position, or the mean over its tokens"},
    )
    frozen_ssl: bool = field(default=False, metadata={"help": "keep both pretrained encoders as they are"})
    checkpoint_activations: bool = field(
        default=False,
        metadata={"help": "recompute the encoders' activations in the backward pass to save memory"},
    )
    load_checkpoint_heads: bool = field(
        default=False, metadata={"help": "re-create classification heads that are found in a checkpoint"}
    )
    encoder_layers_cross: Optional[int] = field(
        default=None, metadata={"help": "depth of each cross-attention stack (1)"}
    )
    encoder_attention_heads: Optional[int] = field(default=None, metadata={"help": "heads of the cross-attention (16)"})
    encoder_ffn_embed_dim: Optional[int] = field(
        default=None, metadata={"help": "feed-forward width of --cross-block full (1024)"}
    )
    encoder_embed_dim_t: Optional[int] = field(default=None, metadata={"help": "width of the text encoder; checked"})
    encoder_embed_dim_a: Optional[int] = field(default=None, metadata={"help": "width of the speech encoder; checked"})
    encoder_embed_dim_concat: Optional[int] = field(
        default=None, metadata={"help": "input width of the output layer; checked, derived when left out"}
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout in the cross-attention stacks"})
    attention_dropout: float = field(default=0.1, metadata={"help": "dropout on the cross-attention weights"})
    pooler_dropout: float = field(default=0.0, metadata={"help": "dropout in front of the output layer"})
    activation_fn: str = field(default="gelu", metadata={"help": "activation of --cross-block full"})

    ssl_dir: Optional[str] = field(
        default=None,
        metadata={"help": "folder of the pretrained models (else $EMOFAIR_SSL_DIR, ./pretrained_ssl)"},
    )
    speech_bert_path: Optional[str] = field(default=None, metadata={"help": "folder or file of the Speech-BERT model"})
    text_roberta_path: Optional[str] = field(default=None, metadata={"help": "folder or file of the RoBERTa model"})
    ssl_random: Optional[str] = field(
        default=None,
        metadata={"help": "random encoders of a named size instead of pretrained ones: tiny, base, large"},
    )
    text_ssl_json: Optional[str] = field(
        default=None,
        metadata={"help": "hyper-parameters of the text encoder; written by training, not by hand"},
    )
    speech_ssl_json: Optional[str] = field(
        default=None,
        metadata={"help": "hyper-parameters of the speech encoder; written by training, not by hand"},
    )
    classification_head_name: str = II("criterion.classification_head_name")

    encoder_layers: Optional[int] = field(default=None, metadata={"help": NO_EFFECT})
    encoder_embed_dim: Optional[int] = field(default=None, metadata={"help": NO_EFFECT})
    encoder_embed_dim_v: Optional[int] = field(default=None, metadata={"help": NO_EFFECT})
    encoder_normalize_before: bool = field(default=False, metadata={"help": NO_EFFECT})
    activation_dropout: float = field(default=0.0, metadata={"help": NO_EFFECT})
    pooler_activation_fn: str = field(default="tanh", metadata={"help": NO_EFFECT})
    max_positions_t: Optional[int] = field(default=None, metadata={"help": NO_EFFECT})
    max_positions_a: Optional[int] = field(default=None, metadata={"help": NO_EFFECT})
    max_positions_v: Optional[int] = field(default=None, metadata={"help": NO_EFFECT})


ARCHITECTURES: dict[str, dict[str, object]] = {
    "robertaEMO": {},
    "robertEMO_large": {"text_size": "large"},
    "robertaEMO_base": {"text_size": "base"},
    "robertaEMO_mulT": {"stack_up": True},
    "robertaEMO_tiny": {"ssl_random": "tiny"},
    "semiemo": {},
}
DEFAULTS: dict[str, object] = {
    "encoder_layers_cross": 1,
    "encoder_attention_heads": 16,
    "encoder_ffn_embed_dim": 1024,
}
RANDOM_SIZES: dict[str, dict[str, dict[str, int]]] = {
    # vocab_size: RoBERTa's 50,265; for speech the codes seen by Speech-BERT (about 13.5 k in its card).
    "tiny": {
        "text": {"vocab_size": 50265, "embed_dim": 48, "ffn_dim": 96, "layers": 2, "heads": 4},
        "speech": {"vocab_size": 13600, "embed_dim": 32, "ffn_dim": 64, "layers": 2, "heads": 4},
    },
    "base": {
        "text": {"vocab_size": 50265, "embed_dim": 768, "ffn_dim": 3072, "layers": 12, "heads": 12},
        "speech": {"vocab_size": 13600, "embed_dim": 768, "ffn_dim": 3072, "layers": 12, "heads": 12},
    },
    "large": {
        "text": {"vocab_size": 50265, "embed_dim": 1024, "ffn_dim": 4096, "layers": 24, "heads": 16},
        "speech": {"vocab_size": 13600, "embed_dim": 768, "ffn_dim": 3072, "layers": 12, "heads": 12},
    },
}
MAX_POSITIONS = {"text": 512, "speech": 2048}
CHECKPOINT_KINDS = {"text": "text_roberta", "speech": "speech_bert"}

# By path, between reading an encoder's shape and copying its weights: RoBERTa-large is not read from disk twice.
_opened: dict[Path, LoadedRoberta] = {}


def resolve_architecture(cfg: DictConfig) -> DictConfig:
    """Fill in place what the user left unset from the architecture named in ``cfg._name``, then from the defaults.

    fairseq applies architecture functions from flags only, not under hydra; this works for both.
    """
    name = getattr(cfg, "_name", None) or "robertaEMO"
    with open_dict(cfg):
        for key, value in {**DEFAULTS, **ARCHITECTURES.get(name, {})}.items():
            current = getattr(cfg, key, None)
            if key != "text_size" and (current is None or current is False):  # 0 is the user's
                cfg[key] = value
    return cfg


def modalities(cfg: DictConfig) -> tuple[str, ...]:
    """The branches that the flags ask for, in the order of the fused vector: text, then speech."""
    if cfg.v_only:
        raise EmofairError(
            "--v-only: there is no video branch",
            remedy="Choose --all-in, --a-only (speech) and/or --t-only (text)",
        )
    if cfg.all_in or (cfg.a_only and cfg.t_only):
        return ("text", "speech")
    if cfg.t_only:
        return ("text",)
    if cfg.a_only:
        return ("speech",)
    raise EmofairError("no modality is chosen", remedy="Choose --all-in, --a-only (speech) and/or --t-only (text)")


class Encoded(NamedTuple):
    """One modality of a batch: features [B, T, C], padding [B, T] (true = padding), summary vector [B, C]."""

    features: Tensor
    padding: Tensor
    summary: Tensor


@register_model("robertaEMO", dataclass=RobertaEMOConfig)
class RobertaEMOModel(BaseFairseqModel):
    """Speech tokens and/or text tokens → logits."""

    def __init__(self, cfg: DictConfig, specs: dict[str, RobertaSpec]) -> None:
        super().__init__()
        self.cfg = cfg
        self.modalities = modalities(cfg)
        for option in ("dropout", "attention_dropout", "pooler_dropout"):
            check_dropout(f"--{option.replace('_', '-')}", cfg[option])
        check_activation("--activation-fn", cfg.activation_fn)
        self.stack_up = bool(cfg.stack_up)
        if self.stack_up and len(self.modalities) < 2:
            raise EmofairError(
                f"--stack-up needs both modalities, and only {self.modalities[0]} is chosen",
                remedy="Add --all-in, or leave --stack-up out",
            )
        if self.stack_up:
            self.cross_attention = CrossAttentionFusion(
                specs["text"].embed_dim,
                specs["speech"].embed_dim,
                cfg.encoder_layers_cross,
                cfg.encoder_attention_heads,
                dropout=cfg.dropout,
                attention_dropout=cfg.attention_dropout,
                block=cfg.cross_block,
                ffn_dim=cfg.encoder_ffn_embed_dim,
                activation_fn=cfg.activation_fn,
            ).apply(init_bert_params)
        self.encoders_frozen = bool(cfg.frozen_ssl)
        for name in self.modalities:
            # Pretrained weights or a checkpoint's follow, except where random ones are asked for.
            build = RobertaTokenEncoder.unfilled if cfg.ssl_random is None else RobertaTokenEncoder
            encoder = build(specs[name], checkpoint_activations=cfg.checkpoint_activations)
            encoder.requires_grad_(not self.encoders_frozen)
            self.add_module(f"{name}_encoder", encoder)
        self.fused_dim = sum(specs[name].embed_dim for name in self.modalities)
        self._check_widths(specs)
        self.classification_heads = nn.ModuleDict()

    def _check_widths(self, specs: dict[str, RobertaSpec]) -> None:
        asked = {"text": self.cfg.encoder_embed_dim_t, "speech": self.cfg.encoder_embed_dim_a}
        flags = {"text": "--encoder-embed-dim-t", "speech": "--encoder-embed-dim-a"}
        for name in self.modalities:
            if asked[name] is not None and asked[name] != specs[name].embed_dim:
                raise EmofairError(
                    f"{flags[name]} {asked[name]}, but the {name} encoder's width is {specs[name].embed_dim}",
                    remedy=f"Leave {flags[name]} out: the width is read from the pretrained model",
                )
        concat = self.cfg.encoder_embed_dim_concat
        if concat is not None and concat != self.fused_dim:
            raise EmofairError(
                f"--encoder-embed-dim-concat {concat}, but the fused vector of {' + '.join(self.modalities)} "
                f"has width {self.fused_dim}",
                remedy="Leave --encoder-embed-dim-concat out: the width is derived",
            )

    @classmethod
    def prepare_config(cls, cfg: DictConfig) -> DictConfig:
        """Complete ``cfg`` in place so that it describes the whole model without any file beside it.

        The hyper-parameters of each pretrained encoder are stored as one JSON string each. Strings, because
        fairseq-validate overrides configuration keys by name at any depth.
        """
        resolve_architecture(cfg)
        missing = [name for name in modalities(cfg) if cfg.get(f"{name}_ssl_json") is None]
        if missing:
            _opened.clear()  # what a job that failed left behind
        with open_dict(cfg):
            for name in missing:
                cfg[f"{name}_ssl_json"] = cls._spec(cfg, name).to_json()
        return cfg

    @classmethod
    def _spec(cls, cfg: DictConfig, name: str) -> RobertaSpec:
        if cfg.ssl_random is not None:
            if cfg.ssl_random not in RANDOM_SIZES:
                raise EmofairError(
                    f"--ssl-random {cfg.ssl_random}: unknown size",
                    remedy=f"Choose one of {', '.join(RANDOM_SIZES)}",
                )
            return RobertaSpec(**RANDOM_SIZES[cfg.ssl_random][name], max_positions=MAX_POSITIONS[name])
        path = cls._pretrained_path(cfg, name)
        _opened[path] = load_roberta(path)
        return _opened[path].spec

    @classmethod
    def _pretrained_path(cls, cfg: DictConfig, name: str) -> Path:
        """Where the pretrained model of one branch lies."""
        root = compat.original_path(cfg.ssl_dir or os.environ.get(ssl_dir.VARIABLE) or ssl_dir.DEFAULT)
        path = cfg.text_roberta_path if name == "text" else cfg.speech_bert_path
        size = ARCHITECTURES.get(cfg._name, {}).get("text_size") if name == "text" else None
        return ssl_dir.locate(CHECKPOINT_KINDS[name], ssl_dir=root, path=path and compat.original_path(path), only=size)

    @classmethod
    def build_model(cls, cfg: DictConfig, task=None) -> "RobertaEMOModel":
        """Build the model from ``cfg``; the encoders stay random until `load_pretrained` or a checkpoint."""
        cls.prepare_config(cfg)
        specs = {name: RobertaSpec.from_json(cfg[f"{name}_ssl_json"]) for name in modalities(cfg)}
        return cls(cfg, specs)

    def load_pretrained(self) -> None:
        """Copy the pretrained weights into both encoders; nothing to do for random ones."""
        if self.cfg.ssl_random is not None:
            logger.info("encoders of size %r start from random weights", self.cfg.ssl_random)
            return
        for name in self.modalities:
            path = self._pretrained_path(self.cfg, name)
            loaded = _opened.pop(path, None) or load_roberta(path)
            self.encoder(name).load_state_dict(loaded.state)
            logger.info("%s encoder: %s, %s", name, loaded.path, "frozen" if self.encoders_frozen else "fine-tuned")

    def encoder(self, name: str) -> RobertaTokenEncoder:
        """The encoder of ``text`` or ``speech``."""
        return getattr(self, f"{name}_encoder")

    def register_classification_head(self, name: str, num_outputs: int) -> None:
        """Add a freshly initialised output layer called ``name``, replacing one of the same name."""
        head = ClassificationHead(self.fused_dim, num_outputs, self.cfg.pooler_dropout)
        # A checkpoint's heads are added when the model may be on a GPU and in half precision already.
        self.classification_heads[name] = head.to(next(self.parameters()))

    def train(self, mode: bool = True) -> "RobertaEMOModel":
        """Set training mode; frozen encoders stay in evaluation mode, so that their output never changes."""
        super().train(mode)
        if self.encoders_frozen:
            for name in self.modalities:
                self.encoder(name).eval()
        return self

    def encode(self, audio: Optional[Tensor] = None, text: Optional[Tensor] = None) -> dict[str, Encoded]:
        """Token ids, Long [B, T], of each modality → features, padding and summary by modality."""
        tokens = {"text": text, "speech": audio}
        first_only = self.cfg.pooling == "cls" and not self.stack_up
        result = {}
        for name in self.modalities:
            if tokens[name] is None:
                raise EmofairError(f"the batch holds no {name} tokens, and the model needs them")
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoders_frozen):
                features, padding = self.encoder(name)(tokens[name], first_only=first_only)
                summary = features[:, 0] if self.cfg.pooling == "cls" else mean_over_time(features, padding)
            result[name] = Encoded(features, padding, summary)
        return result

    def fuse(self, encoded: dict[str, Encoded], hidden: Optional[dict[str, Tensor]] = None) -> Tensor:
        """Encoded modalities → fused vector [B, C], text first.

        ``hidden``, by modality, Bool [B, T]: further positions that the cross-attention must not look at.
        """
        if not self.stack_up:
            return torch.cat([encoded[name].summary for name in self.modalities], dim=-1)
        masks = {name: encoded[name].padding for name in self.modalities}
        if hidden is not None:
            masks = {name: mask | hidden[name] for name, mask in masks.items()}
        text, speech = encoded["text"], encoded["speech"]
        parts = self.cross_attention(
            text.features, masks["text"], speech.features, masks["speech"], text.summary, speech.summary
        )
        return torch.cat(parts, dim=-1)

    def forward(
        self,
        net_input: Optional[dict[str, Tensor]] = None,
        *,
        audio: Optional[Tensor] = None,
        text: Optional[Tensor] = None,
        features_only: bool = False,
        classification_head_name: Optional[str] = None,
        **unused,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Speech and text ids, Long [B, T] padded with 1 → logits [B, num_outputs] and the vectors behind them.

        Without ``classification_head_name`` the first result is the fused vector itself.
        """
        if net_input is not None:
            audio, text = net_input.get("audio"), net_input.get("text")
        encoded = self.encode(audio, text)
        fused = self.fuse(encoded)
        extra = {"fused": fused, **{f"{name}_cls": encoded[name].summary for name in self.modalities}}
        if classification_head_name is None:
            return fused, extra
        return self.classification_heads[classification_head_name](fused), extra

    def facts(self) -> dict[str, object]:
        """What distinguishes this model in a table of results."""
        fusion = "concatenation" if len(self.modalities) > 1 else None
        if self.stack_up:
            fusion = f"cross-attention ({self.cfg.cross_block}, {self.cfg.encoder_layers_cross})"
        return {"modalities": list(self.modalities), "fusion": fusion, "frozen": self.encoders_frozen}

    def max_positions(self) -> None:
        """No limit: long items are cut by the collater, never filtered."""
        return

    def get_targets(self, sample: dict, net_output) -> Tensor:
        """Targets of a batch."""
        return sample["target"]

    def upgrade_state_dict_named(self, state_dict: dict[str, Tensor], name: str) -> None:
        """Reconcile the heads of a checkpoint with those of the model (in place)."""
        start = f"{name}." if name else ""
        keep = self._register_idle_head if self.cfg.load_checkpoint_heads else None
        reconcile_heads(self.classification_heads, state_dict, f"{start}classification_heads.", keep)

    def _register_idle_head(self, name: str, num_outputs: int) -> None:
        # It is kept, not trained: an idle parameter would stop DDP, and weight decay would shrink it.
        self.register_classification_head(name, num_outputs)
        self.classification_heads[name].requires_grad_(False)


def _leave_to_prepare_config(cfg) -> None:
    """fairseq calls this from flags only; `resolve_architecture` serves flags, hydra and checkpoints alike."""


for _name in ARCHITECTURES:
    if _name not in ("robertaEMO", "semiemo"):
        register_model_architecture("robertaEMO", _name)(_leave_to_prepare_config)
