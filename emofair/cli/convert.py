"""Rewrite a checkpoint of another program, so that the commands here, fairseq or transformers take it.

    emofair convert original_checkpoint_best.pt --to fairseq --out checkpoint_best.pt
    emofair convert wav2vec2-base/ --to fairseq --out wav2vec2_base.pt
    emofair convert hubert_base_ls960.pt --to hf --out hubert-base/
    emofair convert hubert_base_ls960.pt --to fairseq --reset-labels 50 --out hubert_base_50.pt
    emofair convert flea/checkpoint_best.pt --to hf --heads --out flea-hubert/
    emofair convert hubert_base_ls960_L9_km500.bin --to npy --out km500.npy

Known inputs: fine-tuned checkpoints of the original robertaEMO code (arXiv 2008.06682), to fairseq; wav2vec 2.0, HuBERT
and WavLM of fairseq, Microsoft, Hugging Face, torchaudio and FT-w2v2-ser, to fairseq (a file) or hf (a folder for
transformers). Weights come out bit for bit; what has no place in the other form is listed. --reset-labels gives a
HuBERT a new, random table of label embeddings, for fairseq's hubert_pretraining to go on with other cluster ids
(--finetune-from-model): ids of another clustering mean something else even where there are as many. With several K
(50,200) there are several sets of labels at once, task.labels=[km50,km200]. --heads keeps what
a HuBERT has on top, under the names of FLEA's original code (arXiv 2312.16383) in Hugging Face folders: of pre-training
the label embeddings, of fine-tuning the classifier, which --to fairseq makes a checkpoint for the commands here. --to
npy is for a pickled k-means of scikit-learn: its centroids, as every command here reads them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emofair.errors import EmofairError

_UNKNOWN = "what its training saw of the test set is unknown, so its results are marked"
_MOST_LABELS = 1_000_000
HELP = "checkpoints of other programs -> ours; speech encoders: fairseq <-> Hugging Face"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("input", metavar="INPUT", help="checkpoint file or Hugging Face folder to read; nothing is run")
    parser.add_argument("--to", choices=("fairseq", "hf", "npy"), required=True, help="form to write")
    parser.add_argument("--out", metavar="PATH", required=True, help="file to write, or folder with --to hf")
    parser.add_argument("--text-heads", metavar="N", type=int, help="attention heads of the text encoder (width / 64)")
    parser.add_argument(
        "--speech-heads", metavar="N", type=int, help="those of the speech encoder, if it does not tell"
    )
    parser.add_argument(
        "--reset-labels", metavar="K[,K...]", help="HuBERT to fairseq: forget its labels, expect K others (of each set)"
    )
    parser.add_argument(
        "--keep-final-proj", action="store_true", help="with --reset-labels: keep the projection in front of them"
    )
    parser.add_argument(
        "--heads", action="store_true", help="HuBERT: keep label embeddings or classifier, as FLEA's original code does"
    )
    parser.add_argument("--seed", metavar="S", type=int, default=1, help="of --reset-labels (default: 1)")
    parser.add_argument(
        "--trust", action="store_true", help="let INPUT run code of its own; only if you trust who made it"
    )


def run(args: argparse.Namespace) -> int:
    """Write the checkpoint and say what it is."""
    import emofair

    emofair.register()
    _check_out(args)
    if args.to == "npy":
        told = _kmeans(args)
    elif _is_robertaemo(args.input, args.trust or None):
        told = _robertaemo(args)
    elif args.heads and args.to == "fairseq" and _is_flea_classifier(args.input, args.trust or None):
        told = _flea_classifier(args)
    else:
        told = _speech_encoder(args)
    print(f"emofair convert: {args.out}: {told}")
    return 0


def _check_out(args: argparse.Namespace) -> None:
    """Raise EmofairError where ``--out`` would take the place of INPUT, or of a file that is no checkpoint."""
    from emofair.checkpoints import safe

    given, out = Path(args.input).resolve(), Path(args.out).resolve()
    if out.exists() and given in (out, *out.parents):
        raise EmofairError("would overwrite what is converted", file=args.out, remedy="Give another --out")
    if args.to != "fairseq" or not out.is_file():
        return
    try:
        known = "model" in safe.load(out, weights=False)
    except EmofairError:
        known = False
    if not known:
        raise EmofairError("is there already, and no checkpoint", file=args.out, remedy="Give another --out")


def _is_robertaemo(path: str, trust: bool | None) -> bool:
    from emofair.checkpoints import safe
    from emofair.checkpoints.robertaemo import BRANCHES

    if Path(path).is_dir() or Path(path).suffix == ".safetensors":
        return False
    weights = safe.load(path, trust=trust, weights=False).get("model")
    return isinstance(weights, dict) and any(str(name).startswith(tuple(BRANCHES.values())) for name in weights)


def _robertaemo(args: argparse.Namespace) -> str:
    from emofair.checkpoints.to_fairseq import convert_robertaemo

    if args.to != "fairseq":
        raise EmofairError("a robertaEMO has no form in transformers", file=args.input, remedy="Use --to fairseq")
    heads = {"text_heads": args.text_heads, "speech_heads": args.speech_heads}
    facts = convert_robertaemo(args.input, args.out, **heads, trust=args.trust or None)
    parts = " + ".join(facts["modalities"]) + (f" by {facts['fusion']}" if facts["fusion"] else "")
    return f"robertaEMO, {parts}, target {facts['target']}; {_UNKNOWN} protocol {facts['protocol']}"


def _kmeans(args: argparse.Namespace) -> str:
    import numpy as np

    from emofair.cli.outputs import check_folder
    from emofair.units.kmeans import load_kmeans

    out = Path(args.out)
    if out.suffix != ".npy":
        raise EmofairError("centroids are a .npy file", file=out, remedy="Give --out a name that ends in .npy")
    kmeans = load_kmeans(args.input, allow_pickle=True)
    check_folder(out.parent).mkdir(parents=True, exist_ok=True)
    np.save(out, kmeans.centroids)
    return f"{kmeans.k} centroids of width {kmeans.dim}; which features they were fitted on is not known"


def _is_flea_classifier(path: str, trust: bool | None) -> bool:
    from emofair.checkpoints import flea, huggingface_folder

    if Path(path).name in (huggingface_folder.SAFETENSORS, huggingface_folder.BIN):
        path = str(Path(path).parent)
    return Path(path).is_dir() and flea.is_classifier(huggingface_folder.read(path, trust=trust).head)


def _flea_classifier(args: argparse.Namespace) -> str:
    from emofair.checkpoints.to_fairseq import convert_flea_classifier

    _new_labels(args)  # that none are asked for
    facts = convert_flea_classifier(args.input, args.out, trust=args.trust or None)
    return f"classifier of FLEA, classes {', '.join(facts['classes'])}; {_UNKNOWN} protocol {facts['protocol']}"


def _speech_encoder(args: argparse.Namespace) -> str:
    from emofair.checkpoints import flea, huggingface_folder, speech_to_fairseq
    from emofair.checkpoints.loaded_speech import listing
    from emofair.checkpoints.speech import load_speech_encoder
    from emofair.checkpoints.trained_on import trained_on

    labels = _new_labels(args)
    loaded = load_speech_encoder(args.input, attention_heads=args.speech_heads, trust=args.trust or None)
    facts = trained_on(args.input, args.trust or None) or {}
    if args.to == "hf":
        kept = flea.head_of(loaded, args.trust or None) if args.heads else {}
        pretraining = {} if args.heads else loaded.pretraining
        left_out = huggingface_folder.write(
            args.out, loaded.spec, loaded.state, pretraining, loaded.options, trained_on=facts, **kept
        )
        new = []
    else:
        written = speech_to_fairseq.write(loaded, args.out, labels=labels, keep_labels=args.heads, facts=facts)
        left_out, new = written.left_out, written.new
    spec = loaded.spec
    size = sum(value.numel() for value in loaded.state.values()) / 1e6
    told = [f"{spec.kind} from {loaded.source}, {spec.layers} layers of width {spec.embed_dim}, {size:.1f} M weights"]
    if left_out:
        told.append(f"left out: {listing(left_out)}")
    if new:
        told.append(f"random, for the input has none: {listing(new)}")
    return "; ".join(told)


def _new_labels(args: argparse.Namespace):
    from emofair.checkpoints.speech_to_fairseq import NewLabels

    if args.reset_labels is None:
        if args.keep_final_proj:
            raise EmofairError("--keep-final-proj does nothing without --reset-labels K")
        return None
    if args.to != "fairseq":
        raise EmofairError("--reset-labels is for fairseq's pre-training", remedy="Use --to fairseq")
    if args.heads:
        raise EmofairError("--reset-labels and --heads exclude each other", remedy="Give one of them")
    try:
        sizes = tuple(map(int, args.reset_labels.split(",")))
    except ValueError:
        raise EmofairError(
            f"--reset-labels {args.reset_labels}: not numbers of labels",
            remedy="Give one, as 50, or several, as 50,200",
        ) from None
    if min(sizes) < 2:
        raise EmofairError(f"--reset-labels {args.reset_labels}: nothing can be told apart", remedy="Give 2 or more")
    if sum(sizes) > _MOST_LABELS:
        raise EmofairError(
            f"--reset-labels {args.reset_labels}: too many", remedy=f"Give {_MOST_LABELS:,} or less in all"
        )
    if len(sizes) > 1 and args.keep_final_proj:
        raise EmofairError("--keep-final-proj: several sets of labels have several projections", remedy="Leave it out")
    return NewLabels(sizes, args.keep_final_proj, args.seed)
