"""Tiny checkpoints of random weights in the form of the public wav2vec 2.0 and wav2vec files, to try the commands with.

    python stand_ins.py exp/wav2vec2_tiny.pt exp/wav2vec_tiny.pt

Beside the first it writes exp/wav2vec2_tiny.overrides: its shape, for fairseq-hydra-train with a preset of BASE size.
There is nothing in such weights; they only take the place of a download.
"""

from __future__ import annotations

import sys

from emofair.testing.speech import PRETRAINING, tiny_speech_checkpoint, tiny_speech_spec, tiny_wav2vec_checkpoint


def overrides() -> str:
    """The shape of the tiny wav2vec 2.0 as hydra overrides of a preset; no spaces, so that a shell may split them."""
    spec = tiny_speech_spec()
    layers = ",".join(f"({dim},{kernel},{stride})" for dim, kernel, stride in spec.conv_layers)
    shape = {
        "conv_feature_layers": f"'[{layers}]'",
        "encoder_layers": spec.layers,
        "encoder_embed_dim": spec.embed_dim,
        "encoder_ffn_embed_dim": spec.ffn_dim,
        "encoder_attention_heads": spec.heads,
        "conv_pos": spec.conv_pos,
        "conv_pos_groups": spec.conv_pos_groups,
        **{name: value for name, value in PRETRAINING.items() if name != "quantize_targets"},
    }
    return " ".join(f"model.{name}={value}" for name, value in shape.items())


def main(wav2vec2: str, wav2vec: str) -> None:
    """Write the checkpoints and the overrides."""
    path = tiny_speech_checkpoint(wav2vec2)
    path.with_suffix(".overrides").write_text(overrides() + "\n")
    tiny_wav2vec_checkpoint(wav2vec)


if __name__ == "__main__":
    main(*sys.argv[1:])
