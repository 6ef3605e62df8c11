"""Speed of the waveform models beside transformers and stock fairseq. Writes sections of benchmarks/RESULTS.md.

    python benchmarks/speech.py [--only frontend,step,epoch,features,flea] [--size base] [--epoch-size small]
        [--precisions fp32,bf16] [--batch 4] [--seconds 6] [--count 5] [--clips 200] [--device cuda] [--quick]

Each side is a process of its own, so that its peak memory is its own; they take turns on the same inputs in the same
run. ``--quick`` is a smoke test with small models: it prints, and writes nothing unless ``--out`` is given.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import common
import numpy as np
import speech_sides as sides
import torch

from emofair.device import has_fast_bf16
from emofair.testing.speech import write_frame_labels

OPTIMIZER = "AdamW on all but the convolutions, dropout 0.1, no layer drop, default attention everywhere."
MASKS = f"Masks on all sides: 8 % of the frames in spans of 15, 10 % of the channels in spans of 16. {OPTIMIZER}"
FLEA_MASKS = f"Masks on both sides: 8 % of the frames in spans of 10. {OPTIMIZER}"
READING = (
    "bf16 is autocast; on a CPU without bf16 in hardware ours leaves it out, as --autocast-bf16 does there, and "
    "computes in fp32. *of GEMM*: operations per second as a share of the best rate of a 2048 x 2048 matrix "
    "product in the precision that the side computes in, measured between the turns. *GB*: peak resident memory of the "
    "side's process (on a GPU, of the GPU)."
)


def computed_in(side: str, precision: str, device: str) -> torch.dtype:
    """The numbers of a side's matrix products."""
    dtype = common.PRECISIONS[precision] or torch.float32
    return torch.float32 if side.startswith("ours") and not has_fast_bf16(torch.device(device)) else dtype


def ceiling_of(names: Iterable[str], precision: str, device: str) -> common.Ceiling:
    """The rates of matrix products in all that the sides compute in."""
    return common.Ceiling({computed_in(name, precision, device) for name in names}, device)


def compare(
    names: Mapping[str, Callable[[], common.Side]], args: argparse.Namespace, precision: str, flops: float, what: str
) -> list[list[str]]:
    """One row per side: median seconds, how much faster ours is, share of the ceiling, memory."""
    ceiling = ceiling_of(names, precision, args.device)
    started = {name: start() for name, start in names.items()}
    times = common.take_turns(started, args.count, ceiling)
    rows = []
    for name, side in started.items():
        ratio = f"**{times[name] / times['ours']:.2f}**" if name != "ours" else ""
        share = ceiling.share(flops, times[name], computed_in(name, precision, args.device))
        rows.append([what, precision, name, f"{times[name]:.3f}", ratio, share, f"{side.close().total:.2f}"])
        print(" | ".join(rows[-1]), flush=True)
    return rows


HEADER = ["model", "precision", "side", "s", "ours is faster by", "of GEMM", "GB"]


def frontend(args: argparse.Namespace, write: Callable) -> None:
    """(a) The convolutions alone."""
    rows = []
    flops = sides.frontend_flops(args.size, args.batch, args.seconds)
    common_options = {"size": args.size, "batch": args.batch, "seconds": args.seconds}
    for precision in args.precisions.split(","):

        def start(name: str, precision: str = precision) -> common.Side:
            return common.Side(sides.frontend_side, args.device, name=name, precision=precision, **common_options)

        named = {name: (lambda name=name: start(name)) for name in ("ours", "fairseq")}
        rows += compare(named, args, precision, flops, args.size)
        write(
            "Speech: the convolutions alone, forward",
            f"Batch {args.batch} x {args.seconds:g} s, no gradients; against `conv1d` and group norm as stock fairseq "
            f"has them. Median of {args.count} turns. {READING} Here autocast is on for both sides; where there is no "
            "bf16 in hardware, ours computes in fp32 and rounds the result.",
            common.table(HEADER, rows),
        )


def step(args: argparse.Namespace, write: Callable) -> None:
    """(b) A fine-tuning step."""
    against = (
        "against `Wav2Vec2ForSequenceClassification`, and stock fairseq's wav2vec 2.0 with the head of ours. Batch "
        f"{args.batch} x {args.seconds:g} s"
    )
    steps(args, write, "Speech: fine-tuning step", f"{against}. {MASKS}", sides.MODELS)


def steps(
    args: argparse.Namespace, write: Callable, heading: str, setting: str, models: Mapping, **options: object
) -> None:
    """A training step of each of ``models`` in every precision."""
    rows = []
    flops = sides.step_flops(args.size, args.batch, args.seconds)
    options |= {"size": args.size, "batch": args.batch, "seconds": args.seconds}
    for precision in args.precisions.split(","):
        named = {
            name: lambda name=name, precision=precision: common.Side(
                sides.step_side, args.device, name=name, precision=precision, **options
            )
            for name in models
        }
        rows += compare(named, args, precision, flops, args.size)
        write(
            heading,
            f"Forward, backward and update, convolutions frozen; {setting} Median of {args.count} turns. {READING}",
            common.table(HEADER, rows),
        )


