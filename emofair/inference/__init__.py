"""The public Python API: open a fine-tuned checkpoint and predict.

>>> import emofair
>>> model = emofair.load("checkpoint_best.pt", ssl_dir="pretrained_ssl")   # doctest: +SKIP
>>> model.predict("clip.wav", text="I told you so!").label                 # doctest: +SKIP
'angry'
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.inference.speech_emotion import SpeechEmotionPredictor
    from emofair.inference.token_emotion import TokenEmotionPredictor

# Task → the class that predicts with its models.
PREDICTORS = {
    "emotion_prediction": "emofair.inference.token_emotion:TokenEmotionPredictor",
    "emotion_semisup_prediction": "emofair.inference.token_emotion:TokenEmotionPredictor",
    "speech_emotion": "emofair.inference.speech_emotion:SpeechEmotionPredictor",
}


def load(
    path: str | os.PathLike[str], *, device: str = "cpu", **options
) -> TokenEmotionPredictor | SpeechEmotionPredictor:
    """Open a fine-tuned checkpoint. Nothing but the file is needed for the model itself.

    ``options`` go to the predictor: for robertaEMO the places of the tokenisers (``ssl_dir`` and so on), which raw
    audio and text need. Raises `EmofairError` for a file that is missing, damaged, hostile or foreign.
    """
    from emofair.inference.checkpoint import load_checkpoint

    loaded = load_checkpoint(path, device=device)
    name = str(loaded.facts["task"])
    if name not in PREDICTORS:
        raise EmofairError(f"models of the task {name!r} cannot predict", file=path)
    module, _, predictor = PREDICTORS[name].partition(":")
    try:
        return getattr(importlib.import_module(module), predictor)(loaded, **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        wrong = str(error).split("'")[1]
        raise EmofairError(f"models of the task {name!r} have no option {wrong}", file=path) from None
