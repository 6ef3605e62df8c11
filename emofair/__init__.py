"""emofair: five published systems for emotion and turn-taking in speech, as one fairseq plugin.

Importing this package is cheap: neither torch nor fairseq is touched before they are needed.
"""

from __future__ import annotations

import logging

# fairseq reports the absence of a package that nothing here uses, whenever it is imported.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)

__version__ = "0.1.0"
__all__ = ["__version__", "load", "register"]


def register() -> None:
    """Register every task, model and criterion with fairseq, for programs that do not pass ``--user-dir``."""
    import emofair.models
    import emofair.tasks  # noqa: F401


def load(path, **options):
    """Load a fine-tuned checkpoint for prediction; see `emofair.inference.load`."""
    from emofair.inference import load as load_predictor

    return load_predictor(path, **options)
