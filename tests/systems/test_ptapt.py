"""P-TAPT by the real commands: frame classifier, clusters of its frames, masked prediction of these, fine-tuning."""

from __future__ import annotations

import json
import shutil

import pytest

from emofair.cli.main import main
from emofair.errors import EmofairError
from emofair.testing.checkpoints import differences
from emofair.testing.clips import tone_corpus
from emofair.testing.commands import kill_when, logged, train_here

ADAM = ("--optimizer", "adam", "--lr", "1e-3", "--log-format", "json", "--log-interval", "1", "--num-workers", "0")
KEEP = ("--no-epoch-checkpoints", "--required-batch-size-multiple", "1", "--batch-size", "8", "--cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tone_corpus(tmp_path_factory.mktemp("tones"), {"train": 48, "valid": 12, "test": 12})


@pytest.fixture(scope="module")
def stage1(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage1")
    log = train_here(
        [
            *("--data", corpus, "--task", "speech_emotion", "--arch", "wav2vec_frame_classifier_tiny"),
            *("--criterion", "frame_utterance_emotion", "--crop", "min", "--batch-order", "bucket"),
            *("--lr-scheduler", "warmup_hold_linear", "--warmup-ratio", "0.05", "--max-update", "48"),
            *("--mask-channel-length", "4", "--train-cnn", "--best-checkpoint-metric", "loss", "--save-dir", folder),
            *(*ADAM, *KEEP),
        ]
    )
    return folder / "checkpoint_best.pt", log


@pytest.fixture(scope="module")
def units(corpus, stage1, tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    features, km = folder / "features", folder / "km"
    dump = ["--checkpoint", str(stage1[0]), "--manifest", str(corpus), "--split", "train", "--out", str(features)]
    assert main(["features", *dump]) == 0
    assert main(["kmeans", "--features", str(features), "--split", "train", "-k", "4,9", "--out", str(km)]) == 0
    models = f"{km / 'km4.npz'},{km / 'km9.npz'}"
    label = ["--features", str(features), "--split", "train", "--kmeans", models, "--out", str(folder)]
    assert main(["units", *label, "--label-json"]) == 0
    return folder


def stage3_arguments(corpus, units, save_dir, *more):
    return [
        *("--data", corpus, "--label-dir", units, "--task", "pseudo_label_pretraining", "--num-clusters", "4,9"),
        *("--arch", "wav2vec2_pseudo_label", "--ssl-random", "tiny", "--criterion", "pseudo_label"),
        *("--lr-scheduler", "warmup_hold_linear", "--warmup-updates", "2", "--max-update", "24"),
        *("--disable-validation", "--save-interval-updates", "14", "--save-dir", save_dir, *ADAM, *KEEP, *more),
    ]


@pytest.fixture(scope="module")
def stage3(corpus, units, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage3")
    log = train_here(stage3_arguments(corpus, units, folder))
    return folder / "checkpoint_last.pt", log


def test_the_first_stage_learns_the_emotion_of_frames(stage1):
    best = max(float(row["valid_frame_accuracy"]) for row in logged(stage1[1], "valid"))
    assert best > 0.55  # a third is chance
    assert float(logged(stage1[1], "valid")[-1]["valid_loss"]) < float(logged(stage1[1], "valid")[0]["valid_loss"])


def test_clusters_go_with_the_emotion(units):
    record = json.loads((units / "train.km9.json").read_text())
    assert record["purity"] > record["majority"] + 0.1
    assert record["trained_on"]["trained_ids"]
    upstream = json.loads((units / "all-clus.json").read_text())
    lines = (units / "train.km4").read_text().splitlines()
    assert sorted(len(ids[0]) for ids in upstream.values()) == sorted(len(line.split()) for line in lines)


def test_the_third_stage_learns_to_predict_them(stage3):
    rows = logged(stage3[1], "train_inner")
    losses = [float(row["loss"]) for row in rows]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    assert {"accuracy", "accuracy_4", "accuracy_9", "masked"} <= set(rows[-1])


def test_the_third_stage_killed_and_resumed_equals_uninterrupted(stage3, corpus, units, tmp_path):
    def seen(line):
        return '"num_updates": "15"' in line

    arguments = stage3_arguments(corpus, units, tmp_path)
    kill_when(seen, "fairseq-train", "--user-dir", "emofair", *arguments)
    train_here(arguments)
    assert not differences(stage3[0], tmp_path / "checkpoint_last.pt")


def test_labels_of_twice_the_frame_rate_are_thinned(corpus, units, tmp_path):
    """Those of MFCCs, as in HuBERT's first iteration."""
    features = ["--features", str(tmp_path / "mfcc"), "--split", "train"]
    dump = ["--features", "mfcc", "--manifest", str(corpus), "--split", "train", "--out", str(tmp_path / "mfcc")]
    assert main(["features", *dump]) == 0
    assert main(["kmeans", *features, "-k", "4,9", "--out", str(tmp_path)]) == 0
    models = f"{tmp_path / 'km4.npz'},{tmp_path / 'km9.npz'}"
    assert main(["units", *features, "--kmeans", models, "--out", str(tmp_path)]) == 0
    train_here(stage3_arguments(corpus, tmp_path, tmp_path / "noted", "--max-update", "2"))
    for path in tmp_path.glob("train.km*.json"):
        path.unlink()
    with pytest.raises(EmofairError, match=r"has \d+ cluster ids for \d+ frames"):
        train_here(stage3_arguments(corpus, tmp_path, tmp_path / "unknown", "--max-update", "2"))
    told = ("--max-update", "2", "--label-rate")
    train_here(stage3_arguments(corpus, tmp_path, tmp_path / "told", *told, "100"))
    assert not differences(tmp_path / "noted" / "checkpoint_last.pt", tmp_path / "told" / "checkpoint_last.pt")
    with pytest.raises(EmofairError, match=r"75 ids per second are no multiple of the encoder's 50 frames"):
        train_here(stage3_arguments(corpus, tmp_path, tmp_path / "odd", *told, "75"))


def fine_tune(corpus, encoder, save_dir, *more):
    return train_here(
        [
            *("--data", corpus, "--task", "speech_emotion", "--arch", "wav2vec2_ser", "--w2v-path", encoder),
            *("--criterion", "emotion_classification", "--lr-scheduler", "fixed", "--max-update", "6"),
            *("--mask-channel-length", "4", "--save-dir", save_dir, *ADAM, *KEEP, *more),
        ]
    )


def test_fine_tuning_starts_from_it_and_remembers_all_that_it_saw(stage3, corpus, tmp_path, capsys):
    log = fine_tune(corpus, stage3[0], tmp_path / "ft")
    assert logged(log, "valid")
    scored = ["evaluate", "--checkpoint", str(tmp_path / "ft" / "checkpoint_last.pt"), "--data", str(corpus)]
    assert main(scored) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 12


@pytest.fixture
def fold(corpus, tmp_path):
    """A fold that is tested on what the stages above were trained on."""
    fold = tmp_path / "fold"
    shutil.copytree(corpus, fold)
    for old, new in (("train", "held"), ("test", "train"), ("held", "test")):
        for path in fold.glob(f"{old}.*"):
            path.replace(path.with_name(path.name.replace(old, new, 1)))
    return fold


def test_what_one_fold_has_seen_is_refused_where_another_is_tested_on_it(stage3, units, fold, tmp_path):
    # Its frame labels come from a model that was trained with the clips' labels: transductive is not enough.
    for protocol in ("clean", "transductive"):
        with pytest.raises(EmofairError, match=r"checkpoint_last\.pt.*(test|leak|seen)"):
            fine_tune(fold, stage3[0], tmp_path / "ft", "--protocol", protocol)
    labels = tmp_path / "labels"
    labels.mkdir()
    for name in ("train.km4", "train.km9", "train.km4.json", "train.km9.json"):
        shutil.copy(units / name, labels / name)
    with pytest.raises(EmofairError, match=r"train\.km4\.json.*(test|leak|seen)"):
        train_here(stage3_arguments(fold, labels, tmp_path / "p3"))


def test_what_was_heard_without_labels_is_transductive(corpus, fold, tmp_path, capsys):
    mfcc, units = str(tmp_path / "mfcc"), tmp_path / "units"
    assert main(["features", "--features", "mfcc", "--manifest", str(corpus), "--split", "train", "--out", mfcc]) == 0
    assert main(["kmeans", "--features", mfcc, "--split", "train", "-k", "4,9", "--out", str(units)]) == 0
    models = f"{units / 'km4.npz'},{units / 'km9.npz'}"
    assert main(["units", "--features", mfcc, "--split", "train", "--kmeans", models, "--out", str(units)]) == 0
    train_here(stage3_arguments(corpus, units, tmp_path / "heard", "--max-update", "2"))
    heard = tmp_path / "heard" / "checkpoint_last.pt"
    with pytest.raises(EmofairError, match=r"checkpoint_last\.pt.*test"):
        fine_tune(fold, heard, tmp_path / "clean")
    log = fine_tune(fold, heard, tmp_path / "ft", "--protocol", "transductive")
    assert f"protocol transductive: {heard}" in log
    capsys.readouterr()
    score = ["evaluate", "--checkpoint", str(tmp_path / "ft" / "checkpoint_last.pt"), "--data", str(fold)]
    assert main(score) == 0
    assert json.loads(capsys.readouterr().out)["protocol"] == "transductive"
    assert main([*score, "--protocol", "paper"]) == 0
    capsys.readouterr()
    assert main([*score, "--protocol", "clean"]) == 2
    assert "trained under the transductive protocol, so its result cannot be called clean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--label-dir", "nowhere"), r"nowhere/train\.km4: cannot be read .*Make it with emofair units"),
        (("--num-clusters", "4,5"), r"train\.km5: cannot be read"),
        (("--num-clusters", "4,4"), "no list of different numbers"),
        (("--mask-time-prob", "0"), "nothing is masked"),
        (("--criterion", "emotion_classification"), "--criterion emotion_classification does not fit"),
    ],
)
def test_bad_options_are_told(corpus, units, tmp_path, change, told):
    with pytest.raises(EmofairError, match=told):
        train_here(stage3_arguments(corpus, units, tmp_path, *change))