def make_clips(folder: Path, count: int, longest: float) -> list[float]:
    """Clips of 1 s to ``longest``, evenly drawn, with one of four labels; returns the seconds of each."""
    import soundfile

    from emofair.data.manifests import Utterance, write_corpus

    rng = np.random.default_rng(0)
    (folder / "wav").mkdir(parents=True)
    items = []
    for index in range(count):
        n = round(16000 * rng.uniform(1, longest))
        path = f"wav/clip{index:03d}.wav"
        soundfile.write(folder / path, 0.1 * rng.standard_normal(n), 16000, subtype="PCM_16")
        items.append(Utterance(f"clip{index:03d}", path, n_samples=n, label="abcd"[index % 4]))
    write_corpus(folder, {"train": items}, root=folder, name="noise")
    return [item.n_samples / 16000 for item in items]


def epoch(args: argparse.Namespace, write: Callable) -> None:
    """(c) An epoch over clips of many lengths, from audio and from the front-end cache."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "corpus"
        lengths = make_clips(folder, args.clips, args.longest)
        total = sum(lengths)
        for precision in args.precisions.split(","):
            options = {
                "folder": str(folder),
                "size": args.epoch_size,
                "precision": precision,
                "batch": args.epoch_batch,
            }
            runs = {
                "transformers, grouped by length": ("transformers", None),
                "ours": ("ours", None),
                "ours, front-end cache": ("ours", f"{temporary}/cache-{precision}"),
            }
            ceiling = ceiling_of(runs, precision, args.device)
            flops = sides.clip_flops(args.epoch_size, lengths, training=True)
            reference = None
            # One after another, large models fit into memory; several epochs of each take turns.
            for group in [list(runs)] if args.epochs > 1 else [[label] for label in runs]:
                finished = epochs_of(group, runs, args, options, ceiling)
                for label, (took, filled, count, padded, memory) in finished.items():
                    reference = reference or took
                    figures = [
                        f"{took:.1f}",
                        "" if label == "transformers, grouped by length" else f"**{reference / took:.2f}**",
                        "" if filled is None else f"{filled:.1f}",
                        str(count),
                        f"{1 - total / padded:.0%}",
                        ceiling.share(flops, took, computed_in(label, precision, args.device)),
                        f"{memory:.2f}",
                    ]
                    rows.append([args.epoch_size, precision, label, *figures])
                    print(" | ".join(rows[-1]), flush=True)
                header = ["model", "precision", "side", "epoch, s", "faster than transformers by", "filling, s"]
                many = (
                    f"Median of {args.epochs} whole epochs, in turns" if args.epochs > 1 else "One whole epoch per side"
                )
                write(
                    f"Speech: an epoch over clips of many lengths, {args.epoch_size} model",
                    f"{args.clips} clips of 1 to {args.longest:g} s ({total:.0f} s) read from disk, batches of "
                    f"{args.epoch_batch} clips on all sides, convolutions frozen; against "
                    f"`Wav2Vec2ForSequenceClassification` with `LengthGroupedSampler`. {many}. "
                    "The cache is filled once, before the first epoch; its row is an epoch that reads it, so the "
                    f"second and every later one. *padding*: share of padding in all batches. {MASKS} {READING}",
                    common.table([*header, "batches", "padding", "of GEMM", "GB"], rows),
                )


def epochs_of(
    group: list[str], runs: Mapping, args: argparse.Namespace, options: dict, ceiling: common.Ceiling
) -> dict[str, tuple]:
    """Seconds of an epoch and of filling the cache, batches, padded seconds and memory of each side in ``group``."""
    started = {
        label: common.Side(sides.epoch_side, args.device, name=runs[label][0], cache=runs[label][1], **options)
        for label in group
    }
    filled = {label: side.turn()[0] if runs[label][1] else None for label, side in started.items()}
    times = common.take_turns(started, args.epochs, ceiling, warm_up=0)
    found = {}
    for label, side in started.items():
        _, count, padded = side.result
        found[label] = times[label], filled[label], count, padded, side.close().total
    return found


def features(args: argparse.Namespace, write: Callable) -> None:
    """(d) Dumping features."""
    dump(args, write, "Speech: dumping features")


def dump(args: argparse.Namespace, write: Callable, heading: str, layer: int | None = None) -> None:
    """Dumping a layer: of HuBERT, or without ``layer`` the last one of wav2vec 2.0."""
    rows = []
    what = "The last layer" if layer is None else f"Layer {layer}"
    peer = (
        "`Wav2Vec2Model`" if layer is None else "`HubertModel` with `output_hidden_states`, which computes all layers"
    )
    count = max(1, args.clips // 4)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "corpus"
        lengths = make_clips(folder, count, args.longest)
        total = sum(lengths)
        for precision in args.precisions.split(","):
            out = Path(temporary) / precision
            out.mkdir()
            options = {"folder": str(folder), "out": str(out), "size": args.size, "precision": precision}
            options["layer"] = layer
            started = {
                name: common.Side(sides.features_side, args.device, name=name, **options)
                for name in ("ours", "transformers")
            }
            ceiling = ceiling_of(started, precision, args.device)
            flops = sides.clip_flops(args.size, lengths, training=False, layers=layer)
            times = common.take_turns(started, max(1, args.count // 2), ceiling)
            for name, side in started.items():
                ratio = f"**{times[name] / times['ours']:.2f}**" if name != "ours" else ""
                rate = [f"{count / times[name]:.2f}", f"{total / times[name]:.1f}"]
                share = ceiling.share(flops, times[name], computed_in(name, precision, args.device))
                rows.append([args.size, precision, name, *rate, ratio, share, f"{side.close().total:.2f}"])
                print(" | ".join(rows[-1]), flush=True)
            write(
                heading,
                f"{what} of {count} clips of 1 to {args.longest:g} s ({total:.0f} s), from audio files to "
                "float32 arrays on disk, in batches of at most 40 s of padded audio by length; ours is what `emofair "
                f"features` does, against {peer}. {READING}",
                common.table(
                    ["model", "precision", "side", "clips/s", "s of audio per s", "ours is faster by", "of GEMM", "GB"],
                    rows,
                ),
            )


def flea(args: argparse.Namespace, write: Callable) -> None:
    """FLEA: a fine-tuning step, a dump of layer 9, and the share of HuBERT's pre-training that waits for data."""
    setting = (
        f"HuBERT with attention pooling against `HubertModel` with the same on top. Batch {args.batch} x "
        f"{args.seconds:g} s. {FLEA_MASKS}"
    )
    steps(args, write, "FLEA: fine-tuning step", setting, sides.FLEA_MODELS, flea=True)
    dump(args, write, "FLEA: dumping layer 9", 9 if args.size in ("base", "large") else 2)
    waiting(args, write)


