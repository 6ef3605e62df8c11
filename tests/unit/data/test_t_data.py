import logging
import os
from pathlib import Path

import numpy as np
import pytest

from emofair.data.labels import MODES
from emofair.data.t_data import Row, check_token_folder, members, read_items, write_split
from emofair.errors import EmofairError

IEMOCAP, MOS = MODES["binary_target_iemocap"], MODES["regression_target_mos"]


@pytest.fixture
def published(tmp_path):
    """Every oddity of the published IEMOCAP and MOSI folders in miniature."""
    files = {
        # two text rows belong to another split, so the lists are misaligned from the second row on
        "train_a.tsv": b"10_s_1_neu.wav\n11_s_2_exc.wav\n12_s_3_fru.wav\n13_s_1_hap.wav\n14_s_1_sad.wav",
        "train_t.tsv": b"10_s_1_neu.txt\n90_s_4_neu.txt\n14_s_1_sad.txt\n13_s_1_hap.txt\n"
        b"91_s_4_ang.txt\n11_s_2_exc.txt\n12_s_3_fru.txt\n",
        "train_size.tsv": b"90_s_4_neu,3,30\r\n13_s_1_hap,7,70\r\n10_s_1_neu,4,40\r\n11_s_2_exc,5,50\r\n",
        "label_file_train.csv": b"FileName,Emotion\r\n91_s_4_ang,ang\r\n"
        b"13_s_1_hap,hap\r\n12_s_3_fru,fru\r\n10_s_1_neu,neu\r\n11_s_2_exc,exc",
        "valid_a.tsv": b"90_s_4_neu.wav\n",
        "valid_t.tsv": b"90_s_4_neu.txt",
        "label_file_valid.csv": b"FileName,Emotion\r\n10_s_1_neu,neu\r\n90_s_4_neu,neu\r\n",
        "test_a.tsv": b"-aV_1.wav\nbV_2.wav\ncV_3.wav\n",
        "test_t.tsv": b"-aV_1.txt\nbV_2.txt\ncV_3.txt\n",
        "test_v.tsv": b"-aV_1.mp4\nbV_2.mp4\ncV_3.mp4\n",
        "test_size.tsv": b"FileName,text,audio\r\n-aV_1,10,351\r\ncV_3,30,648\r\nbV_2,31,649\r\nzz,1,1\r\n",
        "label_file_test.csv": b"FileName,sentiment_score\n-aV_1,2.40000009536743\nzz,nan\ncV_3,0\nbV_2,-3\n",
        "summary.csv": b"Filename,Start\r\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_a_misaligned_folder_is_joined_by_id(published, caplog):
    with caplog.at_level(logging.WARNING):
        items = read_items(published, "train", IEMOCAP)
    assert items.ids == ["10_s_1_neu", "11_s_2_exc", "13_s_1_hap"]
    assert items.labels.tolist() == [0, 3, 3]
    assert items.labels.dtype == np.int64
    assert items.n_text.tolist() == [4, 5, 7]
    assert items.n_audio.tolist() == [40, 50, 70]
    assert items.report == {"only in the text list": 2, "no label": 1, "unknown label 'fru'": 1}
    (line,) = (record.getMessage() for record in caplog.records)
    assert "3 items" in line
    assert all(f"{reason}: {count}" in line for reason, count in items.report.items())


def test_strict_names_the_first_row_that_differs(published):
    with pytest.raises(EmofairError, match=r"train_a\.tsv:2: .*from item 2 on: 11_s_2_exc here, 90_s_4_neu in train_t"):
        read_items(published, "train", IEMOCAP, strict=True)
    (published / "test_t.tsv").write_text("-aV_1.txt\nbV_2.txt\n")
    with pytest.raises(EmofairError, match=r"test_a\.tsv:3: .*from item 3 on: cV_3 here, nothing in test_t"):
        read_items(published, "test", MOS, strict=True)


def test_strict_names_items_that_would_be_left_out(published):
    (published / "train_t.tsv").write_bytes((published / "train_a.tsv").read_bytes().replace(b".wav", b".txt"))
    with pytest.raises(
        EmofairError, match=r"label_file_train\.csv:4: label 'fru' of 12_s_3_fru is none of neutral, sad"
    ):
        read_items(published, "train", IEMOCAP, strict=True)
    with open(published / "label_file_train.csv", "a") as file:
        file.write("\n12_s_3_fru2,neu\n")
    labels = (published / "label_file_train.csv").read_text().replace(",fru", ",neu")
    (published / "label_file_train.csv").write_text(labels)
    with pytest.raises(EmofairError, match=r"train_a\.tsv:5: 14_s_1_sad has no label in label_file_train\.csv"):
        read_items(published, "train", IEMOCAP, strict=True)


def test_scores_are_rounded_and_zeros_are_kept(published):
    items = read_items(published, "test", MOS)
    assert items.ids == ["-aV_1", "bV_2", "cV_3"]
    assert items.labels.tolist() == pytest.approx([2.4, -3, 0], abs=1e-7)
    assert items.labels.dtype == np.float64
    assert items.n_audio.tolist() == [351, 649, 648]
    assert items.report == {}
    plain = read_items(published, "test", MODES["regression_target"])
    assert plain.labels[0] == 2.40000009536743


@pytest.mark.parametrize("bad", ["nan", "inf", "-Infinity", "positive", "1,5"])
def test_scores_that_are_no_numbers_name_the_row(published, bad):
    (published / "label_file_test.csv").write_text(f"FileName,sentiment_score\n-aV_1,1\nbV_2,{bad}\ncV_3,1\n")
    with pytest.raises(EmofairError, match=r"label_file_test\.csv:3: "):
        read_items(published, "test", MOS)


def test_missing_sizes_are_minus_one(published):
    assert read_items(published, "valid", IEMOCAP).n_audio.tolist() == [-1]
    (published / "test_size.tsv").write_text("bV_2,5,6\n")
    assert read_items(published, "test", MOS).n_audio.tolist() == [-1, 6, -1]


def test_one_modality_needs_only_its_list(published):
    (published / "valid_a.tsv").unlink()
    assert read_items(published, "valid", IEMOCAP, modalities=("text",)).ids == ["90_s_4_neu"]
    with pytest.raises(EmofairError, match=r"there is no valid_a\.tsv .*valid_t\.tsv"):
        read_items(published, "valid", IEMOCAP, modalities=("text", "speech"))
    with pytest.raises(ValueError, match="modalities"):
        read_items(published, "valid", IEMOCAP, modalities=("audio",))


def test_without_a_mode_no_labels_are_needed(published):
    (published / "label_file_train.csv").unlink()
    items = read_items(published, "train", None)
    assert len(items) == 5
    assert items.labels is None
    with pytest.raises(EmofairError, match=r"no label_file_train\.csv"):
        read_items(published, "train", IEMOCAP)


def test_a_split_that_ends_up_empty_is_an_error(published):
    with pytest.raises(EmofairError, match=r"'test' has no usable item \(3 listed\).*label_file_test"):
        read_items(published, "test", IEMOCAP)
    (published / "valid_t.tsv").write_text("other.txt\n")
    with pytest.raises(EmofairError, match="speech and text lists of split 'valid' share no id"):
        read_items(published, "valid", IEMOCAP)


@pytest.mark.parametrize(("letter", "modality"), [("a", "speech"), ("t", "text")])
def test_an_empty_list_is_named(published, letter, modality):
    (published / f"valid_{letter}.tsv").write_text("\n")
    with pytest.raises(EmofairError, match=rf"valid_{letter}\.tsv: the {modality} list of split 'valid' is empty"):
        read_items(published, "valid", IEMOCAP)


def test_repeated_ids_are_counted_and_an_error_when_strict(published, caplog):
    for letter in "at":
        lines = (published / f"test_{letter}.tsv").read_text().splitlines()
        (published / f"test_{letter}.tsv").write_text("\n".join([*lines, lines[1], lines[1]]))
    items = read_items(published, "test", MOS)
    assert items.ids == ["-aV_1", "bV_2", "cV_3"]
    assert items.report == {"repeated in the speech list": 2, "repeated in the text list": 2}
    assert "left out: repeated in the speech list: 2, repeated in the text list: 2" in caplog.text
    with pytest.raises(EmofairError, match=r"test_a\.tsv:4: bV_2 is listed again, first in row 2"):
        read_items(published, "test", MOS, strict=True)


def test_a_label_file_without_header_is_reported(published, caplog):
    (published / "label_file_test.csv").write_text("-aV_1,1\nbV_2,1\ncV_3,1\n")
    assert len(read_items(published, "test", MOS)) == 2
    assert "it names item -aV_1" in caplog.text


def test_members_are_what_every_list_names(published):
    listed = {"10_s_1_neu", "11_s_2_exc", "12_s_3_fru", "13_s_1_hap", "14_s_1_sad"}
    assert members(published, "train") == listed  # not what only one list, the labels or the sizes name
    (published / "train_a.tsv").unlink()
    assert members(published, "train") == listed | {"90_s_4_neu", "91_s_4_ang"}
    assert members(published, "absent") is None


def test_what_is_written_is_read_back(tmp_path):
    rows = [Row("a.b-1", "neu", 30, 4), Row("-é_2", "hap", 20, 5)]
    write_split(tmp_path, "train", rows, "emotion")
    items = read_items(tmp_path, "train", IEMOCAP, strict=True)
    assert items.ids == ["a.b-1", "-é_2"]
    assert (items.labels.tolist(), items.n_audio.tolist(), items.n_text.tolist()) == ([0, 3], [30, 20], [4, 5])


def test_token_folder_check(tmp_path):
    with pytest.raises(EmofairError, match="no such folder"):
        check_token_folder(tmp_path / "raw")
    with pytest.raises(EmofairError, match="it is empty"):
        check_token_folder(tmp_path)
    (tmp_path / "wav").mkdir()
    with pytest.raises(EmofairError, match="it holds wav"):
        check_token_folder(tmp_path)
    (tmp_path / "train" / "text").mkdir(parents=True)
    check_token_folder(tmp_path)


REAL = Path(os.environ.get("EMOFAIR_TEST_DATA", "/nonexistent")) / "robertaemo_manifests"


@pytest.mark.skipif(not REAL.is_dir(), reason="EMOFAIR_TEST_DATA names no folder with robertaemo_manifests")
def test_the_published_folders_load_with_their_known_counts():
    # split -> items, (neutral, sad, angry, happy), most text tokens, most audio tokens, items over 2048 audio tokens
    iemocap = {
        "train": (3228, [1055, 688, 606, 499 + 380], 112, 2913, 6),
        "valid": (1030, [258, 142, 327, 238 + 65], 106, 2436, 3),
        "test": (1241, [384, 245, 170, 299 + 143], 129, 3413, 6),
    }
    for split, expected in iemocap.items():
        items = read_items(REAL / "iemocap", split, IEMOCAP)
        longest = items.n_text.max(), items.n_audio.max(), (items.n_audio > 2048).sum()
        assert (len(items), np.bincount(items.labels).tolist(), *longest) == expected
    # split -> items, zero, negative, positive, most text tokens, most audio tokens
    mosi = {
        "train": (1284, 53, 552, 679, 126, 5244),
        "valid": (229, 13, 92, 124, 49, 1489),
        "test": (686, 30, 379, 277, 123, 3196),
    }
    for split, expected in mosi.items():
        items = read_items(REAL / "mosi", split, MOS, strict=True)
        signs = [int((np.sign(items.labels) == sign).sum()) for sign in (0, -1, 1)]
        assert (len(items), *signs, items.n_text.max(), items.n_audio.max()) == expected
    assert len(read_items(REAL / "mosi", "unsup", None)) == 16090
    for name in ("iemocap", "mosi"):
        splits = [members(REAL / name, split) or set() for split in ("train", "valid", "test", "unsup")]
        assert len(set.union(*splits)) == sum(map(len, splits))
    with pytest.raises(EmofairError, match=r"train_a\.tsv:9: .*misaligned from item 9"):
        read_items(REAL / "iemocap", "train", IEMOCAP, strict=True)
