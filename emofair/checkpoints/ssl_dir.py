"""Where the pretrained models lie: one folder with the layout of the public downloads."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from emofair.checkpoints.roberta import FILES
from emofair.errors import EmofairError

VARIABLE = "EMOFAIR_SSL_DIR"
DEFAULT = "pretrained_ssl"

# Kind → (what it is, the option that names it, its places in the folder, where to get it).
_KINDS = {
    "vq_wav2vec": (
        "vq-wav2vec k-means model",
        None,
        ("vq-wav2vec/vq-wav2vec_kmeans.pt", "vq-wav2vec/vq-wav2vec.pt"),
        "fairseq's examples/wav2vec page links it",
    ),
    "speech_bert": (
        "Speech-BERT model",
        "--speech-bert-path",
        ("vq-wav2vec-Kmeans-Roberta",),
        "fairseq's examples/wav2vec page links it as Roberta on K-means codes",
    ),
    "text_roberta": (
        "text RoBERTa model",
        "--text-roberta-path",
        ("roberta.large", "roberta.base"),
        "fairseq's examples/roberta page links it",
    ),
}


def locate(
    kind: str,
    *,
    ssl_dir: str | PathLike[str] | None = None,
    path: str | PathLike[str] | None = None,
    only: str | None = None,
) -> Path:
    """The folder or file of a pretrained model: ``vq_wav2vec``, ``speech_bert`` or ``text_roberta``.

    An explicit ``path`` must exist. Else the model is looked for in ``ssl_dir``, or in ``$EMOFAIR_SSL_DIR``, or in
    ``./pretrained_ssl``, the first of these that is set; with ``only`` (such as ``base``) just in places whose name
    holds it. Raises `EmofairError` with everything that was looked for and where to get it; nothing is downloaded.
    """
    title, option, places, source = _KINDS[kind]
    if path is not None:
        path = Path(path).expanduser()
        if path.exists():
            return path
        raise EmofairError(f"{title} not found: nothing has this name", file=path)
    root = Path(ssl_dir or os.environ.get(VARIABLE) or DEFAULT).expanduser()
    places = [place for place in places if only is None or only in place]
    for place in places:
        if _holds_model(root / place):
            return root / place
    looked_for = ", ".join(str(root / place) for place in places)
    if option is not None:
        looked_for += f" (a folder with {', '.join(FILES)} or one other .pt)"
    raise EmofairError(
        f"{title} not found; looked for {looked_for}",
        remedy=f"Get it ({source}) and put it there, or set --ssl-dir or {VARIABLE}"
        + (f", or name it with {option}" if option else ""),
    )


def _holds_model(place: Path) -> bool:
    return place.is_file() or (place.is_dir() and any(place.glob("*.pt")))
