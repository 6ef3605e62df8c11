"""A stored configuration becomes the command line that gives it again."""

import shlex

import pytest

import emofair
from emofair.inference import training_command as ours

MINIMUM = ["--task", "emotion_prediction", "--arch", "robertaEMO", "--criterion", "emotion_prediction_cri"]
RICH = [
    *("--task", "emotion_prediction", "--arch", "robertaEMO_mulT", "--criterion", "emotion_prediction_cri"),
    *("--softmax-target-meld", "--emotions", "joy, anger", "--a-only", "--t-only", "--cross-block", "full"),
    *(
        "--optimizer",
        "adam",
        "--adam-betas",
        "(0.9, 0.98)",
        "--lr",
        "1e-05,2e-05",
        "--lr-scheduler",
        "polynomial_decay",
    ),
    *("--total-num-update", "2760", "--update-freq", "8,4", "--batch-size", "4", "--batch-size-valid", "2"),
    *("--protocol", "paper", "--autocast-bf16", "--save-predictions", "/x/p.tsv", "--eval-metric", "--seed", "7"),
    *("--best-checkpoint-metric", "uar", "--maximize-best-checkpoint-metric", "--restore-file", "None"),
    *("--ddp-backend=no_c10d", "--find-unused-parameters", "--classification-head-name", "other", "--clip-norm", "0.5"),
]


def configuration(arguments):
    """What fairseq-train stores for a command line."""
    emofair.register()
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from omegaconf import OmegaConf

    args = options.parse_args_and_arch(options.get_training_parser(), input_args=arguments)
    return OmegaConf.to_container(convert_namespace_to_omegaconf(args), resolve=True, enum_to_str=True)


@pytest.mark.parametrize("arguments", [MINIMUM, RICH], ids=["minimum", "rich"])
def test_the_command_gives_the_same_configuration(arguments):
    arguments = [*arguments, "--optimizer", "adam"]
    stored = configuration(arguments)
    words = shlex.split(ours.training_command(stored))
    assert words[:3] == ["fairseq-train", "--user-dir", "emofair"]
    again = configuration(words[3:])
    for section in ours.SECTIONS:
        assert again[section] == stored[section], section
    for name in ours.DISTRIBUTED:
        assert again["distributed_training"][name] == stored["distributed_training"][name]


def test_only_what_differs_from_the_defaults_is_said():
    words = shlex.split(ours.training_command(configuration([*MINIMUM, "--optimizer", "adam", "--max-epoch", "3"])))
    assert words[-2:] == ["--max-epoch", "3"] and "--batch-size-valid" not in words and "--tpu" not in words


def test_settings_are_what_must_be_equal():
    first = ours.settings(configuration([*RICH, "--data", "/a/fold1", "--log-format", "json"]))
    second = ours.settings(configuration([*RICH, "--data", "/a/fold2", "--seed", "9", "--save-dir", "elsewhere"]))
    other = ours.settings(configuration([*RICH, "--dropout", "0.3"]))
    assert first == second != other and other["dropout"] == 0.3 and "seed" not in first


def test_pretrained_models_of_each_fold_are_one_setting():
    folds = [
        ours.settings(configuration([*MINIMUM, "--optimizer", "adam", "--ssl-dir", f"/ssl/fold{k}"])) for k in (1, 2)
    ]
    assert folds[0] == folds[1] and folds[0]["ssl_dir"] == "/ssl/fold*"
    other = ours.settings(configuration([*MINIMUM, "--optimizer", "adam", "--ssl-dir", "/folder/fold_2_all"]))
    assert other["ssl_dir"] == "/folder/fold*_all"


def test_paths_under_the_working_directory_are_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored = configuration([*MINIMUM, "--optimizer", "adam", "--data", str(tmp_path / "T_data"), "--data-raw", "/raw"])
    words = shlex.split(ours.training_command(stored))
    assert words[words.index("--data") + 1] == "T_data" and words[words.index("--data-raw") + 1] == "/raw"


def test_parts_that_are_not_registered_have_no_command():
    stored = configuration([*MINIMUM, "--optimizer", "adam"])
    stored["model"]["_name"] = "somebody_elses"
    assert ours.training_command(stored) is ours.settings(stored) is None


def test_a_model_that_fairseq_did_not_train_has_no_command():
    """Converted from another program: there was no optimizer of fairseq's, and a command without one cannot run."""
    stored = configuration(MINIMUM)
    assert stored["optimizer"] is None
    assert ours.training_command(stored) is None and ours.settings(stored) is not None
