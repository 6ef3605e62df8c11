"""Clips of a manifest -> frame features of a speech encoder, or MFCCs, as arrays on disk.

OUT gets, per shard, {split}_{rank}_{nshard}.npy (frames of all clips, in the manifest's order), .len (frames per clip)
and .json (checkpoint hash, layer, hash of the list ...). Killed and run again, it goes on where it stopped; run again
when all is there, it does nothing, unless size or time of an audio file changed: then it dumps anew. Masks and dropout
are off. Each shard has batches of its own, so shards equal one dump up to float noise (about 1e-6).

    emofair features --checkpoint hubert_base_ls960.pt --layer 9 --manifest corpus --split train --out features
    emofair features --checkpoint wav2vec_large.pt --manifest corpus --split train --out context
    emofair features --features mfcc --manifest corpus --split train --out mfcc --nshard 4 --rank 0
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emofair.cli.outputs import check_folder
from emofair.errors import EmofairError

HELP = "speech -> frame features of an encoder's layer, on disk"
KINDS = ("encoder", "mfcc")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``emofair features``."""
    parser.add_argument("--checkpoint", metavar="CKPT", help="speech encoder: fairseq file, Hugging Face folder ...")
    parser.add_argument("--manifest", required=True, metavar="DIR", help="prepared corpus")
    parser.add_argument("--split", required=True, metavar="S", help="which of its splits")
    parser.add_argument("--out", required=True, metavar="DIR", help="gets the arrays, about 11 MB a minute (base size)")
    parser.add_argument(
        "--layer",
        type=int,
        metavar="N",
        help="1 to the number of layers; 0: what the first reads (default: the last; of a wav2vec of 2019 its context)",
    )
    parser.add_argument("--features", choices=KINDS, default="encoder", help="what to extract (default: encoder)")
    parser.add_argument("--relu", action="store_true", help="negative values become 0, as FT-w2v2-ser clusters them")
    parser.add_argument("--nshard", type=int, default=1, metavar="N", help="number of processes that share the split")
    parser.add_argument("--rank", type=int, default=0, metavar="R", help="which of them this is, from 0")
    parser.add_argument("--float16", action="store_true", help="store 16-bit numbers: half the disk")
    parser.add_argument(
        "--batch-seconds", type=float, default=40.0, metavar="X", help="padded audio at once (default: 40; GPU: more)"
    )
    parser.add_argument(
        "--max-seconds", type=float, metavar="X", help="cut longer clips into windows, without context across the cuts"
    )
    parser.add_argument("--resample", action="store_true", help="accept audio that is not at 16 kHz")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--autocast-bf16", action="store_true", help="compute in bfloat16 where it is safe: faster")


def run(args: argparse.Namespace) -> int:
    """Dump one shard; 0 when it is whole."""
    if args.nshard < 1:
        raise EmofairError(f"--nshard {args.nshard}: there must be at least 1 shard")
    if not 0 <= args.rank < args.nshard:
        raise EmofairError(f"--rank {args.rank} is not from 0 to {args.nshard - 1}, below --nshard {args.nshard}")
    for name in ("batch_seconds", "max_seconds"):
        value = getattr(args, name)
        if value is not None and not 0.1 <= value <= 1e6:
            raise EmofairError(f"--{name.replace('_', '-')} {value:g} is not a time", remedy="Give 0.1 or more seconds")
    out = check_folder(args.out)
    from emofair.data.manifests import read_corpus, read_split

    items = read_split(args.manifest, args.split)
    import emofair

    emofair.register()
    from emofair.units.extractors import Options, open_extractor
    from emofair.units.feature_dump import DumpOptions, dump_shard

    extractor = open_extractor(
        args.features, Options(args.checkpoint, args.layer, args.relu, args.device, args.autocast_bf16)
    )
    options = DumpOptions(
        batch_seconds=args.batch_seconds,
        max_seconds=args.max_seconds,
        float16=args.float16,
        resample=args.resample or bool(read_corpus(args.manifest).get("resample")),
    )
    dumped = dump_shard(
        extractor,
        items,
        out,
        args.split,
        rank=args.rank,
        nshard=args.nshard,
        options=options,
        report=lambda line: print(f"emofair features: note: {line}", file=sys.stderr),
        checkpoint=args.checkpoint,
        manifest=str(Path(args.manifest).resolve()),
    )
    shard = "" if args.nshard == 1 else f", shard {args.rank} of {args.nshard}"
    what = "dumped" if dumped.made else "were there already"
    print(
        f"emofair features: {args.split}{shard}: {dumped.n_frames} frames of {extractor.dim} numbers, "
        f"{dumped.n_clips} clips: {what}"
    )
    return 0
