"""A checkpoint of the original code, rewritten and then used by the other commands."""

from __future__ import annotations

import csv
import json
import re
from argparse import Namespace

import numpy as np
import pytest
import torch

from emofair.checkpoints import safe
from emofair.cli.main import main
from emofair.data.token_dataset import collate_tokens
from emofair.data.token_files import parse_tokens
from emofair.errors import EmofairError
from emofair.testing import SPEECH_WORDS, TEXT_WORDS
from emofair.testing.commands import run
from emofair.testing.original_robertaemo import HEAD, OriginalRobertaEMO

SHAPE = {"words": (TEXT_WORDS, SPEECH_WORDS), "max_positions": (512, 2048)}
TARGETS = {
    "iemocap": (8, {}),
    "meld": (7, {"binary_target_iemocap": False, "softmax_target_meld": True}),
    "mosi": (1, {"binary_target_iemocap": False, "regression_target_mos": True}),
}


def tokens_of(corpus, split, kind):
    files = [parse_tokens(corpus.raw / split / kind / f"{name}.txt") for name in corpus.ids[split]]
    return torch.from_numpy(collate_tokens(files, 512))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("stack_up", [False, True])
def test_evaluate_gives_the_originals_predictions(token_corpora, tmp_path, capsys, target, stack_up):
    classes, options = TARGETS[target]
    original = OriginalRobertaEMO(classes=classes, stack_up=stack_up, **SHAPE)
    foreign, ours = original.save(tmp_path / "upstream.pt", **options), tmp_path / "new" / "ours.pt"
    assert main(["convert", str(foreign), "--to", "fairseq", "--out", str(ours)]) == 0
    said = capsys.readouterr().out
    assert ("cross-attention (attn, 2)" if stack_up else "concatenation") in said and "protocol paper" in said
    foreign.unlink()
    corpus = token_corpora(target)
    paths = ["--data", str(corpus.data), "--data-raw", str(corpus.raw), "--out", str(tmp_path / "result")]
    assert main(["evaluate", "--checkpoint", str(ours), *paths]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["protocol"], result["seed"], result["updates"]) == ("paper", 7, 2760)
    assert (result["selected_on"], result["selected_value"]) == ("valid/loss", 0.42)
    with (tmp_path / "result" / "predictions.tsv").open(encoding="utf-8", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file, delimiter="\t")}
    text, speech = (tokens_of(corpus, "test", kind) for kind in ("text", "audio_token"))
    logits = original.logits(text, speech, use_cross=stack_up)
    expected = {
        "iemocap": lambda: logits.view(len(logits), 4, 2).softmax(-1)[..., 1],
        "meld": lambda: logits.softmax(-1),
        "mosi": lambda: logits,
    }[target]()
    ours = [
        [float(v) for k, v in rows[name].items() if k.startswith("p_") or k == "value"] for name in corpus.ids["test"]
    ]
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)


def test_fairseq_validate_takes_it(token_corpora, tmp_path):
    foreign = OriginalRobertaEMO(**SHAPE).save(tmp_path / "upstream.pt")
    assert main(["convert", str(foreign), "--to", "fairseq", "--out", str(tmp_path / "ours.pt")]) == 0
    corpus = token_corpora("iemocap")
    done = run(
        *("fairseq-validate", "--user-dir", "emofair", "--task", "emotion_prediction", "--data", corpus.data),
        *("--data-raw", corpus.raw, "--path", tmp_path / "ours.pt", "--valid-subset", "test", "--batch-size", 4),
        "--cpu",
    )
    assert "accuracy_neutral" in done.stdout


