"""Lines of speech codes or text pieces, for pre-training a small Speech-BERT or RoBERTa with stock fairseq.

    python lm_data.py speech --corpus corpus --vq-wav2vec vq-wav2vec_kmeans.pt --out speech_lm
    python lm_data.py text   --corpus corpus --vocabulary 400 --out text_lm

writes OUT/train.txt and OUT/valid.txt (--splits train: the first alone), one utterance a line, for `fairseq-preprocess
--only-source`, and OUT/dict.txt: for text the pieces learned on the training split (and OUT/sentencepiece.bpe.model),
for speech every word that the codebook can make, since a small corpus does not show them all. The test split is never
read.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from tqdm import tqdm

from emofair.data.audio import read_audio
from emofair.data.manifests import read_split

SPLITS = ("train", "valid")


def speech(args: argparse.Namespace) -> None:
    """Write the code words of every clip, such as ``17-203 17-203 4-96``."""
    from emofair.units.vq_wav2vec import SpeechTokenizer

    tokenizer = SpeechTokenizer(args.vq_wav2vec, None)
    with open(args.out / "dict.txt", "w", encoding="utf-8") as file:
        for codes in product(range(tokenizer.codes_per_group), repeat=tokenizer.groups):
            print("-".join(map(str, codes)), 1, file=file)
    for split in args.splits:
        with open(args.out / f"{split}.txt", "w", encoding="utf-8") as file:
            for item in tqdm(read_split(args.corpus, split), desc=f"codes of {split}", unit="clip", disable=None):
                audio = read_audio(item.path, resample=True, start=item.start, end=item.end)
                print(*tokenizer.words([audio])[0], file=file)


def text(args: argparse.Namespace) -> None:
    """Learn a vocabulary and write the pieces of every transcript."""
    from emofair.units.bpe import TextTokenizer, train_sentencepiece

    texts = {split: [item.text for item in read_split(args.corpus, split) if item.text] for split in SPLITS}
    train_sentencepiece(texts["train"], args.out, args.vocabulary)
    tokenizer = TextTokenizer.from_dir(args.out)
    for split in args.splits:
        with open(args.out / f"{split}.txt", "w", encoding="utf-8") as file:
            for line in tqdm(texts[split], desc=f"pieces of {split}", unit="text", disable=None):
                print(*tokenizer.split(line), file=file)


def main() -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind in (speech, text):
        sub = kinds.add_parser(kind.__name__, help=kind.__doc__)
        sub.add_argument("--corpus", required=True, help="corpus made by emofair prepare")
        sub.add_argument("--out", required=True, type=Path, help="folder to write to")
        sub.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS, help="splits to write")
        sub.set_defaults(run=kind)
        if kind is speech:
            sub.add_argument("--vq-wav2vec", required=True, help="vq-wav2vec checkpoint")
        else:
            sub.add_argument("--vocabulary", type=int, default=400, help="entries of the dictionary")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.run(args)


if __name__ == "__main__":
    main()
