"""robertaEMO through fairseq's own commands: the published ones as they stand, then every target, branch and fusion."""

from __future__ import annotations

import csv
import re
import shlex
import shutil

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as reference

from emofair.checkpoints import safe
from emofair.checkpoints.roberta import load_roberta
from emofair.errors import EmofairError
from emofair.inference.checkpoint import load_checkpoint
from emofair.testing import token_corpus
from emofair.testing.commands import logged, run, train_here

# The commands of the original's README, with fairseq's console scripts in the place of its forked train.py.
TRAIN = """fairseq-train --user-dir emofair --data ./T_data/iemocap --restore-file None  --task emotion_prediction
--reset-optimizer --reset-dataloader --reset-meters --init-token 0 --separator-token 2 --arch robertaEMO
--criterion  emotion_prediction_cri  --num-classes 8  --dropout 0.1 --attention-dropout 0.1 --weight-decay 0.1
--optimizer adam --adam-betas "(0.9, 0.98)" --adam-eps 1e-06 --clip-norm 0.0 --lr-scheduler polynomial_decay --lr 1e-05
--total-num-update 2760  --warmup-updates 165  --max-epoch 10 --best-checkpoint-metric loss
--encoder-attention-heads 2 --batch-size 1 --encoder-layers-cross 1   --no-epoch-checkpoints --update-freq 8
--find-unused-parameters --ddp-backend=no_c10d --binary-target-iemocap    --a-only --t-only  --pooler-dropout 0.1
--log-interval 1  --data-raw ./iemocap_data/"""
VALIDATE = """fairseq-validate --user-dir emofair --data ./T_data/iemocap   --path './checkpoints/checkpoint_best.pt'
--task emotion_prediction --valid-subset test --batch-size 4"""

HEAD = "emotion_classification_head"
KEPT = f"classification_heads.{HEAD}.out_proj.weight"
EMBEDDING = "text_encoder.sentence_encoder.embed_tokens.weight"
ENDS = ("--init-token", "0", "--separator-token", "2")
BRANCHES = {
    "speech": ["--a-only"],
    "text": ["--t-only"],
    "both": ["--a-only", "--t-only"],
    "cross": ["--all-in", "--stack-up", "--encoder-attention-heads", "2"],
}
# Corpus, flags, outputs, and a figure to select the best checkpoint by, with + where more is better.
TARGETS = {
    "binary_iemocap": ("iemocap", ["--binary-target-iemocap", "--num-classes", "8"], 8, "+f1_happy"),
    "softmax_iemocap": ("iemocap", ["--softmax-target-iemocap"], 4, "+uar"),
    "softmax_meld": ("meld", ["--softmax-target-meld", "--num-classes", "7"], 7, "+f1_macro"),
    "binary_meld": ("meld", ["--softmax-target-binary-meld", "--num-classes", "14"], 14, "+accuracy"),
    "mos": ("mosi", ["--regression-target-mos", "--num-classes", "1"], 1, "-mae"),
    "regression": ("regression", ["--regression-target"], 1, "+corr"),
}


def arguments(corpus, ssl_dir, save_dir, *more):
    return [
        *("--task", "emotion_prediction", "--arch", "robertaEMO", "--criterion", "emotion_prediction_cri"),
        *("--data", corpus.data, "--data-raw", corpus.raw, "--ssl-dir", ssl_dir, "--save-dir", save_dir),
        *("--optimizer", "adam", "--lr", "1e-3", "--max-epoch", 1, "--no-epoch-checkpoints", "--cpu"),
        *("--num-workers", 0, "--no-last-checkpoints"),
        *("--log-format", "json", *(() if "--batch-size" in more or "--max-tokens" in more else ("--batch-size", 16))),
        *more,
    ]


def figures(log, kind):
    """The figures that fairseq printed last under ``kind``, without their prefix."""
    return {name.removeprefix(f"{kind}_"): float(value) for name, value in logged(log, kind)[-1].items()}


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


# --- the published commands


@pytest.fixture(scope="module")
def home(ssl_dir, tmp_path_factory):
    """A folder as the original's README describes it, in which its training command has run."""
    folder = tmp_path_factory.mktemp("home")
    corpus = token_corpus(folder / "corpus", "iemocap", n={"train": 8, "valid": 4, "test": 8})
    (folder / "T_data").mkdir()
    corpus.data.rename(folder / "T_data" / "iemocap")
    corpus.raw.rename(folder / "iemocap_data")
    shutil.copytree(ssl_dir, folder / "pretrained_ssl")
    done = run(*shlex.split(TRAIN), cwd=folder, EMOFAIR_SSL_DIR="")
    shutil.rmtree(folder / "pretrained_ssl")
    return folder, corpus, done.stdout


