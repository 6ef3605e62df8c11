"""``--semisup uda`` with the plain task or the plain criterion trained, and silently used no unlabelled utterance."""

from __future__ import annotations

import pytest

from emofair.errors import EmofairError
from emofair.testing.commands import seed_arguments, train_here

TASK, CRITERION = "emotion_semisup_prediction", "emotion_prediction_semisup_cri"


@pytest.mark.parametrize(
    ("method", "task", "criterion", "said"),
    [
        ("uda", "emotion_prediction", CRITERION, "--semisup uda does nothing with --task emotion_prediction"),
        ("mixmatch", "emotion_prediction", "emotion_prediction_cri", "--semisup mixmatch does nothing"),
        ("uda", TASK, "emotion_prediction_cri", "--criterion emotion_prediction_cri has no loss for unlabelled"),
    ],
)
def test_task_and_criterion_must_both_know_of_them(method, task, criterion, said, token_corpora, ssl_dir, tmp_path):
    chosen = {"emotion_prediction": task, "emotion_prediction_cri": criterion, "robertaEMO": "semiemo"}
    arguments = [chosen.get(a, a) for a in seed_arguments(token_corpora("iemocap"), ssl_dir, tmp_path)]
    with pytest.raises(EmofairError, match=said) as caught:
        train_here([*arguments, "--stack-up", "--semisup", method, "--num-workers", "0"])
    assert f"--task {TASK} with --criterion {CRITERION}" in str(caught.value)
    assert not list(tmp_path.glob("*.pt"))
