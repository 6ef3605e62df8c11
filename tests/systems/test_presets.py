"""The presets of the waveform systems: what the equivalent flags say, every option listed, and `debug` trains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fairseq_cli import train
from omegaconf import OmegaConf

import emofair
from emofair.checkpoints import safe
from emofair.cli.main import main
from emofair.compat import forget_previous_job
from emofair.testing.clips import tone_corpus
from emofair.testing.commands import run
from emofair.testing.presets import from_flags, from_preset, options_of, plain
from emofair.testing.speech import tiny_speech_checkpoint, tiny_wav2vec_checkpoint, write_frame_labels

SHAPE = ("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "conv_pos")
SHAPE += ("conv_pos_groups", "conv_feature_layers", "final_dim", "latent_vars", "latent_groups", "latent_dim")
CONFIG = Path(emofair.__file__).parent / "config"

COMMON = [
    *("--user-dir", "emofair", "--optimizer", "adam", "--adam-betas", "(0.9, 0.999)", "--adam-eps", "1e-08"),
    *("--clip-norm", "0.0", "--no-epoch-checkpoints", "--required-batch-size-multiple", "1"),
]
GPU = ["--fp16", "--num-workers", "4", "--log-interval", "10", "--ddp-backend", "legacy_ddp", "--lr", "1e-4"]
SCHEDULE = ["--lr-scheduler", "warmup_hold_linear"]
CLASSIFY = ["--task", "speech_emotion", "--criterion", "emotion_classification", "--lr-scheduler", "fixed"]
BEST_UAR = ["--best-checkpoint-metric", "uar", "--maximize-best-checkpoint-metric"]
FT = [
    *(*COMMON, *GPU, *CLASSIFY, "--arch", "wav2vec2_ser", "--batch-size", "64", "--max-epoch", "15"),
    *(
        "--relu-features",
        "--frame-dropout",
        "0.0",
        "--head-dropout",
        "0.0",
        "--encoder-dropout",
        "0.1",
        "--attention-dropout",
        "0.1",
    ),
    *("--activation-dropout", "0.0", "--dropout-input", "0.1"),
]
STAGE1 = [
    *(*COMMON, *GPU, *SCHEDULE, "--warmup-updates", "0", "--warmup-ratio", "0.05", "--max-update", "10000"),
    *("--task", "speech_emotion", "--arch", "wav2vec_frame_classifier", "--criterion", "frame_utterance_emotion"),
    *("--batch-size", "64", "--train-subset", "p1_train", "--valid-subset", "p1_valid", "--crop", "min"),
    *("--best-checkpoint-metric", "loss"),
]
LONG = ["--max-update", "20000", "--disable-validation", "--save-interval-updates", "5000"]
PRETRAIN = [*COMMON, *GPU, *SCHEDULE, "--warmup-updates", "100", *LONG, "--keep-interval-updates", "1"]
TAPT = [
    *(*PRETRAIN, "--task", "audio_pretraining", "--arch", "wav2vec2", "--criterion", "wav2vec", "--infonce"),
    *("--batch-size", "64", "--skip-invalid-size-inputs-valid-test", "--enable-padding"),
    *("--max-sample-size", "160000", "--min-sample-size", "5840"),
    *("--quantize-targets", "--final-dim", "256", "--latent-vars", "320", "--latent-groups", "2"),
    *("--num-negatives", "100", "--dropout-input", "0.1", "--dropout-features", "0.1", "--mask-length", "10"),
    *("--conv-feature-layers", "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"),
]
STAGE3 = [
    *(*PRETRAIN, "--task", "pseudo_label_pretraining", "--arch", "wav2vec2_pseudo_label"),
    *("--criterion", "pseudo_label", "--max-tokens", "4000000"),
    *(
        "--encoder-dropout",
        "0.1",
        "--attention-dropout",
        "0.1",
        "--activation-dropout",
        "0.0",
        "--dropout-input",
        "0.1",
    ),
]
FT_W2V2 = {
    "vft_paper": [
        *(*FT, "--disable-validation", "--crop", "head", "--batch-order", "random", "--drop-last"),
        *("--pooling", "mean_drop_last", "--mask-mode", "hf", "--freeze-mask-emb"),
    ],
    "vft_emofair": [*FT, *BEST_UAR, "--batch-order", "bucket", "--pooling", "mean"],
    "tapt_paper": [
        *(*TAPT, "--mask-prob", "0.05", "--latent-temp", "(1.0, 1.0, 1.0)", "--negatives-from-everywhere"),
        *("--feature-grad-mult", "1.0", "--encoder-layerdrop", "0.0", "--loss-weights", "[0.1, 0.0]"),
    ],
    "tapt_emofair": [
        *(*TAPT, "--mask-prob", "0.65", "--latent-temp", "(0.5, 0.5, 0.999995)", "--feature-grad-mult", "0.0"),
        *("--encoder-layerdrop", "0.05", "--loss-weights", "[0.1, 10.0]"),
    ],
    "ptapt1_paper": [
        *(*STAGE1, "--batch-order", "random", "--drop-last", "--min-crop-seconds", "0", "--max-seconds", "12"),
        *("--no-align-pad", "--mask-mode", "hf"),
    ],
    "ptapt1_emofair": [*STAGE1, "--batch-order", "bucket"],
    "ptapt3_paper": [
        *(*STAGE3, "--mask-time-prob", "0.06", "--mask-time-length", "15", "--mask-mode", "hf"),
        *("--label-slack", "2", "--freeze-mask-emb"),
    ],
    "ptapt3_emofair": STAGE3,
    "debug": [
        *(*COMMON, *CLASSIFY, *BEST_UAR, "--arch", "speech_emotion_tiny", "--lr", "1e-3", "--cpu"),
        *("--batch-size", "8", "--max-epoch", "3", "--num-workers", "0", "--log-interval", "1"),
        *("--distributed-world-size", "1", "--mask-channel-length", "4"),
    ],
}

HUBERT = [
    *(*COMMON[:4], "--adam-betas", "(0.9, 0.98)", "--adam-eps", "1e-06", "--weight-decay", "0.01"),
    *("--clip-norm", "10.0", "--no-epoch-checkpoints", "--required-batch-size-multiple", "1", "--fp16"),
    *("--log-interval", "10", "--ddp-backend", "legacy_ddp", "--lr", "5e-4", "--seed", "1337", "--num-workers", "6"),
    *("--lr-scheduler", "polynomial_decay", "--warmup-updates", "4000", "--total-num-update", "20000"),
    *("--max-update", "20000", "--update-freq", "4", "--max-tokens", "1400000", "--best-checkpoint-metric", "loss"),
    *("--skip-invalid-size-inputs-valid-test", "--task", "hubert_pretraining", "--labels", '["km"]'),
    *("--label-rate", "50", "--max-keep-size", "250000", "--max-sample-size", "250000", "--min-sample-size", "16000"),
    *("--arch", "hubert", "--final-dim", "256", "--untie-final-proj", "--mask-prob", "0.8"),
    *("--mask-length", "10", "--dropout", "0.1", "--attention-dropout", "0.1", "--dropout-input", "0.1"),
    *("--dropout-features", "0.1", "--feature-grad-mult", "0.0"),
    *("--criterion", "hubert", "--pred-masked-weight", "1", "--pred-nomask-weight", "0", "--loss-weights", "[10.0]"),
]
FLEA_SER = [
    *(*COMMON, *GPU, *CLASSIFY, *BEST_UAR, "--arch", "hubert_ser", "--weight-decay", "1e-5", "--seed", "1234"),
    *("--batch-size", "64", "--max-epoch", "40", "--max-seconds", "6", "--balance", "resample"),
    *(
        "--class-weights",
        "none",
        "--pooling",
        "attention",
        "--frame-dropout",
        "0.1",
        "--head-dropout",
        "0.0",
        "--encoder-dropout",
        "0.1",
    ),
    *("--attention-dropout", "0.1", "--activation-dropout", "0.1", "--dropout-input", "0.1", "--layerdrop", "0.1"),
    *("--mask-time-prob", "0.08", "--mask-time-length", "10", "--mask-channel-prob", "0.0", "--train-projection"),
]
FLEA = {
    "pretrain_paper": [*HUBERT, "--activation-dropout", "0.1", "--encoder-layerdrop", "0.1"],
    "pretrain_emofair": [*HUBERT, "--activation-dropout", "0.0", "--encoder-layerdrop", "0.05"],
    "ser_paper": [
        *FLEA_SER,
        "--crop",
        "head",
        "--eval-max-seconds",
        "6",
        "--batch-order",
        "random",
        "--mask-mode",
        "hf",
    ],
    "ser_emofair": [*FLEA_SER, "--batch-order", "bucket"],
}
FLAGS = {
    f"{system}/{name}": flags for system, own in (("ft_w2v2", FT_W2V2), ("flea", FLEA)) for name, flags in own.items()
}


def test_each_stage_has_a_preset_as_published_and_a_mended_one():
    found = {path for system in ("ft_w2v2", "flea") for path in (CONFIG / system).glob("*.yaml")}
    assert found == {CONFIG / f"{preset}.yaml" for preset in FLAGS}


@pytest.mark.parametrize("preset", FLAGS)
def test_preset_resolves_to_the_configuration_of_the_equivalent_flags(preset):
    system, name = preset.split("/")
    # The data of fairseq's own tasks are a word without an option.
    data = ["x"] if {"audio_pretraining", "hubert_pretraining"} & set(FLAGS[preset]) else ["--data", "x"]
    theirs = from_flags([*FLAGS[preset], *data])
    ours = from_preset(CONFIG / system, name, "task.data=x")
    # Whether a seed was typed is only known for flags, and only used by fairseq-generate.
    ours.generation.no_seed_provided = theirs.generation.no_seed_provided
    assert plain(ours) == plain(theirs)


@pytest.mark.parametrize("preset", FLAGS)
def test_preset_lists_every_option_so_that_none_needs_a_plus(preset):
    listed = OmegaConf.load(CONFIG / f"{preset}.yaml")
    for group in ("task", "model", "criterion", "optimizer", "lr_scheduler"):
        assert set(listed[group]) | {"_name"} == options_of(group, listed[group]._name), group


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Clips, frame labels and tiny stand-ins for the public models."""
    folder = tmp_path_factory.mktemp("prepared")
    corpus = tone_corpus(folder / "tones", {"train": 8, "valid": 3, "test": 3}, seconds=(1.0, 1.2))
    for split in ("train", "valid"):
        for path in corpus.glob(f"{split}.*"):
            shutil.copy(path, corpus / f"p1_{path.name}")
    write_frame_labels(corpus)
    for k in (64, 512, 4096):
        for name in ("train.km", "dict.km.txt"):
            shutil.copy(corpus / name, corpus / name.replace("km", f"km{k}"))
    for kind in ("wav2vec2", "hubert"):
        tiny_speech_checkpoint(folder / f"{kind}.pt", kind)
    tiny_wav2vec_checkpoint(folder / "wav2vec.pt")
    words = ["convert", folder / "hubert.pt", "--to", "fairseq", "--reset-labels", 9, "--out", folder / "start.pt"]
    assert main([str(word) for word in words]) == 0
    return folder