def test_the_training_command_runs_as_published(home):
    folder, _, output = home
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["checkpoint_best.pt", "checkpoint_last.pt"]
    stored = safe.load(folder / "checkpoints" / "checkpoint_last.pt")
    assert stored["optimizer_history"][-1]["num_updates"] == 10  # 10 epochs of 8 items, 8 batches of 1 per update
    assert stored["cfg"]["distributed_training"]["ddp_backend"] in ("no_c10d", "legacy_ddp")
    assert stored["cfg"]["model"]["pooler_dropout"] == 0.1
    assert "end of epoch 10" in output


def test_the_validation_command_runs_as_published_with_nothing_but_the_checkpoint(home):
    folder, corpus, _ = home
    assert not (folder / "pretrained_ssl").exists()
    done = run(*shlex.split(VALIDATE), "--save-predictions", "test.tsv", cwd=folder, EMOFAIR_SSL_DIR="")
    printed = dict(re.findall(r" \| ([\w-]+) ([-\d.e]+)", done.stdout.splitlines()[-1]))
    rows = table(folder / "test.tsv")
    assert sorted(row["id"] for row in rows) == sorted(corpus.ids["test"])
    for emotion in ("neutral", "sad", "angry", "happy"):
        truth = [row["label"] == emotion for row in rows]
        said = [float(row[f"p_{emotion}"]) > 0.5 for row in rows]
        assert float(printed[f"accuracy_{emotion}"]) == pytest.approx(np.mean(np.equal(truth, said)), abs=1e-5)
        expected = reference.f1_score(truth, said, average="weighted")
        assert float(printed[f"f1_{emotion}"]) == pytest.approx(expected, abs=1e-5)
    assert float(printed["accuracy4"]) == np.mean([row["label"] == row["prediction"] for row in rows])


def test_validation_in_training_and_after_it_print_the_same(home):
    folder, _, output = home
    lines = [line for line in output.splitlines() if "valid on 'valid' subset" in line]
    losses = [float(re.search(r" \| loss ([\d.]+)", line)[1]) for line in lines]
    best = lines[int(np.argmin(losses))]
    done = run(*shlex.split(VALIDATE), "--valid-subset", "valid", cwd=folder)
    after = dict(re.findall(r" \| ([\w-]+) ([-\d.e]+)", done.stdout.splitlines()[-1]))
    before = dict(re.findall(r" \| ([\w-]+) ([-\d.e]+)", best))
    compared = {name for name in after if name not in ("wps", "wpb", "bsz", "epoch", "num_updates")}
    assert len(compared) >= 15
    # Batches of 1 in training, of 4 afterwards; fairseq prints 6 digits or 3 decimals.
    assert {k: float(before[k]) for k in compared} == pytest.approx({k: float(after[k]) for k in compared}, abs=2e-3)


# --- every target, branch and fusion


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("target", TARGETS)
def test_targets_branches_and_fusions(token_corpora, ssl_dir, tmp_path, target, branch):
    """Each trains, selects by a figure of its own, and logs what scikit-learn finds in the predictions."""
    kind, flags, outputs, figure = TARGETS[target]
    corpus, predictions = token_corpora(kind), tmp_path / "valid.tsv"
    selection = ["--best-checkpoint-metric", figure[1:]]
    selection += ["--maximize-best-checkpoint-metric"] if figure[0] == "+" else []
    more = (*flags, *BRANCHES[branch], *selection, "--save-predictions", predictions)
    printed = figures(train_here(arguments(corpus, ssl_dir, tmp_path, *more)), "valid")
    loaded = load_checkpoint(tmp_path / "checkpoint_best.pt")
    assert loaded.facts["target"] == target
    assert loaded.facts["selected_value"] == pytest.approx(printed[figure[1:]], rel=1e-5)
    assert loaded.model.classification_heads[HEAD].out_proj.weight.shape[0] == outputs
    assert loaded.model.stack_up == (branch == "cross")
    rows = table(predictions)
    assert sorted(row["id"] for row in rows) == sorted(corpus.ids["valid"])
    expected = EXPECTED[target.split("_")[0]](rows, loaded.task.mode.classes)
    assert {name: printed[name] for name in expected} == pytest.approx(expected, abs=1e-5, rel=1e-4)


