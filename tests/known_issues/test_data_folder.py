"""fairseq lists the folder of the data before the task looks at it: a wrong one ended in its FileNotFoundError."""

from __future__ import annotations

import pytest

from emofair.errors import EmofairError
from emofair.testing.commands import seed_arguments, train_here


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--data", "missing", "missing: no such folder"),
        ("--data", "file", "file: this is a file, and a folder is needed"),
        ("--data", None, "no manifest folder is given. Add --data DIR"),
        ("--data-raw", "missing", "missing: no such folder"),
        ("--data-raw", "file", "file: no such folder"),
        ("--data-raw", None, "no folder of token files is given. Add --data-raw DIR"),
    ],
)
def test_wrong_folder_is_told_in_one_line(option, value, said, token_corpora, ssl_dir, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = seed_arguments(token_corpora("iemocap"), ssl_dir, tmp_path / "run")
    at = arguments.index(option)
    arguments[at : at + 2] = [option, str(tmp_path / value)] if value else []
    with pytest.raises(EmofairError) as error:
        train_here(arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
