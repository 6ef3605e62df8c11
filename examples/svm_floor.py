"""The floor under a fold: an RBF-SVM on statistics of MFCCs, scored as `emofair evaluate` scores.

    python examples/svm_floor.py --data data/emodb/fold1 --out runs/svm/fold1/test

Mean, standard deviation and five quantiles of 39 MFCCs and deltas over every clip (the 0th carries loudness), brought
to zero mean and unit variance; trained on the training split, untuned. `emofair report` takes the folder as any other.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from emofair.cli.evaluate import METRICS, as_json
from emofair.data.audio import read_audio
from emofair.data.manifests import Utterance, read_corpus, read_labels, read_split
from emofair.errors import show_in_one_line
from emofair.inference import provenance
from emofair.metrics import classification
from emofair.units.mfcc import mfcc_with_deltas

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def statistics(items: list[Utterance], *, resample: bool = False) -> np.ndarray:
    """Features [clips, 273]; with ``resample`` also of audio that is not at 16 kHz."""
    rows = []
    for item in items:
        frames = mfcc_with_deltas(read_audio(item.path, resample=resample, start=item.start, end=item.end))
        rows.append(np.concatenate([frames.mean(0), frames.std(0), *np.quantile(frames, QUANTILES, axis=0)]))
    return np.stack(rows)


def main() -> None:
    """Train, score, write metrics.json and predictions.tsv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="prepared fold")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--name", default="SVM on MFCC statistics")
    args = parser.parse_args()
    show_in_one_line()
    classes, corpus = read_labels(args.data), read_corpus(args.data)
    resample = bool(corpus.get("resample"))
    split = {name: read_split(args.data, name) for name in ("train", "test")}
    model = make_pipeline(StandardScaler(), SVC(C=10.0))
    model.fit(statistics(split["train"], resample=resample), [item.label for item in split["train"]])
    predicted = model.predict(statistics(split["test"], resample=resample)).tolist()
    actual = [item.label for item in split["test"]]
    target = torch.tensor([classes.index(label) for label in actual])
    counts = classification.confusion_matrix(torch.tensor([classes.index(p) for p in predicted]), target, len(classes))
    guess, floor = classification.constant_guess(target, classes)
    figures = classification.figures(classes)
    ids = [item.id for item in split["test"]]
    result = {
        "name": args.name,
        "system": "SVM",
        "split": "test",
        "n": len(ids),
        "protocol": "clean",
        "target": "emotion",
        "classes": classes,
        "metrics": {name: figure(counts) for name, figure in figures.items()},
        "confusion": counts.int().tolist(),
        "confusion_classes": classes,
        "majority": {name: figure(floor) for name, figure in figures.items()},
        "majority_guess": guess,
        "seed": 0,
        "fold": corpus.get("fold"),
        "data": args.data,
        "data_sha256": provenance.items_sha256(ids, target.tolist()),
        "versions": provenance.versions(),
        "commit": provenance.source_commit(),
        "command": shlex.join(["python", "examples/svm_floor.py", *sys.argv[1:]]),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    rows = ["id\tprediction\tlabel", *("\t".join(row) for row in zip(ids, predicted, actual, strict=True))]
    (args.out / "predictions.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (args.out / METRICS).write_text(as_json(result) + "\n", encoding="utf-8")
    print(f"{args.name}: WA {100 * figures['accuracy'](counts):.1f}, UA {100 * figures['uar'](counts):.1f}")


if __name__ == "__main__":
    main()
