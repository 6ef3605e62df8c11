"""What a user can get wrong with robertaEMO: one line that names file, row and remedy, from fairseq's own commands."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest

from emofair.errors import EmofairError
from emofair.testing import tiny_ssl_dir, token_corpus
from emofair.testing.commands import run, train_here


def arguments(corpus, ssl_dir, save_dir, *more):
    return [
        *("--task", "emotion_prediction", "--criterion", "emotion_prediction_cri", "--data", corpus.data),
        *("--data-raw", corpus.raw, "--ssl-dir", ssl_dir, "--save-dir", save_dir, "--arch", "robertaEMO"),
        *("--optimizer", "adam", "--lr", "1e-3", "--batch-size", 4, "--max-update", 1, "--max-epoch", 1, "--no-save"),
        *("--cpu", "--num-workers", 0, "--log-format", "none", *more),
    ]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A corpus and a folder of models that work; nobody changes them."""
    folder = tmp_path_factory.mktemp("original")
    return token_corpus(folder / "corpus", "iemocap", n=8), tiny_ssl_dir(folder / "ssl")


@pytest.fixture
def corpus(original, tmp_path):
    """A copy to spoil."""
    copied = original[0]
    shutil.copytree(copied.data, tmp_path / "T_data")
    shutil.copytree(copied.raw, tmp_path / "raw", ignore=shutil.ignore_patterns(".emofair_cache"))
    return replace(copied, data=tmp_path / "T_data", raw=tmp_path / "raw")


@pytest.fixture
def refused(corpus, original, tmp_path):
    """Train with what is given, and return the error's line."""

    def train(*more, ssl_dir=original[1], target=corpus.flags, modality=("--all-in",)):
        with pytest.raises(EmofairError) as caught:
            train_here(arguments(corpus, ssl_dir, tmp_path / "save", *target, *modality, *more))
        line = str(caught.value)
        assert "\n" not in line and len(line) < 700
        return line

    return train


def rewrite(path, *replacements):
    text = path.read_bytes().decode()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path.write_bytes(text.encode())


def test_the_corpus_is_fine_as_it_is(corpus, original, tmp_path):
    train_here(arguments(corpus, original[1], tmp_path / "save", *corpus.flags, "--all-in", "--strict-manifest"))


# --- token files


@pytest.mark.parametrize("kind", ["text", "audio_token"])
def test_missing_token_file(refused, corpus, kind):
    path = corpus.raw / "train" / kind / f"{corpus.ids['train'][3]}.txt"
    path.unlink()
    assert re.search(rf"^{re.escape(str(path))}: no such token file.*emofair tokenize.*--data-raw", refused())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *(
            ("", "is empty"),
            (" \n", "is empty"),
            ("0\t5\t-7\t2", "holds '-7', not a token id"),
            ("0 5 x 2", "holds 'x'"),
        ),
        *(("1 1", "holds only 1"), ("0 5 1 2", "holds 1, the id of padding, at position 3")),
    ],
)
def test_token_file_without_usable_content(refused, corpus, content, said):
    path = corpus.raw / "valid" / "text" / f"{corpus.ids['valid'][1]}.txt"
    path.write_text(content)
    assert re.search(rf"^{re.escape(str(path))}: token file {said}", refused())


@pytest.mark.parametrize(("kind", "name", "size"), [("text", "text", 305), ("audio_token", "audio", 69)])
def test_token_id_outside_the_vocabulary(refused, corpus, kind, name, size):
    path = corpus.raw / "train" / kind / f"{corpus.ids['train'][2]}.txt"
    path.write_text(f"0\t{size}\t2\t")
    line = refused()
    assert line.startswith(f"{path}: ") and str(size) in line and "dict" in line


def test_sequences_over_the_encoders_positions_are_cut(tmp_path, original):
    """Nothing is filtered and nothing fails; 512 and 2048 also bound larger caps."""
    long = token_corpus(tmp_path / "long", "iemocap", n=4, text_length=(520, 540), audio_length=(2060, 2080))
    caps = ("--max-text-tokens", "9999", "--max-audio-tokens", "9999", "--batch-size", "2")
    train_here(arguments(long, original[1], tmp_path / "save", *long.flags, "--all-in", *caps))


# --- lists and labels


