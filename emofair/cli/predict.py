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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from emofair.errors import EmofairError

if TYPE_CHECKING:
    from emofair.data.manifests import Utterance

HELP = "files, a folder or a prepared corpus -> labels with probabilities"

AUDIO = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
MODEL_OPTIONS = ("ssl_dir", "vq_wav2vec", "speech_bert_path", "text_roberta_path", "window_seconds")
BATCH = 16
# Inputs that are put in the order of their lengths at a time.
WINDOW = 4 * BATCH


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
    parser.add_argument(
        "--window-seconds",
        metavar="S",
        type=float,
        help="waveform models: judge longer clips in overlapping windows (default: as evaluated in training)",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")


def run(args: argparse.Namespace) -> int:
    """Print one prediction per input; 1 when an input could not be read."""
    names, wavs, texts = find_inputs(args)
    import emofair

    options = {name: getattr(args, name) for name in MODEL_OPTIONS}
    model = emofair.load(args.checkpoint, device=args.device, **{k: v for k, v in options.items() if v is not None})
    model.open_tokenizers()
    from emofair.inference.prediction import resampling

    if args.manifest:
        wavs = clips(args, wavs, model.task)
    output = {"table": Table, "csv": Csv, "jsonl": JsonLines}[args.format](names)
    predict_all(model, names, wavs, texts, output.row)
    output.end()
    if args.inputs and "speech" in model.modalities and (note := resampling(output.predicted)):
        print(f"emofair: note: {note}", file=sys.stderr)
    if problems := len(names) - len(output.predicted):
        print(f"emofair: {problems} of {len(names)} inputs could not be predicted", file=sys.stderr)
    return 1 if problems else 0


def find_inputs(args: argparse.Namespace) -> tuple[list[str], list, list[str | None]]:
    """Names, audio (paths or utterances of a corpus) and transcripts of everything asked for."""
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


class Clip(NamedTuple):
    """An utterance of a corpus, which is read as in `emofair evaluate`."""

    utterance: Utterance
    resample: bool


def clips(args: argparse.Namespace, items: list[Utterance | None], task) -> list[Clip | None]:
    """The utterances of a corpus, and whether those at other rates are resampled."""
    from emofair.data.manifests import read_corpus

    resample = bool(task.cfg.get("resample") or read_corpus(args.manifest).get("resample"))
    return [item and Clip(item, resample) for item in items]


def opened(wav: str | Clip | None):
    """A clip of a corpus as its samples; files are read by the model."""
    if not isinstance(wav, Clip):
        return wav
    from emofair.data.clip_audio import read_clip

    return read_clip(wav.utterance, resample=wav.resample)


def predict_all(model, names: list[str], wavs: list, texts: list, show: Callable[[str, Any], None]) -> None:
    """Call ``show`` with each name and its prediction (None for a bad input), in their order, as soon as it is known.

    Batches are of inputs of similar length, found within a few batches' worth of inputs. What is known when the user
    stops the program is shown too.
    """
    from tqdm import tqdm

    n = len(names)
    with tqdm(total=n, unit="clip", disable=n < 2 * BATCH or None, file=sys.stderr) as bar:
        for start in range(0, n, WINDOW):
            shown = start
            known: dict[int, Any] = {}
            try:
                for batch in batches_of_similar_length(range(start, min(start + WINDOW, n)), wavs, texts):
                    chosen = ([each[i] for i in batch] for each in (names, wavs, texts))
                    known.update(zip(batch, predict_batch(model, *chosen), strict=True))
                    bar.update(len(batch))
                    while shown in known:
                        show(names[shown], known[shown])
                        del known[shown]
                        shown += 1
            finally:
                for i in sorted(known):
                    show(names[i], known[i])


def batches_of_similar_length(indices: Sequence[int], wavs: list, texts: list) -> list[list[int]]:
    """The inputs ``indices`` in batches, shortest first; a single batch needs no look at the files."""
    if len(indices) > BATCH:
        indices = sorted(indices, key=lambda i: (seconds_of(wavs[i]), len(texts[i] or "")))
    return [list(indices[start : start + BATCH]) for start in range(0, len(indices), BATCH)]


def seconds_of(wav: str | Clip | None) -> float:
    """Length of a file or of a clip of a corpus, 0 where it cannot be read: that is told when it is predicted."""
    if wav is None:
        return 0.0
    from emofair.data.audio import SAMPLE_RATE, audio_info

    try:
        return audio_info(wav).seconds if isinstance(wav, str) else wav.utterance.n_samples / SAMPLE_RATE
    except EmofairError:
        return 0.0


def predict_batch(model, names: list[str], wavs: list, texts: list) -> list:
    """Predict a batch; when an input is bad, each one alone, so that only that one is missing (None)."""
    try:
        return model.predict_many([opened(wav) for wav in wavs], texts)
    except EmofairError:
        if len(wavs) == 1 and wavs[0] is None:
            raise
    results = []
    for name, wav, text in zip(names, wavs, texts, strict=True):
        try:
            results.append(model.predict(opened(wav), text))
        except EmofairError as error:
            named = error if error.file is not None else EmofairError(error.what, file=name, remedy=error.remedy)
            print(f"emofair: error: {named}", file=sys.stderr)
            results.append(None)
    return results


class Output:
    """What is printed, row by row, and which inputs have a prediction."""

    def __init__(self, names: list[str]) -> None:
        self.predicted: list[str] = []

    def row(self, name: str, result: Any) -> None:
        """Print a prediction, or None that there is none."""
        if result is not None:
            self.predicted.append(name)
        self.write(name, result)
        sys.stdout.flush()

    def write(self, name: str, result: Any) -> None:
        """Print one row in the form of the subclass."""
        raise NotImplementedError

    def end(self) -> None:
        """Print what belongs at the end."""


class Table(Output):
    """Aligned columns for reading, also for inputs without a prediction."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.width = max(map(len, names), default=0)

    def write(self, name: str, result: Any) -> None:
        """Name, label, and the score of each label."""
        if result is None:
            print(f"{name:<{self.width}}  -")
        else:
            scores = "  ".join(f"{label} {value:.3f}" for label, value in result.scores.items())
            print(f"{name:<{self.width}}  {result.label:<10}  {scores}".rstrip())


class Csv(Output):
    """A header, then one row per prediction that could be made."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.labels: list[str] | None = None
        self.writer = csv.writer(sys.stdout, lineterminator="\n")

    def write(self, name: str, result: Any) -> None:
        """The row, below the header if it is the first."""
        if result is not None:
            self._header(list(result.scores))
            self.writer.writerow([name, result.label, *(f"{result.scores[label]:.6f}" for label in self.labels)])

    def end(self) -> None:
        """The header, if there was no row."""
        self._header([])

    def _header(self, labels: list[str]) -> None:
        if self.labels is None:
            self.labels = labels
            self.writer.writerow(["input", "prediction", *labels])


class JsonLines(Output):
    """One JSON object per prediction that could be made."""

    def write(self, name: str, result: Any) -> None:
        """The object, on one line."""
        if result is not None:
            record = {"input": name, "prediction": result.label, "scores": result.scores}
            if result.value is not None:
                record["value"] = result.value
            print(json.dumps(record, ensure_ascii=False))