PUBLISHED = {
    "ft_w2v2/vft_paper": ("model.w2v_path", "wav2vec2.pt"),
    "ft_w2v2/tapt_paper": ("checkpoint.finetune_from_model", "wav2vec2.pt"),
    "ft_w2v2/ptapt1_paper": ("model.w2v_path", "wav2vec.pt"),
    "ft_w2v2/ptapt3_paper": ("model.w2v_path", "wav2vec2.pt"),
    "flea/ser_paper": ("model.w2v_path", "hubert.pt"),
    "flea/pretrain_paper": ("checkpoint.finetune_from_model", "start.pt"),
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_what_is_published_trains(preset, prepared, tmp_path):
    system, name = preset.split("/")
    option, start = PUBLISHED[preset]
    overrides = [f"task.data={prepared / 'tones'}", f"{option}={prepared / start}", f"checkpoint.save_dir={tmp_path}"]
    overrides += ["common.fp16=false", "common.cpu=true", "dataset.num_workers=0", "optimization.max_update=1"]
    overrides += ["dataset.batch_size=4", "optimization.update_freq=[1]"]
    listed = OmegaConf.load(CONFIG / f"{preset}.yaml")
    if "label_dir" in listed.task:
        overrides += [f"task.label_dir={prepared / 'tones'}"]
    if "warmup_updates" in listed.lr_scheduler:
        overrides += ["lr_scheduler.warmup_updates=0"]
    if option == "checkpoint.finetune_from_model":
        shape = safe.load(prepared / start)["cfg"]["model"]
        overrides += [f"model.{key}={json.dumps(shape[key])}" for key in SHAPE if key in listed.model and key in shape]
    forget_previous_job()
    train.main(from_preset(CONFIG / system, name, *overrides))
    assert (tmp_path / "checkpoint_last.pt").is_file()


def test_debug_trains_in_another_directory(tmp_path):
    corpus = tone_corpus(tmp_path / "tones", {"train": 16, "valid": 6})
    overrides = (f"task.data={corpus}", f"checkpoint.save_dir={tmp_path / 'out'}", "optimization.max_epoch=1")
    run("fairseq-hydra-train", "--config-dir", CONFIG / "ft_w2v2", "--config-name", "debug", *overrides, cwd=tmp_path)
    assert (tmp_path / "out" / "checkpoint_best.pt").is_file()
