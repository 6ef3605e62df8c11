"""Rewrite a checkpoint of another program, so that every command here takes it.

    emofair convert original_checkpoint_best.pt --to fairseq --out checkpoint_best.pt

Known inputs: fine-tuned checkpoints of the original robertaEMO code (arXiv 2008.06682). The result needs no pretrained
file beside it: evaluate, predict and fairseq-validate read it.
"""

from __future__ import annotations

import argparse

HELP = "a checkpoint of the original robertaEMO -> one that every command here takes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("input", metavar="INPUT", help="checkpoint to read; nothing in it is run")
    parser.add_argument("--to", choices=("fairseq",), required=True, help="form to write")
    parser.add_argument("--out", metavar="FILE", required=True, help="file to write")
    parser.add_argument("--text-heads", metavar="N", type=int, help="attention heads of the text encoder (width / 64)")
    parser.add_argument("--speech-heads", metavar="N", type=int, help="those of the speech encoder (width / 64)")


def run(args: argparse.Namespace) -> int:
    """Write the checkpoint and say what it is."""
    import emofair

    emofair.register()
    from emofair.checkpoints.to_fairseq import convert_robertaemo

    facts = convert_robertaemo(args.input, args.out, text_heads=args.text_heads, speech_heads=args.speech_heads)
    parts = " + ".join(facts["modalities"]) + (f" by {facts['fusion']}" if facts["fusion"] else "")
    print(
        f"emofair convert: {args.out}: robertaEMO, {parts}, target {facts['target']}; what its training saw of the "
        f"test set is unknown, so its results are marked protocol {facts['protocol']}"
    )
    return 0