@pytest.mark.parametrize("modality", ["text", "speech"])
def test_one_modality_and_given_heads(tmp_path, capsys, modality):
    original = OriginalRobertaEMO(modalities=(modality,), widths=(96, 96))
    foreign = original.save(tmp_path / "upstream.pt")
    arguments = ["convert", str(foreign), "--to", "fairseq", "--out", str(tmp_path / "ours.pt")]
    assert main(arguments) == 2
    assert f"--{modality}-heads" in capsys.readouterr().err
    assert main([*arguments, f"--{modality}-heads", "1"]) == 0
    from emofair.inference.checkpoint import load_checkpoint

    model = load_checkpoint(tmp_path / "ours.pt").model
    tokens = torch.tensor([[0, 8, 9, 2, 1], [0, 5, 6, 7, 2]])
    ours = model(audio=tokens, text=tokens, classification_head_name=HEAD)[0]
    torch.testing.assert_close(ours, original.logits(tokens, tokens, use_cross=False), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_text("hello"), "not a checkpoint|not a torch"),
        (
            lambda path: torch.save({"args": Namespace(a=1), "model": {"w": torch.zeros(1)}}, path),
            "holds no wav2vec 2.0",
        ),
        (lambda path: OriginalRobertaEMO().save(path, binary_target_iemocap=False), "does not tell what it predicts"),
        (lambda path: OriginalRobertaEMO(classes=5).save(path), "--num-classes 5 does not fit"),
    ],
    ids=["absent", "text", "foreign", "no target", "wrong width"],
)
def test_what_cannot_be_converted_is_named(tmp_path, capsys, make, said):
    path, out = tmp_path / "upstream.pt", tmp_path / "ours.pt"
    make(path)
    assert main(["convert", str(path), "--to", "fairseq", "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(path) in line and re.search(said, line), line
    assert not out.exists()


def test_an_unusable_output_leaves_nothing_behind(tmp_path, capsys):
    path = OriginalRobertaEMO().save(tmp_path / "upstream.pt")
    assert main(["convert", str(path), "--to", "fairseq", "--out", str(tmp_path)]) == 2
    assert "a file is needed" in capsys.readouterr().err
    assert main(["convert", str(path), "--to", "fairseq", "--out", str(path / "x.pt")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["upstream.pt"]


def test_the_original_itself_is_refused_with_the_way_on(tmp_path, token_corpora, capsys):
    path = OriginalRobertaEMO().save(tmp_path / "upstream.pt")
    corpus = token_corpora("iemocap")
    way_on = f"emofair convert {path} --to fairseq --out FILE"
    for command in (["evaluate", "--data", str(corpus.data)], ["predict", "--text", "hello"]):
        assert main([command[0], "--checkpoint", str(path), *command[1:]]) == 2
        assert way_on in capsys.readouterr().err
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu  # of fairseq-validate and --restore-file

    with pytest.raises(EmofairError, match=re.escape(way_on)):
        load_checkpoint_to_cpu(str(path))
    # Without what fairseq wants to bring up to date, as in a file that somebody made smaller.
    stored = safe.load(path)
    stored["optimizer_history"] = [{"num_updates": 2760}]
    torch.save(stored, path)
    with pytest.raises(EmofairError, match=re.escape(way_on)):
        load_checkpoint_to_cpu(str(path))


def test_fairseq_validate_says_so_too(token_corpora, tmp_path):
    foreign = OriginalRobertaEMO(**SHAPE).save(tmp_path / "upstream.pt")
    done = run(
        *("fairseq-validate", "--user-dir", "emofair", "--task", "emotion_prediction", "--path", foreign),
        *("--data", token_corpora("iemocap").data, "--batch-size", 4, "--cpu"),
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"emofair convert {foreign} --to fairseq --out FILE.")


def test_only_the_trained_output_layer_is_kept(tmp_path, capsys):
    original = OriginalRobertaEMO()
    path = original.save(tmp_path / "upstream.pt")
    stored = safe.load(path)
    for part in ("weight", "bias"):
        stored["model"][f"classification_heads.spare.out_proj.{part}"] = stored["model"][
            f"classification_heads.{HEAD}.out_proj.{part}"
        ]
    torch.save(stored, path)
    assert main(["convert", str(path), "--to", "fairseq", "--out", str(tmp_path / "ours.pt")]) == 0
    kept = safe.load(tmp_path / "ours.pt")["model"]
    assert {name.split(".")[1] for name in kept if name.startswith("classification_heads")} == {HEAD}


def test_a_pickled_k_means_becomes_centroids_that_every_command_reads(tmp_path, capsys):
    import joblib
    from sklearn.cluster import MiniBatchKMeans

    from emofair.units.kmeans import load_kmeans

    model = MiniBatchKMeans(3, n_init=1, random_state=0).fit(np.random.default_rng(0).random((50, 4), dtype=np.float32))
    joblib.dump(model, tmp_path / "km.bin")
    words = ["convert", str(tmp_path / "km.bin"), "--to", "npy", "--out"]
    assert main([*words, str(tmp_path / "new" / "km.npy")]) == 0
    assert "3 centroids of width 4" in capsys.readouterr().out
    np.testing.assert_array_equal(load_kmeans(tmp_path / "new" / "km.npy").centroids, model.cluster_centers_)
    assert main([*words, str(tmp_path / "km.npz")]) == 2
    assert "ends in .npy" in capsys.readouterr().err
