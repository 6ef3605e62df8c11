"""A wav2vec model -> the same model with a k-means quantiser whose codes are centres of its features.

fairseq starts the codes of `--vq-type kmeans` near zero, and a short training on little speech leaves most of them
there, unused. Put on k-means centres of the features of a model that was trained without quantiser, all are in use from
the first update; fairseq-train goes on from the checkpoint written here (`--finetune-from-model`).

    python codebook.py --checkpoint wav2vec/checkpoint_last.pt --corpus corpus --codes 64 --out vq-wav2vec/start.pt
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from fairseq.models.wav2vec.wav2vec import Wav2VecConfig, Wav2VecModel
from sklearn.cluster import KMeans
from torch import Tensor, nn

import emofair
from emofair.checkpoints import safe
from emofair.data.audio import read_audio
from emofair.data.manifests import read_split

GROUPS = 2
MOST_FRAMES = 20_000


def features_of(model: Wav2VecModel, paths: list[str]) -> list[Tensor]:
    """Features [1, C, frames] of as many clips as make `MOST_FRAMES` frames."""
    features: list[Tensor] = []
    with torch.inference_mode():
        for path in paths:
            if sum(f.size(2) for f in features) >= MOST_FRAMES:
                break
            features.append(model.feature_extractor(torch.from_numpy(read_audio(path))[None]))
    return features


@torch.no_grad()
def start_codes(quantizer: nn.Module, features: list[Tensor]) -> None:
    """Let the projection bring all channels to one scale, and put the codes of each group on k-means centres."""
    spread = torch.cat(features, dim=2).std(dim=(0, 2)).clamp_min(1e-4)
    projection = quantizer.projection[0].weight  # [C, C / groups, 1], one block per group
    width = projection.size(1)
    projection.copy_((torch.eye(width).repeat(quantizer.groups, 1) / spread[:, None])[..., None])
    frames = torch.cat([quantizer.projection(f) for f in features], dim=2)[0].T.numpy()
    for group in range(quantizer.groups):
        means = KMeans(quantizer.num_vars, n_init=1, max_iter=50, random_state=0)
        means.fit(frames[:, group * width : (group + 1) * width].astype(np.float64))
        quantizer.embedding[:, group] = torch.from_numpy(means.cluster_centers_).float()


def main() -> None:
    """Read the command line and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="wav2vec trained with --vq-type none")
    parser.add_argument("--corpus", required=True, type=Path, help="the centres come from its training split")
    parser.add_argument("--codes", type=int, default=64, help="codes per group (the published model: 320)")
    parser.add_argument("--out", required=True, type=Path, help="checkpoint to write")
    args = parser.parse_args()

    emofair.register()
    state = safe.load(args.checkpoint)
    config = {**state["cfg"]["model"], "vq_type": "kmeans", "vq_groups": GROUPS, "vq_vars": args.codes}
    model = Wav2VecModel(Wav2VecConfig(**{name: value for name, value in config.items() if name != "_name"})).eval()
    model.load_state_dict(state["model"], strict=False)  # the quantiser is what is new
    features = features_of(model, [clip.path for clip in read_split(args.corpus, "train")])
    start_codes(model.vector_quantizer, features)
    state["cfg"]["model"], state["model"] = config, model.state_dict()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, args.out)
    print(f"{args.out}: {GROUPS} groups of {args.codes} codes, from {sum(f.size(2) for f in features):,} frames")


if __name__ == "__main__":
    main()