def softmax_figures(rows, classes):
    truth, said = ([row[column] for row in rows] for column in ("label", "prediction"))
    probability = [float(row[f"p_{row['label']}"]) for row in rows]
    f1 = reference.f1_score(truth, said, labels=classes, average=None, zero_division=0)
    return {
        "loss": -np.mean(np.log2(probability)),
        "accuracy": reference.accuracy_score(truth, said),
        "f1": reference.f1_score(truth, said, average="weighted"),
        "uar": reference.recall_score(truth, said, labels=sorted(set(truth)), average="macro"),
        **{f"f1_{name}": value for name, value in zip(classes, f1, strict=True)},
    }


def binary_figures(rows, classes):
    figures, right, bits = {}, [], []
    for name in classes:
        truth = np.array([row["label"] == name for row in rows])
        present = np.array([float(row[f"p_{name}"]) for row in rows])
        figures[f"accuracy_{name}"] = reference.accuracy_score(truth, present > 0.5)
        figures[f"f1_{name}"] = reference.f1_score(truth, present > 0.5, average="weighted", zero_division=0)
        right += [truth == (present > 0.5)]
        bits += [-np.log2(np.where(truth, present, 1 - present))]
    figures["accuracy"], figures["loss"] = np.mean(right), np.mean(bits)
    figures[f"accuracy{len(classes)}"] = np.mean([row["label"] == row["prediction"] for row in rows])
    return figures


def score_figures(rows, classes):
    value, label = (np.array([float(row[column]) for row in rows]) for column in ("value", "label"))
    return {
        "mae": np.abs(value - label).mean(),
        "mse": np.square(value - label).mean(),
        "corr": stats.pearsonr(value, label).statistic,
    }


EXPECTED = {"softmax": softmax_figures, "binary": binary_figures, "mos": score_figures, "regression": score_figures}


def test_frozen_encoders_come_out_as_they_went_in(token_corpora, ssl_dir, tmp_path):
    corpus = token_corpora("iemocap")
    weights = {}
    for name, more in (("frozen", ["--frozen-ssl"]), ("tuned", ["--checkpoint-activations"])):
        save_dir = tmp_path / name
        more += [*corpus.flags, "--all-in", "--stack-up", "--cross-block", "full", "--max-update", "2"]
        train_here(arguments(corpus, ssl_dir, save_dir, *more))
        weights[name] = safe.load(save_dir / "checkpoint_best.pt")["model"]
    for branch, folder in (("text", "roberta.large"), ("speech", "vq-wav2vec-Kmeans-Roberta")):
        pretrained = load_roberta(ssl_dir / folder).state
        for key, value in pretrained.items():
            key = f"{branch}_encoder.{key}"
            assert torch.equal(weights["frozen"][key], value)
            if key.endswith("fc1.weight"):
                assert not torch.equal(weights["tuned"][key], value)
    assert weights["frozen"].keys() == weights["tuned"].keys()
    assert any("cross_attention.at.0.fc1" in key for key in weights["frozen"])


# --- options


def test_every_option_of_the_original_is_accepted(token_corpora, ssl_dir, tmp_path):
    """Also those without effect, and all at once."""
    corpus = token_corpora("meld")
    task = "--sample-rate 16000 --max-sample-size 500 --min-sample-size 10 --num-classes 7 --init-token 0 --no-shuffle"
    task += " --separator-token 2 --truncate-sequence --softmax-target-meld --eval-metric --save-pred"
    model = "--encoder-layers 24 --encoder-layers-cross 2 --encoder-embed-dim 1024 --encoder-embed-dim-concat 80"
    model += " --encoder-embed-dim-t 48 --encoder-embed-dim-a 32 --encoder-embed-dim-v 256 --encoder-ffn-embed-dim 1024"
    model += " --encoder-attention-heads 4 --activation-fn gelu --pooler-activation-fn tanh --encoder-normalize-before"
    model += (
        " --dropout 0.1 --attention-dropout 0.1 --activation-dropout 0.0 --pooler-dropout 0.0 --max-positions-t 512"
    )
    model += (
        " --max-positions-a 936 --max-positions-v 301 --load-checkpoint-heads --a-only --t-only --all-in --stack-up"
    )
    criterion = f"--classification-head-name {HEAD} --save-predictions {tmp_path / 'p.tsv'}"
    train_here(arguments(corpus, ssl_dir, tmp_path, *f"{task} {model} {criterion}".split(), "--frozen-ssl"))
    assert len(load_checkpoint(tmp_path / "checkpoint_best.pt").model.cross_attention.ta) == 2


