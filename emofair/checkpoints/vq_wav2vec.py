"""vq-wav2vec checkpoints (Baevski et al. 2020, arXiv 1910.05453), reduced to the part that makes discrete codes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

from fairseq.models.wav2vec.wav2vec import ConvFeatureExtractionModel, Wav2VecConfig
from fairseq.modules import GumbelVectorQuantizer, KmeansVectorQuantizer
from torch import Tensor, nn

from emofair.checkpoints import safe
from emofair.checkpoints.fairseq_form import model_arguments, model_state
from emofair.checkpoints.layer_spec import parse_layers
from emofair.errors import EmofairError

KEPT = ("feature_extractor.", "vector_quantizer.")


class VqWav2Vec(nn.Module):
    """The two parts of a vq-wav2vec that turn audio into codes, under fairseq's names.

    ``feature_extractor``: audio [B, n_samples] → [B, C, T]. ``vector_quantizer.forward_idx``: [B, C, T] → (quantised
    features [B, C, T], codes [B, T, groups]). ``layers`` are the convolutions, (width, kernel, stride) each.
    """

    def __init__(
        self, feature_extractor: nn.Module, vector_quantizer: nn.Module, layers: list[tuple[int, int, int]]
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.vector_quantizer = vector_quantizer
        self.layers = layers


def load_vq_wav2vec(path: str | PathLike[str]) -> VqWav2Vec:
    """The code-making part of a fairseq vq-wav2vec with k-means or Gumbel quantiser, in evaluation mode, fp32.

    Sizes come from the weights, the rest from the checkpoint's options, and what old files leave out from fairseq's
    defaults. Raises `EmofairError` for a model without quantiser and for weights that do not fit.
    """
    checkpoint = safe.load(path)
    state = {name: value for name, value in model_state(checkpoint, path).items() if name.startswith(KEPT)}
    options = _Options(model_arguments(checkpoint, path))
    layers = _layers(options, state, path)
    try:
        activation = {"relu": nn.ReLU, "gelu": nn.GELU}[options["activation"]]()
        extractor = ConvFeatureExtractionModel(
            conv_layers=layers,
            dropout=0.0,
            log_compression=options["log_compression"],
            skip_connections=options["skip_connections_feat"],
            residual_scale=options["residual_scale"],
            non_affine_group_norm=options["non_affine_group_norm"],
            activation=activation,
        )
        quantizer = _quantizer(options, state, layers[-1][0], activation, path)
        model = VqWav2Vec(extractor, quantizer, layers)
        model.load_state_dict(state)
    except EmofairError:
        raise
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise EmofairError(f"its weights and options make no vq-wav2vec: {error}", file=path) from None
    return model.float().eval()


class _Options:
    """The checkpoint's options, with fairseq's defaults for those it does not have."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.defaults = {field.name: field.default for field in dataclasses.fields(Wav2VecConfig)}

    def __getitem__(self, name: str) -> Any:
        value = self.given.get(name)
        return self.defaults[name] if value is None else value


def _layers(options: _Options, state: Mapping[str, Tensor], path: str | PathLike[str]) -> list[tuple[int, int, int]]:
    """The convolutions: stride as the options say, width and kernel compared with the weights."""
    try:
        layers = parse_layers(options["conv_feature_layers"])
    except EmofairError as error:
        raise EmofairError(error.what, file=path) from None
    name = "feature_extractor.conv_layers.{}.0.weight"
    found = [(value.shape[0], value.shape[2]) for i in range(100) if (value := state.get(name.format(i))) is not None]
    if found != [(width, kernel) for width, kernel, _ in layers]:
        raise EmofairError(
            f"its options describe convolutions (width, kernel) {[layer[:2] for layer in layers]}, its weights {found}",
            file=path,
        )
    return layers


def _quantizer(
    options: _Options, state: Mapping[str, Tensor], dim: int, activation: nn.Module, path: str | PathLike[str]
) -> nn.Module:
    codes = state.get("vector_quantizer.embedding")
    if codes is not None:
        # [codes, groups or 1, width / groups]; the grouped projection in front has [dim, dim / groups, 1].
        groups = dim // state["vector_quantizer.projection.0.weight"].shape[1]
        if codes.shape[1] not in (1, groups) or codes.shape[2] * groups != dim:
            raise EmofairError(
                f"has codes of shape {list(codes.shape)} for {groups} groups of {dim} channels in all", file=path
            )
        return KmeansVectorQuantizer(
            dim=dim,
            num_vars=codes.shape[0],
            groups=groups,
            combine_groups=codes.shape[1] == 1 and groups > 1,
            vq_dim=codes.shape[2] * groups,
            time_first=False,
            gamma=options["vq_gamma"],
        )
    codes = state.get("vector_quantizer.vars")
    if codes is None:
        raise EmofairError(
            "is a wav2vec without vector quantiser, so it makes no codes",
            file=path,
            remedy="Use the vq-wav2vec k-means checkpoint",
        )
    return _gumbel(options, state, codes, dim, activation)


def _gumbel(
    options: _Options, state: Mapping[str, Tensor], codes: Tensor, dim: int, activation: nn.Module
) -> nn.Module:
    # The last projection has groups x codes outputs; the table holds that many rows, or one group's share of them.
    found = {int(match[1]) for name in state if (match := re.search(r"weight_proj\.(\d+)\.", name))}
    depth = len(found) or 1
    last = f"vector_quantizer.weight_proj.{max(found)}.bias" if found else "vector_quantizer.weight_proj.bias"
    outputs, rows = state[last].shape[0], codes.shape[1]
    combined = outputs != rows
    groups = outputs // rows if combined else int(options["vq_groups"])
    return GumbelVectorQuantizer(
        dim=dim,
        num_vars=outputs // groups,
        temp=(2.0, 0.5, 1.0),  # of the sampling in training; codes are the most probable ones
        groups=groups,
        combine_groups=combined,
        vq_dim=codes.shape[2] * groups,
        time_first=False,
        activation=activation,
        weight_proj_depth=depth,
        weight_proj_factor=2,
    )
