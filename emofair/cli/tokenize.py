"""Speech -> vq-wav2vec codes and text -> BPE ids, in the layout that robertaEMO trains on.

The manifest is a folder that `emofair prepare` wrote, or a tab-separated list with the columns id, wav,
text, label, split. OUT/T_data gets the lists, sizes and labels, OUT/raw the token files. Run again, it goes
on where it stopped. Utterances that cannot be tokenised are left out and listed in OUT/problems.tsv.

    emofair tokenize --manifest corpus/ --ssl-dir pretrained_ssl --out tokens --target iemocap
    fairseq-train --user-dir emofair --task emotion_prediction --data tokens/T_data --data-raw tokens/raw ...
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofair.cli import disjoint
from emofair.cli.outputs import check_folder
from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.units.token_jobs import Item, Problem
    from emofair.units.token_manifests import Result

HELP = "speech and text to the token ids that robertaEMO trains on"
MODES = {"all": ("text", "audio_token"), "speech": ("audio_token",), "text": ("text",), "tokens": ("audio_token",)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``emofair tokenize``."""
    parser.add_argument("--manifest", required=True, metavar="FILE|DIR", help="list of utterances, or prepared corpus")
    parser.add_argument("--out", required=True, metavar="DIR", help="gets T_data/, raw/ and problems.tsv")
    parser.add_argument(
        "--ssl-dir", metavar="DIR", help="pretrained models (default: $EMOFAIR_SSL_DIR, then ./pretrained_ssl)"
    )
    parser.add_argument("--mode", choices=sorted(MODES), default="all", help="speech (= tokens), text, or all of it")
    parser.add_argument(
        "--target",
        choices=("iemocap", "meld", "mos", "regression"),
        help="labels to check and write; default: emotions, or sentiment scores where there are only these",
    )
    parser.add_argument("--vq-wav2vec", metavar="FILE", help="vq-wav2vec checkpoint, instead of the one in --ssl-dir")
    parser.add_argument("--speech-bert-path", metavar="PATH", help="Speech-BERT; its dict.txt is enough")
    parser.add_argument("--text-roberta-path", metavar="PATH", help="RoBERTa; dict.txt and BPE files are enough")
    parser.add_argument("--root", metavar="DIR", help="what the paths of a list are relative to (default: its folder)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--nshard", type=int, default=1, metavar="N", help="number of processes that share the work")
    parser.add_argument("--rank", type=int, default=0, metavar="R", help="which of them this is, from 0")
    parser.add_argument(
        "--resample",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="resample audio that is not at 16 kHz (default), or leave it out",
    )
    parser.add_argument("--max-seconds", type=float, default=600.0, metavar="S", help="leave out longer clips")
    parser.add_argument(
        "--max-unknown", type=float, default=1.0, metavar="PERCENT", help="most unknown tokens before it is an error"
    )
    parser.add_argument("--allow-overlap", action="store_true", help=disjoint.HELP)
    parser.add_argument("--strict", action="store_true", help="exit with 1 when problems.tsv has any row")


def run(args: argparse.Namespace) -> int:
    """Tokenise; return 0, or 1 with ``--strict`` and problems."""
    if not 0 <= args.rank < args.nshard:
        raise EmofairError(f"--rank {args.rank} is not from 0 to {args.nshard - 1}, below --nshard {args.nshard}")
    kinds, out = MODES[args.mode], check_folder(args.out)
    items, problems = _read_items(args, kinds)
    from emofair.units import token_jobs, token_manifests
    from emofair.units.token_store import TokenStore

    items, unusable = token_manifests.usable(items)
    if not items:
        raise EmofairError(f"no utterance is usable ({unusable[0].what})", file=args.manifest)
    _check_has(items, kinds)
    if not _was_prepared(args.manifest):
        _check_disjoint(items, kinds, args.allow_overlap)
    store = TokenStore(out / "raw")
    tokenizers, made_with = _tokenizers(args, kinds)
    for kind in kinds:
        if not store.is_claimed(kind):
            token_jobs.probe(items, kind, tokenizers[kind], max(token_jobs.PROBE_LIMIT, args.max_unknown))
    for kind in kinds:
        store.claim(kind, made_with[kind])
    options = {"resample": args.resample, "max_seconds": args.max_seconds}
    request = {**options, "kinds": kinds, "made_with": made_with, "target": args.target}
    parts = token_manifests.Parts.of(out, args.nshard, items, **request)
    mine = items[args.rank :: args.nshard]
    found, counts = token_jobs.tokenize_part(mine, store, tokenizers, **options)
    parts.save(args.rank, found, counts)
    if waiting := parts.missing():
        ranks = ", ".join(map(str, waiting))
        print(f"emofair tokenize: part {args.rank} done; the manifests follow after rank {ranks} of {args.nshard}")
        return 1 if args.strict and found else 0
    everything, counts = parts.collect()
    kinds = [kind for kind in MODES["all"] if kind in kinds or store.has(kind)]
    result = token_manifests.gather(store, items, kinds, args.target, everything, counts)
    for kind in kinds:
        unknown, total = (result.counts[f"{kind} {what}"] for what in ("unknown", "tokens"))
        token_jobs.check_unknown(kind, unknown, total, args.max_unknown)
    result.problems[:0] = [*problems, *unusable]
    token_manifests.write_manifests(out, result)
    _summarise(out, kinds, result)
    return 1 if args.strict and result.problems else 0


