"""Predict the emotion or sentiment of recordings with a fine-tuned checkpoint.

    emofair predict --checkpoint checkpoint_best.pt --ssl-dir pretrained_ssl --text "I told you so!" clip.wav
    emofair predict --checkpoint checkpoint_best.pt --manifest corpus/ --split test --format csv

Inputs are audio files, folders of them, or a split of a prepared corpus, which brings the transcripts.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from emofair.errors import EmofairError

HELP = "files, a folder or a prepared corpus -> labels with probabilities"

AUDIO = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
BATCH = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("inputs", nargs="*", metavar="FILE", help="audio files or folders of them")
    parser.add_argument("--checkpoint", required=True, help="fine-tuned checkpoint")
    parser.add_argument("--text", action="append", help="transcript; once per file, in their order")
    parser.add_argument("--manifest", help="prepared corpus to read instead of files")
    parser.add_argument("--split", default="test", help="split of --manifest (default: test)")
    parser.add_argument("--format", choices=("table", "csv", "jsonl"), default="table", help="form of the output")
    parser.add_argument("--ssl-dir", help="folder of the pretrained models, for their tokenisers")
    parser.add_argument("--vq-wav2vec", help="vq-wav2vec checkpoint, if not in --ssl-dir")
    parser.add_argument("--speech-bert-path", help="folder with Speech-BERT's dict.txt, if not in --ssl-dir")
    parser.add_argument("--text-roberta-path", help="folder with RoBERTa's dict.txt and BPE, if not in --ssl-dir")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")


def run(args: argparse.Namespace) -> int:
    """Print one prediction per input; 1 when an input could not be read."""
    names, wavs, texts = find_inputs(args)
    import emofair

    model = emofair.load(
        args.checkpoint,
        device=args.device,
        ssl_dir=args.ssl_dir,
        vq_wav2vec=args.vq_wav2vec,
        speech_bert_path=args.speech_bert_path,
        text_roberta_path=args.text_roberta_path,
    )
    model.open_tokenizers()
    write = {"table": write_table, "csv": write_csv, "jsonl": write_jsonl}[args.format]
    done, problems = [], 0
    from tqdm import tqdm

    with tqdm(total=len(names), unit="clip", disable=len(names) < 2 * BATCH or None, file=sys.stderr) as bar:
        for start in range(0, len(names), BATCH):
            end = start + BATCH
            results, failed = predict_batch(model, names[start:end], wavs[start:end], texts[start:end])
            done += zip(names[start:end], results, strict=True)
            problems += failed
            bar.update(len(results))
    write(done)
    if problems:
        print(f"emofair: {problems} of {len(names)} inputs could not be predicted", file=sys.stderr)
    return 1 if problems else 0


def find_inputs(args: argparse.Namespace) -> tuple[list[str], list, list[str | None]]:
    """Names, audio (paths or utterances) and transcripts of everything asked for."""
    if args.manifest and args.inputs:
        raise EmofairError("both files and --manifest are given", remedy="Give one of them")
    if args.manifest:
        from emofair.data.manifests import read_split

        items = read_split(args.manifest, args.split)
        return [u.id for u in items], [u if u.has_audio else None for u in items], [u.text for u in items]
    wavs = [wav for given in args.inputs for wav in expand(Path(given))]
    texts = args.text
    if not wavs and not texts:
        raise EmofairError("nothing to predict", remedy="Give audio files, --text or --manifest")
    if not wavs:
        return list(texts), [None] * len(texts), list(texts)
    if texts and len(texts) != len(wavs):
        raise EmofairError(f"{len(wavs)} files and {len(texts)} transcripts", remedy="Give --text once per file")
    return wavs, wavs, list(texts) if texts else [None] * len(wavs)


def expand(path: Path) -> list[str]:
    """A file itself, or the audio files in a folder in the order of their names."""
    if path.is_dir():
        files = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in AUDIO)
        if not files:
            raise EmofairError("no audio file in this folder", file=path, remedy=f"It should hold {', '.join(AUDIO)}")
        return files
    if not path.exists():
        raise EmofairError("no such file", file=path)
    return [str(path)]


def opened(wav):
    """An utterance of a corpus may be a part of a long recording: read just that."""
    if wav is None or isinstance(wav, str):
        return wav
    from emofair.data.audio import read_audio

    return read_audio(wav.path, resample=True, start=wav.start, end=wav.end)


def predict_batch(model, names: list[str], wavs: list, texts: list) -> tuple[list, int]:
    """Predict a batch; when an input is bad, each one alone, so that only that one is missing."""
    try:
        return model.predict_many([opened(wav) for wav in wavs], texts), 0
    except EmofairError:
        if len(wavs) == 1 and wavs[0] is None:
            raise
    results, problems = [], 0
    for name, wav, text in zip(names, wavs, texts, strict=True):
        try:
            results.append(model.predict(opened(wav), text))
        except EmofairError as error:
            named = error if error.file is not None else EmofairError(error.what, file=name, remedy=error.remedy)
            print(f"emofair: error: {named}", file=sys.stderr)
            results.append(None)
            problems += 1
    return results, problems


def write_table(rows: list) -> None:
    """Aligned columns for reading."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, result in rows:
        if result is None:
            print(f"{name:<{width}}  -")
        else:
            scores = "  ".join(f"{label} {value:.3f}" for label, value in result.scores.items())
            print(f"{name:<{width}}  {result.label:<10}  {scores}".rstrip())


def write_csv(rows: list) -> None:
    """A header, then one row per prediction that could be made."""
    good = [(name, result) for name, result in rows if result is not None]
    labels = list(good[0][1].scores) if good else []
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["input", "prediction", *labels])
    for name, result in good:
        writer.writerow([name, result.label, *(f"{result.scores[label]:.6f}" for label in labels)])


def write_jsonl(rows: list) -> None:
    """One JSON object per prediction that could be made."""
    for name, result in rows:
        if result is not None:
            record = {"input": name, "prediction": result.label, "scores": result.scores}
            if result.value is not None:
                record["value"] = result.value
            print(json.dumps(record, ensure_ascii=False))