def test_size_of_batches(token_corpora, ssl_dir, tmp_path):
    """--max-sentences is the old name of --batch-size; --max-sample-size caps what an item counts, and cuts nothing."""
    corpus = token_corpora("mosi")
    updates = []
    for number, more in enumerate((["--max-sentences", "8"], ["--max-tokens", "40", "--max-sample-size", "10"])):
        more = ["--batch-size-valid", "64", "--max-tokens-valid", "9999", *more]
        plain = arguments(corpus, ssl_dir, tmp_path / str(number), *corpus.flags, "--a-only")
        at = plain.index("--batch-size")
        train_here([*plain[:at], *plain[at + 2 :], *more])
        loaded = load_checkpoint(tmp_path / str(number) / "checkpoint_best.pt")
        updates.append(loaded.facts["updates"])
    assert updates == [48 / 8, 48 / 4]
    loaded.task.load_dataset("test")
    batch = loaded.task.dataset("test").collater([loaded.task.dataset("test")[0]])
    assert batch["net_input"]["audio"].shape[1] >= 20


def test_emotions_replace_the_classes(token_corpora, ssl_dir, tmp_path):
    corpus = token_corpora("iemocap")
    emotions = "neutral,sad,angry,happy,excited"
    more = ["--softmax-target-iemocap", "--emotions", emotions, "--num-classes", "5", "--t-only"]
    train_here(arguments(corpus, ssl_dir, tmp_path, *more))
    loaded = load_checkpoint(tmp_path / "checkpoint_best.pt")
    assert loaded.facts["classes"] == emotions.split(",")
    loaded.task.load_dataset("test")
    labels = [loaded.task.mode.classes[i][:3] for i in loaded.task.dataset("test").labels]
    assert labels == corpus.labels["test"]


def test_first_and_last_tokens_are_checked_on_request(tmp_path, ssl_dir):
    corpus = token_corpus(tmp_path / "corpus", "meld", n=8)
    file = corpus.raw / "train" / "text" / f"{corpus.ids['train'][0]}.txt"
    file.write_text("9\t8\t7\t")
    basis = arguments(corpus, ssl_dir, tmp_path / "a", *corpus.flags, "--t-only", "--max-update", "1")
    said = "1 of 8 token files do not start with 0 and end with 2"
    assert said not in train_here(basis)
    (line,) = [w for w in train_here([*basis, *ENDS, "--save-dir", tmp_path / "b"]).splitlines() if said in w]
    assert line.startswith("WARNING") and str(file) in line


def test_a_run_can_start_from_the_weights_of_another(token_corpora, ssl_dir, tmp_path):
    """From IEMOCAP's head to MELD's: same encoders, a fresh head under another name."""
    first, second = token_corpora("iemocap"), token_corpora("meld")
    train_here(arguments(first, ssl_dir, tmp_path / "a", *first.flags, "--all-in"))
    more = [*second.flags, "--all-in", "--finetune-from-model", tmp_path / "a" / "checkpoint_best.pt", "--lr", "1e-9"]
    said = r"a/checkpoint_best\.pt: .*8 outputs of width 80, the model 7 of width 80.*--classification-head-name"
    with pytest.raises(EmofairError, match=said):
        train_here(arguments(second, ssl_dir, tmp_path / "b", *more))
    said = r"a/checkpoint_best\.pt: its weights do not fit this model: Missing key.*cross_attention"
    with pytest.raises(EmofairError, match=said):
        train_here(arguments(first, ssl_dir, tmp_path / "b", *first.flags, *BRANCHES["cross"], *more[-4:-2]))
    more += ["--classification-head-name", "meld", "--load-checkpoint-heads"]
    train_here(arguments(second, ssl_dir, tmp_path / "b", *more))
    before, after = (safe.load(tmp_path / run / "checkpoint_best.pt")["model"] for run in "ab")
    torch.testing.assert_close(after[EMBEDDING], before[EMBEDDING], atol=1e-6, rtol=0)
    assert torch.equal(before[KEPT], after[KEPT])
    assert after["classification_heads.meld.out_proj.weight"].shape == (7, 80)
    loaded = load_checkpoint(tmp_path / "b" / "checkpoint_best.pt")
    assert set(loaded.model.classification_heads) == {HEAD, "meld"}