def _read_items(args: argparse.Namespace, kinds: tuple[str, ...]) -> tuple[list[Item], list[Problem]]:
    from emofair.corpora import tsv
    from emofair.data.manifests import read_split, splits_of
    from emofair.units.token_jobs import Problem

    manifest = Path(args.manifest)
    if manifest.is_dir():
        splits = {split: read_split(manifest, split) for split in splits_of(manifest)}
        problems = []
        if not splits:
            raise EmofairError("no manifests in this folder", file=manifest, remedy="Make them with emofair prepare")
    elif manifest.is_file():
        source = tsv.read(manifest, root=args.root, audio="audio_token" in kinds)
        splits = source.splits
        problems = [Problem("", "", f"{manifest}:{bad.row}", bad.what) for bad in source.problems]
        if not splits:
            raise source.problems[0]
    else:
        raise EmofairError("no such file or folder", file=manifest, remedy="Name a list or a prepared corpus")
    return [(split, utterance) for split, items in splits.items() for utterance in items], problems


def _was_prepared(manifest: str) -> bool:
    """Whether `prepare` wrote the manifest, and so has looked for what its splits share."""
    from emofair.data.manifests import read_corpus

    return bool(read_corpus(manifest))


def _check_disjoint(items: list[Item], kinds: tuple[str, ...], allow: bool) -> None:
    from emofair.corpora import Source
    from emofair.corpora.measure import measure

    splits: dict[str, list] = {}
    for split, utterance in items:
        # Text alone needs no audio, and then nobody vouches for what is there.
        if "audio_token" not in kinds:
            utterance = dataclasses.replace(utterance, path="")
        splits.setdefault(split, []).append(utterance)
    if len(splits) < 2:
        return
    # Unusable audio leaves this copy; it becomes a row of problems.tsv later.
    with contextlib.suppress(EmofairError):
        audible = Source("list", "", {split: [u for u in each if u.has_audio] for split, each in splits.items()})
        measure(audible, resample=True, progress=True)
    disjoint.refuse_overlap(splits, allow=allow, skip_bad=True)


def _check_has(items: list[Item], kinds: tuple[str, ...]) -> None:
    if "audio_token" in kinds and not any(utterance.has_audio for _, utterance in items):
        raise EmofairError("no utterance of this corpus has audio", remedy="Use --mode text")
    if "text" in kinds and not any(utterance.text for _, utterance in items):
        raise EmofairError("no utterance of this corpus has a text", remedy="Use --mode speech")


def _tokenizers(args: argparse.Namespace, kinds: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """The tokenizers by kind, and for each kind what it was made with."""
    import emofair

    emofair.register()
    from emofair.checkpoints.ssl_dir import locate
    from emofair.units.bpe import ENCODER_JSON, SENTENCEPIECE, VOCAB_BPE, TextTokenizer
    from emofair.units.token_store import fingerprint
    from emofair.units.vq_wav2vec import SpeechTokenizer

    tokenizers: dict[str, Any] = {}
    made_with: dict[str, dict[str, str]] = {}
    if "audio_token" in kinds:
        vq_wav2vec = locate("vq_wav2vec", ssl_dir=args.ssl_dir, path=args.vq_wav2vec)
        dictionary = _folder(locate("speech_bert", ssl_dir=args.ssl_dir, path=args.speech_bert_path)) / "dict.txt"
        tokenizers["audio_token"] = SpeechTokenizer(vq_wav2vec, dictionary, device=args.device)
        files = {"vq-wav2vec": vq_wav2vec, "dict.txt": dictionary}
        made_with["audio_token"] = {name: fingerprint(file) for name, file in files.items()}
    if "text" in kinds:
        folder = _folder(locate("text_roberta", ssl_dir=args.ssl_dir, path=args.text_roberta_path))
        tokenizers["text"] = TextTokenizer.from_dir(folder)
        names = [name for name in (ENCODER_JSON, VOCAB_BPE, SENTENCEPIECE, "dict.txt") if (folder / name).is_file()]
        made_with["text"] = {name: fingerprint(folder / name) for name in names}
    return tokenizers, made_with


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _summarise(out: Path, kinds: list[str], result: Result) -> None:
    counts, skipped = result.counts, [p for p in result.problems if not p.kept]
    for split, rows in result.rows.items():
        if not rows:
            print(f"emofair tokenize: nothing is left of split {split}", file=sys.stderr)
    sizes = ", ".join(f"{split} {len(rows)}" for split, rows in result.rows.items())
    told = [f"{sum(map(len, result.rows.values()))} utterances ({sizes})"]
    for kind, name, unit in (("audio_token", "speech", "codes"), ("text", "text", "pieces")):
        if kind in kinds:
            unknown = 100 * counts[f"{kind} unknown"] / max(1, counts[f"{kind} tokens"])
            told.append(f"{name}: {counts[f'{name} made']} made, {counts[f'{name} found']} were there")
            told.append(f"{unknown:.2f} % unknown {unit}, {counts[f'{kind} long']} over {_longest(kind)} tokens")
    told.append(f"{counts['resampled']} resampled")
    told.append(f"{len(skipped)} skipped, {len(result.problems) - len(skipped)} kept with a note")
    if result.problems:
        told.append(f"see {out / 'problems.tsv'}")
    print(f"emofair tokenize: {'; '.join(told)}")


def _longest(kind: str) -> int:
    from emofair.units.token_manifests import LONGEST

    return LONGEST[kind]
