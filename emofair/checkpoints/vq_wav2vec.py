"""vq-wav2vec checkpoints (Baevski et al. 2020, arXiv 1910.05453), reduced to the part that makes discrete codes."""

from __future__ import annotations

from os import PathLike

from torch import nn

from emofair.checkpoints import safe
from emofair.checkpoints.fairseq_form import model_arguments, model_state
from emofair.checkpoints.wav2vec import Layers, Options, conv_layers, quantizer_spec
from emofair.encoders.wav2vec import make_extractor, make_quantizer
from emofair.encoders.wav2vec_spec import Wav2VecSpec
from emofair.errors import EmofairError

KEPT = ("feature_extractor.", "vector_quantizer.")


class VqWav2Vec(nn.Module):
    """The two parts of a vq-wav2vec that turn audio into codes, under fairseq's names.

    ``feature_extractor``: audio [B, n_samples] → [B, C, T]. ``vector_quantizer.forward_idx``: [B, C, T] → (quantised
    features [B, C, T], codes [B, T, groups]). ``layers`` are the convolutions, (width, kernel, stride) each.
    """

    def __init__(self, feature_extractor: nn.Module, vector_quantizer: nn.Module, layers: Layers) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.vector_quantizer = vector_quantizer
        self.layers = list(layers)


def load_vq_wav2vec(path: str | PathLike[str]) -> VqWav2Vec:
    """The code-making part of a fairseq vq-wav2vec with k-means or Gumbel quantiser, in evaluation mode, fp32.

    Sizes come from the weights, the rest from the checkpoint's options, and what old files leave out from fairseq's
    defaults. Raises `EmofairError` for a model without quantiser and for weights that do not fit.
    """
    checkpoint = safe.load(path)
    state = {name: value for name, value in model_state(checkpoint, path).items() if name.startswith(KEPT)}
    options = Options(model_arguments(checkpoint, path))
    layers = conv_layers(options, state, path)
    try:
        quantizer = quantizer_spec(options, state, layers[-1][0], path)
        if quantizer is None:
            raise EmofairError(
                "is a wav2vec without vector quantiser, so it makes no codes",
                file=path,
                remedy="Use the vq-wav2vec k-means checkpoint",
            )
        spec = Wav2VecSpec(conv_layers=layers, quantizer=quantizer, **options.spec_fields())
        model = VqWav2Vec(make_extractor(spec), make_quantizer(spec), layers)
        model.load_state_dict(state)
    except EmofairError as error:
        raise EmofairError(error.what, file=path, remedy=error.remedy) from None
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise EmofairError(f"its weights and options make no vq-wav2vec: {error}", file=path) from None
    return model.float().eval()
