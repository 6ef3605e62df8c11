"""Speech to the ids that a Speech-BERT reads: vq-wav2vec codes looked up in its dictionary.

vq-wav2vec (arXiv 1910.05453) turns 10 ms of speech into one code per group; the codes of a frame, joined by
a hyphen, are a word of the BERT that was trained on them (arXiv 1911.03912), and a clip is a sentence
``<s> word ... </s>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emofair.checkpoints.layer_spec import geometry
from emofair.device import find_device
from emofair.errors import EmofairError
from emofair.special_tokens import BOS, EOS, UNKNOWN

if TYPE_CHECKING:
    import torch


class SpeechTokenizer:
    """Turns 16 kHz mono waveforms into token ids of a Speech-BERT.

    ``vq_checkpoint`` is a vq-wav2vec checkpoint, ``dict_path`` the Speech-BERT's ``dict.txt`` or its folder.
    Without one there are `words` and no ids: what a Speech-BERT is pre-trained on.
    ``hop`` and ``receptive_field`` are in samples (160 and 465 for the published model), ``groups`` and
    ``codes_per_group`` the size of its codebook (2 and 320). ``frames`` and
    ``unknown`` count what has been encoded so far and how much of it the dictionary does not know.

    Clips go through the model one by one: its group normalisation runs over time, so padding would change the
    codes, and batches of clips of equal length gain nothing on a CPU.
    """

    def __init__(self, vq_checkpoint: str | Path, dict_path: str | Path | None, device: str = "cpu") -> None:
        from emofair.checkpoints.roberta import load_dictionary
        from emofair.checkpoints.vq_wav2vec import load_vq_wav2vec

        self.device = find_device(device)
        self.dictionary = None
        if dict_path is not None:
            dict_path = Path(dict_path)
            self.dictionary = load_dictionary(dict_path / "dict.txt" if dict_path.is_dir() else dict_path)
        self.model = load_vq_wav2vec(vq_checkpoint).to(self.device).eval()
        self.hop, self.receptive_field = geometry(self.model.layers)
        self.groups, self.codes_per_group = self.model.vector_quantizer.groups, self.model.vector_quantizer.num_vars
        self.frames = 0
        self.unknown = 0

    def n_frames(self, n_samples: int) -> int:
        """Codes that a clip of ``n_samples`` samples gets; at least 1, as short clips are padded."""
        return (max(n_samples, self.receptive_field) - self.receptive_field) // self.hop + 1

    def codes(self, audio: np.ndarray) -> np.ndarray:
        """Codes int64 [frames, groups] of one clip, float [n_samples] at 16 kHz.

        A clip shorter than the receptive field is padded with zeros on the right. Raises EmofairError for an
        empty clip, one that is not one-dimensional, and samples that are no finite numbers.
        """
        import torch

        audio = np.asarray(audio, dtype=np.float32)
        if audio.ndim != 1 or not audio.size:
            raise EmofairError(f"expected the samples of one mono clip, got shape {list(audio.shape)}")
        if not np.isfinite(audio).all():
            raise EmofairError("the clip has samples that are NaN or infinite")
        if audio.size < self.receptive_field:
            audio = np.pad(audio, (0, self.receptive_field - audio.size))
        # Reduced-precision convolutions would give other codes on a GPU than on a CPU.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            features = self.model.feature_extractor(torch.tensor(audio, device=self.device)[None])
            return _codes(self.model.vector_quantizer, features)[0].cpu().numpy()

    def words(self, audios: Sequence[np.ndarray]) -> list[list[str]]:
        """For each clip, one word per frame: the codes of its groups joined by a hyphen."""
        return [["-".join(map(str, frame)) for frame in self.codes(audio).tolist()] for audio in audios]

    def encode(self, audios: Sequence[np.ndarray]) -> list[np.ndarray]:
        """For each clip the int64 ids ``[0, one per frame, 2]``; words that the dictionary lacks become 3."""
        return [self._encode(self.codes(audio)) for audio in audios]

    def _encode(self, codes: np.ndarray) -> np.ndarray:
        kinds, which = np.unique(codes, axis=0, return_inverse=True)
        known = [self.dictionary.index("-".join(map(str, kind))) for kind in kinds.tolist()]
        ids = np.array(known, dtype=np.int64)[which.reshape(-1)]
        self.frames += len(ids)
        self.unknown += int((ids == UNKNOWN).sum())
        return np.concatenate([[BOS], ids, [EOS]]).astype(np.int64)


def _codes(quantizer: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Codes [batch, frames, groups] of features [batch, channels, frames]: those of fairseq's ``forward_idx``."""
    from emofair.encoders.wav2vec import nearest_codes

    if not hasattr(quantizer, "expand_embedding"):
        return quantizer.forward_idx(features)[1]
    return nearest_codes(quantizer, quantizer.projection(features))
