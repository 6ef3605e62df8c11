import json
import shutil

import pytest

from emofair.errors import EmofairError
from emofair.reports.runs import find_runs, read_record


def test_runs_are_found_at_any_depth_once(write_run):
    write_run("b/seed2/test")
    write_run("a")
    runs = find_runs([write_run.root, write_run.root / "a"])
    assert [run.folder.relative_to(write_run.root).as_posix() for run in runs] == ["a", "b/seed2/test"]


def test_the_log_lies_beside_the_result_or_above_it(write_run):
    write_run("own", log={})
    write_run("above/test")
    shutil.copy(write_run.root / "own" / "train.log", write_run.root / "above" / "train.log")
    write_run("shared/seed1/test")
    write_run("shared/seed2/test")
    shutil.copy(write_run.root / "own" / "train.log", write_run.root / "shared" / "train.log")
    found = {
        run.folder.relative_to(write_run.root).as_posix(): run.curves is not None for run in find_runs([write_run.root])
    }
    # One log above two runs can be the log of neither.
    assert found == {"own": True, "above/test": True, "shared/seed1/test": False, "shared/seed2/test": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "no JSON object"),
        ('{"metrics": {}, "split": "test"}', "no 'protocol'"),
        (
            '{"metrics": {"accuracy": "high"}, "split": "test", "protocol": "clean"}',
            "'accuracy' in 'metrics' is no number",
        ),
        ('{"metrics": {"accuracy": true}, "split": "test", "protocol": "clean"}', "is no number"),
        ('{"metrics": {"accuracy": NaN}, "split": "test", "protocol": "clean"}', "is no number"),
        ('{"metrics": {}, "split": 3, "protocol": "clean"}', "'split' is 3"),
        ('{"metrics": {}, "split": "a", "protocol": "clean", "modalities": "text"}', "'modalities' is 'text'"),
        (
            '{"metrics": {}, "split": "a", "protocol": "clean", "confusion": [[1]], "confusion_classes": [0]}',
            r"'confusion_classes' is \[0\], not names",
        ),
        (
            '{"metrics": {}, "split": "a", "protocol": "clean", "confusion": [[1]], "confusion_classes": ["a", "b"]}',
            "no matrix of counts of the 2 classes",
        ),
        ("\udcff", "cannot be read as JSON"),
    ],
)
def test_a_malformed_result_is_named(tmp_path, text, message):
    file = tmp_path / "metrics.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(EmofairError, match=message) as error:
        find_runs([tmp_path])
    assert str(file) in str(error.value) and "emofair evaluate" in str(error.value)


def test_folders_without_runs(tmp_path):
    with pytest.raises(EmofairError, match=r"absent: no such folder"):
        find_runs([tmp_path / "absent"])
    with pytest.raises(EmofairError, match=r"no metrics\.json in or under"):
        find_runs([tmp_path])
    (tmp_path / "x").write_text("")
    with pytest.raises(EmofairError, match="a file, and a folder is needed"):
        find_runs([tmp_path / "x"])


def test_a_result_of_another_program_needs_only_the_minimum(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"metrics": {"jga": 0.5}, "split": "test", "protocol": "paper"}))
    (run,) = find_runs([tmp_path])
    assert run.get("metrics") == {"jga": 0.5} and run.get("seed") is None and run.curves is None


def test_paths_below_the_working_directory_are_relative(tmp_path, monkeypatch):
    record = {"metrics": {"accuracy": 0.5}, "split": "test", "protocol": "clean", "data": f"{tmp_path}/tokens/T_data"}
    record["train_command"] = f"fairseq-train --data {tmp_path}/tokens/T_data --save-dir {tmp_path.parent}/elsewhere"
    (tmp_path / "metrics.json").write_text(json.dumps(record))
    monkeypatch.chdir(tmp_path)
    read = read_record(tmp_path / "metrics.json")
    assert read["data"] == "tokens/T_data"
    assert read["train_command"] == f"fairseq-train --data tokens/T_data --save-dir {tmp_path.parent}/elsewhere"
