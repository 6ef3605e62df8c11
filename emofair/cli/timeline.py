"""Emotion over the time of one recording, with a fine-tuned waveform model.

    emofair timeline --checkpoint checkpoint_best.pt talk.wav --out timelines
    emofair timeline --checkpoint checkpoint_best.pt talk.wav --out timelines --kmeans km50.npz --clusters clusters.json
    emofair timeline --checkpoint checkpoint_best.pt talk.wav --out timelines --window-seconds 10

OUT gets talk.timeline.json and talk.timeline.csv (of every 20 ms: attention, posteriors, and the contribution to the
logit of each class; contributions add up to the logits exactly), talk.TextGrid (segments of one emotion, for Praat)
and talk.timeline.png. --kmeans adds the cluster of every frame, --clusters what emotions `emofair clusters` found
in it. It works for models that pool by attention or mean: `emofair.inference.timeline` says why.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emofair.cli.outputs import check_folder
from emofair.errors import EmofairError, MissingExtra

if TYPE_CHECKING:
    from emofair.inference.timeline import Timeline

WINDOW_HELP = "longer recordings in overlapping windows (default: as evaluated in training)"
HELP = "one recording -> emotion, attention and contributions of every frame"

ENDINGS = {"png": ".timeline.png", "textgrid": ".TextGrid", "csv": ".timeline.csv", "json": ".timeline.json"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("recording", metavar="FILE", help="audio file")
    parser.add_argument("--checkpoint", required=True, help="fine-tuned checkpoint of the task speech_emotion")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--formats", metavar="F[,F...]", help=f"which of {','.join(reversed(ENDINGS))} to write (default: all)"
    )
    parser.add_argument("--no-picture", action="store_true", help="leave png out")
    parser.add_argument(
        "--smooth",
        default="median",
        choices=("median", "viterbi", "none"),
        help="how frames are decided from their posteriors (default: median)",
    )
    parser.add_argument("--smooth-width", metavar="N", type=int, default=5, help="frames of the median (default: 5)")
    parser.add_argument(
        "--switch-penalty",
        metavar="X",
        type=float,
        default=3.0,
        help="what a change of emotion costs viterbi, in nats (default: 3)",
    )
    parser.add_argument("--window-seconds", metavar="S", type=float, help=WINDOW_HELP)
    parser.add_argument(
        "--hop-seconds", metavar="S", type=float, help="step from window to window (default: half a window)"
    )
    parser.add_argument("--kmeans", metavar="FILE", help="what emofair kmeans wrote: adds the cluster of every frame")
    parser.add_argument(
        "--clusters",
        metavar="FILE.json",
        help="what emofair clusters wrote on that k-means: adds P(emotion | cluster) of every frame",
    )
    parser.add_argument(
        "--features-layer", metavar="N", type=int, help="layer of the k-means (default: the one it was fitted on)"
    )
    parser.add_argument(
        "--features-checkpoint", metavar="CKPT", help="encoder of the k-means (default: that of --checkpoint)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Write the files; 0 when all of them are there."""
    out = check_folder(args.out)
    formats = chosen_formats(args)
    paths = {name: out / f"{Path(args.recording).stem}{ENDINGS[name]}" for name in formats}
    import emofair
    from emofair.inference.prediction import resampling
    from emofair.reports import timeline_files

    timeline_files.check_json_may_go(out / f"{Path(args.recording).stem}{ENDINGS['json']}", args.recording)
    if "textgrid" in paths:
        timeline_files.check_textgrid_may_go(paths["textgrid"])

    options = {} if args.window_seconds is None else {"window_seconds": args.window_seconds}
    model = emofair.load(args.checkpoint, device=args.device, **options)
    if not hasattr(model, "timeline"):
        raise EmofairError(
            f"models of the task {model.facts['task']!r} have no timeline",
            file=args.checkpoint,
            remedy="Give one of the task 'speech_emotion'",
        )
    timeline = model.timeline(
        args.recording,
        hop_seconds=args.hop_seconds,
        smooth=args.smooth,
        width=args.smooth_width,
        penalty=args.switch_penalty,
        kmeans=args.kmeans,
        features_layer=args.features_layer,
        features_checkpoint=args.features_checkpoint,
        cluster_report=args.clusters,
    )
    if note := resampling([args.recording]):
        print(f"emofair: note: {note}", file=sys.stderr)
    if (judged := timeline.facts["judged_seconds"]) is not None:
        print(
            f"emofair: note: {args.recording}: emofair evaluate and predict judge the first {judged:g} s alone, as the "
            f"model was trained to be; the timeline is of all {timeline.seconds:.2f} s",
            file=sys.stderr,
        )
    out.mkdir(parents=True, exist_ok=True)
    write(paths, timeline, args)
    share = timeline.probabilities.max()
    print(
        f"emofair timeline: {args.recording}: {timeline.label} ({share:.3f}), {timeline.seconds:.2f} s, "
        f"{len(timeline.times)} frames, {len(timeline.segments)} segments; "
        f"written: {', '.join(path.name for path in paths.values())} in {out}"
    )
    return 0


def chosen_formats(args: argparse.Namespace) -> list[str]:
    """Formats to write, in the order of `ENDINGS`: the JSON, which completes the others, is the last.

    Without matplotlib there is no picture, which a note tells; where it was asked for by name, that is an error.
    """
    formats = list(ENDINGS) if args.formats is None else args.formats.split(",")
    if unknown := [name for name in formats if name not in ENDINGS]:
        raise EmofairError(f"--formats {unknown[0]} is not known", remedy=f"Choose of {', '.join(reversed(ENDINGS))}")
    if args.no_picture:
        formats = [name for name in formats if name != "png"]
    if not formats:
        raise EmofairError("nothing is left to write", remedy="Leave out --no-picture, or name another of --formats")
    if "png" in formats:
        from emofair.reports.plots import require_matplotlib

        try:
            require_matplotlib()
        except MissingExtra as error:
            if args.formats is not None:
                raise
            print(f"emofair: note: no picture: {error}", file=sys.stderr)
            formats.remove("png")
    return [name for name in ENDINGS if name in formats]


def write(paths: dict[str, Path], timeline: Timeline, args: argparse.Namespace) -> None:
    """Write ``timeline`` in every format of ``paths``."""
    from emofair.inference import provenance
    from emofair.reports import timeline_files

    if "png" in paths:
        from emofair.reports.timeline_picture import draw_timeline

        draw_timeline(paths["png"], timeline)
    if "textgrid" in paths:
        timeline_files.write_textgrid_of(paths["textgrid"], timeline)
    if "csv" in paths:
        timeline_files.write_csv(paths["csv"], timeline)
    if "json" in paths:
        facts = {
            "checkpoint": args.checkpoint,
            "checkpoint_sha256": provenance.file_sha256(args.checkpoint),
            "versions": provenance.versions(),
        }
        timeline_files.write_json(paths["json"], timeline, **facts)