def waiting(args: argparse.Namespace, write: Callable) -> None:
    """How long the training waits for data."""
    workers, n_steps = 2, 4 * args.count
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "corpus"
        make_clips(folder, args.clips, args.longest)
        write_frame_labels(folder, k=50, splits=("train",))
        side = common.Side(
            sides.pretraining_side,
            args.device,
            folder=str(folder),
            labels=str(folder),
            size=args.size,
            max_tokens=args.max_tokens,
            workers=workers,
        )
        _, (total, waited) = side.turn(n_steps)
        side.close()
    row = [args.size, f"{total / n_steps:.2f}", f"{1000 * waited / n_steps:.1f}", f"{waited / total:.2%}"]
    print(" | ".join(row), flush=True)
    write(
        "FLEA: pre-training, waiting for data",
        f"{n_steps} steps of stock fairseq's `hubert_pretraining` in fp32, at most {args.max_tokens / 16000:g} s in a "
        f"batch, out of {args.clips} clips of 1 to {args.longest:g} s, {workers} processes that read.",
        common.table(["model", "s per step", "of it waiting, ms", "share"], [row]),
    )


SECTIONS = {"frontend": frontend, "step": step, "epoch": epoch, "features": features, "flea": flea}


def main() -> None:
    """Run the sections that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--size", default="base", help="encoder: tiny, small, base, large")
    parser.add_argument("--epoch-size", default="base", help="encoder of the epoch over 200 clips")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--count", type=int, default=5, help="turns per side, after one to warm up")
    parser.add_argument("--clips", type=int, default=200, help="clips of the epoch; a quarter of them for features")
    parser.add_argument("--longest", type=float, default=12.0, help="seconds of the longest clip")
    parser.add_argument("--epoch-batch", type=int, default=8, help="clips per batch of the epoch")
    parser.add_argument("--max-tokens", type=int, default=350_000, help="samples in a batch of FLEA's pre-training")
    parser.add_argument("--epochs", type=int, default=1, help="epochs per side; with more than one they take turns")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="smoke test: small models, few clips, nothing written")
    parser.add_argument("--out", help=f"page of results (default: {common.RESULTS.name} beside this script)")
    args = parser.parse_args()
    if args.quick:
        args.size = args.epoch_size = "small"
        args.seconds, args.count, args.clips, args.longest = 1.0, 2, 16, 2.0
    elif args.out is None:
        args.out = common.RESULTS
    unknown = set(args.only.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"--only {','.join(sorted(unknown))}: choose from {', '.join(SECTIONS)}")

    def write(heading: str, *parts: str) -> None:
        common.write_section(args.out, heading, common.written_by(args.device), *parts)

    for name in args.only.split(","):
        SECTIONS[name](args, write)


if __name__ == "__main__":
    main()