def test_misaligned_lists(refused, corpus):
    path = corpus.data / "train_t.tsv"
    lines = path.read_text().splitlines()
    lines[2], lines[5] = lines[5], lines[2]
    path.write_text("\n".join(lines))
    first, third = corpus.data / "train_a.tsv", corpus.ids["train"][2]
    assert re.search(rf"^{re.escape(str(first))}:3: .*misaligned from item 3.*{third}", refused("--strict-manifest"))


def test_misaligned_lists_are_joined_by_id_otherwise(corpus, original, tmp_path):
    path = corpus.data / "train_t.tsv"
    path.write_text("\n".join(path.read_text().splitlines()[::-1]))
    train_here(arguments(corpus, original[1], tmp_path / "save", *corpus.flags, "--all-in"))


def test_unknown_label(refused, corpus, original, tmp_path):
    path, name = corpus.data / "label_file_train.csv", corpus.ids["train"][4]
    rewrite(path, (f"{name},exc", f"{name},bored"))
    line = refused("--strict-manifest")
    assert re.search(rf"^{re.escape(str(path))}:6: label 'bored' of {name} is none of neutral, sad, angry, happy", line)
    log = train_here(arguments(corpus, original[1], tmp_path / "save", *corpus.flags, "--all-in"))
    assert "split train has 7 items; left out: unknown label 'bored': 1" in log


def test_item_without_a_label(refused, corpus):
    path, name = corpus.data / "label_file_train.csv", corpus.ids["train"][0]
    rewrite(path, (f"{name},neu\r\n", ""))
    line = refused("--strict-manifest")
    assert line.startswith(f"{corpus.data / 'train_a.tsv'}:1: {name} has no label in {path.name}")


@pytest.mark.parametrize("text", ["nan", "inf", "happy", ""])
def test_label_that_is_no_number(refused, corpus, text):
    for split in ("train", "valid", "test"):
        path = corpus.data / f"label_file_{split}.csv"
        numbers = [line.split(",")[0] + ",0.5" for line in path.read_text().split()[1:]]
        path.write_text("\n".join(["FileName,sentiment_score", *numbers]))
    path, name = corpus.data / "label_file_train.csv", corpus.ids["train"][1]
    rewrite(path, (f"{name},0.5", f"{name},{text}"))
    line = refused("--strict-manifest", target=("--regression-target-mos",))
    if text:
        assert line.startswith(f"{path}:3: label '{text}' is not a finite number")
    else:
        assert line.startswith(f"{corpus.data / 'train_a.tsv'}:2: {name} has no label")


def test_split_that_ends_up_empty(refused, corpus):
    line = refused(target=("--softmax-target-meld", "--emotions", "surprise,fear"))
    assert re.search(
        rf"^{re.escape(str(corpus.data))}: split '\w+' has no usable item \(\d listed\).*label_file_", line
    )


def test_empty_list(refused, corpus):
    path = corpus.data / "valid_a.tsv"
    path.write_text("")
    assert refused() == f"{path}: the speech list of split 'valid' is empty"


def test_missing_list(refused, corpus):
    (corpus.data / "train_a.tsv").unlink()
    assert re.search(r"there is no train_a\.tsv in this folder; it holds label_file_test\.csv", refused())


def test_overlap_of_splits(refused, corpus, original, tmp_path):
    for letter in "at":
        with (corpus.data / f"valid_{letter}.tsv").open("a") as file:
            file.write(corpus.ids["train"][0] + (".wav\n" if letter == "a" else ".txt\n"))
    line = refused()
    assert re.search(rf"splits train and valid share 1 items \({corpus.ids['train'][0]}\).*Take them out", line)
    paper = ("--all-in", "--protocol", "paper")
    train_here(arguments(corpus, original[1], tmp_path / "save", *corpus.flags, *paper))


# --- folders


@pytest.mark.parametrize("option", ["--data", "--data-raw"])
@pytest.mark.parametrize(("make", "said"), [(False, "no such folder"), (True, "a folder is needed|no such folder")])
def test_folder_that_is_absent_or_a_file(refused, tmp_path, option, make, said):
    path = tmp_path / "somewhere"
    if make:
        path.write_text("hello")
    line = refused(option, str(path))
    assert line.startswith(f"{path}: ") and re.search(said, line) and option in line


def test_folder_without_token_files(refused, tmp_path):
    (tmp_path / "other" / "train").mkdir(parents=True)
    line = refused("--data-raw", str(tmp_path / "other"))
    assert re.search(r"other: no <split>/audio_token.*it holds train.*emofair tokenize", line)


