"""Tiny checkpoints of random weights in the form of the public files, to try the commands with.

    python examples/stand_ins.py --wav2vec2 exp/wav2vec2_tiny.pt --wav2vec exp/wav2vec_tiny.pt
    python examples/stand_ins.py --hubert exp/hubert_tiny.pt --kmeans exp/hubert_tiny_L3_km16.bin

Beside wav2vec 2.0 and HuBERT lies a file .overrides: the shape, for fairseq-hydra-train with a preset of BASE size.
There is nothing in such weights; they only take the place of a download.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emofair.testing.speech import PRETRAINING, tiny_speech_checkpoint, tiny_speech_spec, tiny_wav2vec_checkpoint

CLUSTERS = 16


def overrides(kind: str) -> str:
    """The shape of the tiny model as hydra overrides of a preset; no spaces, so that a shell may split them."""
    spec = tiny_speech_spec(kind)
    layers = ",".join(f"({dim},{kernel},{stride})" for dim, kernel, stride in spec.conv_layers)
    shape = {
        "conv_feature_layers": f"'[{layers}]'",
        "encoder_layers": spec.layers,
        "encoder_embed_dim": spec.embed_dim,
        "encoder_ffn_embed_dim": spec.ffn_dim,
        "encoder_attention_heads": spec.heads,
        "conv_pos": spec.conv_pos,
        "conv_pos_groups": spec.conv_pos_groups,
        "final_dim": PRETRAINING["final_dim"],
    }
    if kind == "wav2vec2":
        shape |= {name: PRETRAINING[name] for name in ("latent_vars", "latent_groups")}
    return " ".join(f"model.{name}={value}" for name, value in shape.items())


def write_kmeans(path: str) -> None:
    """A k-means of random frames as scikit-learn and joblib store it."""
    import joblib
    import numpy as np
    from sklearn.cluster import MiniBatchKMeans

    frames = np.random.default_rng(0).standard_normal((2000, tiny_speech_spec().embed_dim)).astype(np.float32)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(MiniBatchKMeans(CLUSTERS, n_init=3, random_state=0).fit(frames), path)


def main() -> None:
    """Write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("wav2vec2", "hubert", "wav2vec", "kmeans"):
        parser.add_argument(f"--{name}", metavar="FILE")
    args = parser.parse_args()
    for kind in ("wav2vec2", "hubert"):
        if getattr(args, kind):
            path = tiny_speech_checkpoint(getattr(args, kind), kind)
            path.with_suffix(".overrides").write_text(overrides(kind) + "\n")
    if args.wav2vec:
        tiny_wav2vec_checkpoint(args.wav2vec)
    if args.kmeans:
        write_kmeans(args.kmeans)


if __name__ == "__main__":
    main()
