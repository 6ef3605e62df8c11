"""What can be wrong with clips, lists, labels and checkpoints: one line that names them, or it just works."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from emofair.data.audio import SAMPLE_RATE
from emofair.errors import EmofairError
from emofair.testing.clips import tone_corpus
from emofair.testing.commands import logged, run, train_here
from emofair.testing.speech import tiny_wav2vec_checkpoint

CLIP = "wav/train_001_neutral.wav"


@pytest.fixture
def corpus(tmp_path):
    return tone_corpus(tmp_path / "tones", {"train": 6, "valid": 3, "test": 3}, seconds=(0.3, 0.5))


def arguments(corpus, *more):
    return [
        *("--data", corpus, "--task", "speech_emotion", "--arch", "speech_emotion_tiny"),
        *("--criterion", "emotion_classification", "--optimizer", "adam", "--lr", "1e-3", "--batch-size", "3"),
        *("--max-epoch", "1", "--num-workers", "0", "--required-batch-size-multiple", "1", "--no-save"),
        *("--log-format", "json", "--cpu", *more),
    ]


def rewrite(corpus, wav, rate=SAMPLE_RATE, **options):
    """Put another sound in the place of a clip, and its length into the lists."""
    soundfile.write(corpus / CLIP, wav, rate, **options)
    for name in ("train.tsv", "train.meta.tsv"):
        path = corpus / name
        lines = path.read_text().splitlines()
        for i, line in enumerate(lines):
            if CLIP in line:
                columns = line.split("\t")
                columns[columns.index(CLIP) + 1] = str(len(wav) * SAMPLE_RATE // rate)
                lines[i] = "\t".join(columns)
        path.write_text("\n".join(lines) + "\n")


def noise(seconds, channels=None):
    n = round(seconds * SAMPLE_RATE)
    return 0.1 * np.random.default_rng(0).standard_normal(n if channels is None else (n, channels))


def losses(log):
    return [float(row["train_loss"]) for row in logged(log, "train")]


@pytest.mark.parametrize(
    "wav",
    [noise(0.02), noise(0.005), np.zeros(8000), noise(0.4, channels=2)],
    ids=["shorter than the receptive field", "5 ms", "silent", "stereo"],
)
def test_unusual_clips_train(corpus, wav):
    rewrite(corpus, wav)
    found = losses(train_here(arguments(corpus, "--crop", "min", "--min-crop-seconds", "0")))
    assert found and all(np.isfinite(found))


def nan(corpus):
    wav = noise(0.4)
    wav[100] = np.nan
    rewrite(corpus, wav, subtype="FLOAT")


def truncated(corpus):
    content = (corpus / CLIP).read_bytes()
    (corpus / CLIP).write_bytes(content[: len(content) // 2])


def other_rate(corpus):
    rewrite(corpus, noise(0.4), rate=8000)


def edit(name, old, new):
    def change(corpus):
        path = corpus / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def repeated(corpus):
    for name in ("train.tsv", "train.emo", "train.meta.tsv"):
        path = corpus / name
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines, lines[-1]]) + "\n")


def emptied(corpus):
    for name in ("valid.tsv", "valid.emo", "valid.meta.tsv"):
        path = corpus / name
        header = [] if name.endswith("emo") else path.read_text().splitlines()[:1]
        path.write_text("".join(f"{line}\n" for line in header))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (nan, rf"{CLIP}.*(NaN|not a number|not finite)"),
        (truncated, rf"{CLIP}"),
        (other_rate, rf"{CLIP}.*8000 Hz.*--resample"),
        (lambda corpus: (corpus / CLIP).unlink(), rf"{CLIP}: no such audio file"),
        (lambda corpus: (corpus / CLIP).write_bytes(b""), rf"{CLIP}"),
        (repeated, r"split train has 1 ids twice \(train_005_sad\)"),
        (edit("train.emo", "neutral\n", "\n"), r"train\.emo:2"),
        (edit("labels.txt", "neutral\n", ""), r"train\.emo:2: the label 'neutral'"),
        (edit("train.emo", "sad\n", ""), r"train\.emo.*4.*6|train\.emo.*6.*4"),
        (emptied, r"valid.*(empty|no utterances|no rows|nothing)"),
        (lambda corpus: (corpus / "train.tsv").unlink(), r"train"),
    ],
    ids=[
        *("nan", "truncated", "other rate", "missing", "empty file", "repeated", "no label"),
        *("label absent from the map", "misaligned", "empty split", "no train list"),
    ],
)
def test_what_is_wrong_is_told(corpus, spoil, told):
    spoil(corpus)
    with pytest.raises(EmofairError, match=told) as caught:
        train_here(arguments(corpus))
    assert "\n" not in str(caught.value)


def test_another_rate_is_resampled_on_request(corpus):
    other_rate(corpus)
    assert losses(train_here(arguments(corpus, "--resample")))


def test_a_class_that_a_split_lacks_is_no_obstacle(corpus):
    for split in ("train", "valid"):
        for name in (f"{split}.emo", f"{split}.meta.tsv"):
            path = corpus / name
            path.write_text(path.read_text().replace("\tsad", "\tangry").replace("sad\n", "angry\n"))
    log = train_here(arguments(corpus))
    assert all(np.isfinite(losses(log)))
    assert "split train: no items of class sad; it cannot be learned" in log


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (tiny_wav2vec_checkpoint, r"other\.pt.*wav2vec"),
        (lambda path: torch.save({"model": {"w": torch.zeros(2)}}, path), r"other\.pt"),
        (lambda path: path.write_text("hello"), r"other\.pt"),
        (lambda path: None, r"other\.pt.*no such file"),
    ],
    ids=["wav2vec of 2019", "other weights", "text", "missing"],
)
def test_a_checkpoint_of_another_architecture_is_told(corpus, tmp_path, make, told):
    make(tmp_path / "other.pt")
    with pytest.raises(EmofairError, match=told) as caught:
        train_here(arguments(corpus, "--arch", "wav2vec2_ser", "--w2v-path", tmp_path / "other.pt"))
    assert "\n" not in str(caught.value)


def test_the_command_prints_one_line(corpus):
    truncated(corpus)
    done = run("fairseq-train", "--user-dir", "emofair", *arguments(corpus), check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("emofair: error: ")]
    assert CLIP in line
    assert "Traceback" not in done.stdout