def test_folders_that_are_not_given(corpus, original, tmp_path):
    basis = arguments(corpus, original[1], tmp_path / "save", *corpus.flags, "--all-in")
    for option, said in (("--data", "no manifest folder is given.*--data DIR"), ("--data-raw", "--data-raw DIR")):
        at = basis.index(option)
        with pytest.raises(EmofairError, match=said):
            train_here(basis[:at] + basis[at + 2 :])


# --- the pretrained models


def test_absent_pretrained_folder(refused, tmp_path):
    line = refused(ssl_dir=tmp_path / "absent")
    for part in ("absent/roberta.large", "absent/roberta.base", "--ssl-dir", "EMOFAIR_SSL_DIR", "--text-roberta-path"):
        assert part in line
    (tmp_path / "a_file").write_text("")
    assert "a_file/roberta.large" in refused(ssl_dir=tmp_path / "a_file")
    line = refused("--text-roberta-path", str(tmp_path / "nowhere"))
    assert line.startswith(f"{tmp_path / 'nowhere'}: text RoBERTa model not found")


@pytest.mark.parametrize("folder", ["roberta.large", "vq-wav2vec-Kmeans-Roberta"])
def test_dictionary_shorter_than_the_embedding(refused, original, tmp_path, folder):
    ssl_dir = shutil.copytree(original[1], tmp_path / "ssl")
    path = ssl_dir / folder / "dict.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-3]) + "\n")
    line = refused(ssl_dir=ssl_dir)
    rows = len(lines) + 5
    assert re.search(
        rf"{folder}/\w+\.pt: its embedding has {rows} rows, but the dictionary has {rows - 3} .*dict\.txt", line
    )


def test_damaged_pretrained_model(refused, original, tmp_path):
    ssl_dir = shutil.copytree(original[1], tmp_path / "ssl")
    path = ssl_dir / "roberta.large" / "model.pt"
    path.write_bytes(path.read_bytes()[:5000])
    assert refused(ssl_dir=ssl_dir).startswith(f"{path}: ")


# --- options


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--encoder-embed-dim-t", "1024"), r"--encoder-embed-dim-t 1024, but .*48.*Leave --encoder-embed-dim-t out"),
        (("--encoder-embed-dim-a", "768"), r"--encoder-embed-dim-a 768, but .*32"),
        (("--encoder-embed-dim-concat", "1792"), r"concat 1792, but the fused vector of text \+ speech has width 80"),
        (("--stack-up", "--encoder-attention-heads", "5"), r"--encoder-attention-heads 5 does not divide.*48"),
        (("--v-only",), r"--v-only: there is no video branch.*--all-in"),
        (("--ssl-random", "huge"), r"--ssl-random huge: unknown size.*tiny, base, large"),
        (("--max-text-tokens", "1"), r"--max-text-tokens 1 leaves no room"),
        (("--max-tokens", "10"), r"are longer than 10 tokens.*--max-tokens \d\d or more"),
        (
            ("--regression-target",),
            r"2 targets are chosen \(--regression-target, --binary-target-iemocap\).*exactly one",
        ),
        (
            ("--num-classes", "4"),
            r"--num-classes 4 does not fit --binary-target-iemocap, which has 8 .*--num-classes 8",
        ),
        (("--emotions", "a,b"), r"--emotions cannot be combined with --binary-target-iemocap"),
    ],
)
def test_options_that_do_not_fit(refused, more, said):
    assert re.search(said, refused(*more))


def test_no_modality_and_no_target(refused):
    assert re.search(r"no modality is chosen.*--all-in, --a-only .*--t-only", refused(modality=()))
    assert re.search(r"no target is chosen.*--binary-target-iemocap", refused(target=()))


@pytest.mark.parametrize("modality", ["--a-only", "--t-only"])
def test_cross_attention_with_one_modality(refused, modality):
    assert re.search(r"--stack-up needs both modalities.*Add --all-in", refused("--stack-up", modality=(modality,)))


# --- as it is printed


def test_the_command_prints_one_line(corpus, original, tmp_path):
    path = corpus.raw / "train" / "text" / f"{corpus.ids['train'][3]}.txt"
    path.write_text("")
    flags = arguments(corpus, original[1], tmp_path / "save", *corpus.flags, "--all-in")
    done = run("fairseq-train", "--user-dir", "emofair", *flags, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert done.stdout.splitlines()[-1] == f"emofair: error: {path}: token file is empty"
