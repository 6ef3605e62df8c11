"""--user-dir by name. By path, under hydra, and `emofair train`: test_precision, test_hydra, test_distributed."""

from __future__ import annotations

import pytest

import emofair
from emofair.compat import PACKAGE
from emofair.errors import EmofairError
from emofair.testing.commands import logged, run, seed_arguments

SEMI = {
    "emotion_prediction": "emotion_semisup_prediction",
    "robertaEMO": "semiemo",
    "emotion_prediction_cri": "emotion_prediction_semisup_cri",
}


@pytest.fixture(scope="module")
def arguments(token_corpora, ssl_dir, tmp_path_factory):
    """A training of one update with the model that was registered last."""

    def make():
        folder = tmp_path_factory.mktemp("run")
        words = [SEMI.get(a, a) for a in seed_arguments(token_corpora("iemocap"), ssl_dir, folder)]
        return [*words, "--max-update", "1", "--no-save", "--disable-validation"]

    return make


@pytest.mark.parametrize(
    ("command", "where"),
    [
        (("fairseq-train", "--user-dir", "emofair"), "checkout"),
        (("fairseq-train", "--user-dir", "emofair"), "elsewhere"),
    ],
)
def test_plugin_is_found(command, where, arguments, tmp_path):
    done = run(*command, *arguments(), cold=True, cwd=PACKAGE.parent if where == "checkout" else tmp_path)
    assert "done training" in done.stdout
    # The same lines as fairseq's own, whatever brought the plugin in.
    assert logged(done.stdout, "train_inner")[0]["num_updates"] == "1"


def test_every_module_of_tasks_and_models_is_registered_whatever_an_older_installation_lists():
    """fairseq imports the files that it finds under --user-dir; of an editable install these are kept from that day."""
    emofair.register()
    from fairseq.models import MODEL_REGISTRY
    from fairseq.tasks import TASK_REGISTRY

    for room, registry in (("tasks", TASK_REGISTRY), ("models", MODEL_REGISTRY)):
        files = {path.stem for path in (PACKAGE / room).glob("[!_]*.py") if "@register_" in path.read_text()}
        registered = {found.__module__.rpartition(".")[2] for found in registry.values()}
        assert files
        assert files <= registered


def test_another_copy_of_the_plugin_is_not_used_in_silence(tmp_path):
    from emofair.cli.train import without_user_dir

    copy = tmp_path / "emofair"
    copy.mkdir()
    (copy / "__init__.py").write_text("")
    with pytest.raises(EmofairError, match="another copy of emofair"):
        without_user_dir(["--user-dir", str(copy)])
