"""Features on disk: shards are one piece, and what is missing, mixed or damaged is named."""

import json

import numpy as np
import pytest

from emofair.data.manifests import Utterance
from emofair.encoders.conv_frontend import ConvFrontEnd
from emofair.encoders.speech_spec import CONV_LAYERS
from emofair.errors import EmofairError
from emofair.units.feature_store import Features, list_hash, n_frames, shard_range

LENGTHS = [3, 1, 7, 2, 5]
FRAMES = np.arange(18 * 4, dtype=np.float32).reshape(18, 4)


@pytest.mark.parametrize("nshard", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_shards_read_as_one_array(store, nshard, dtype):
    features = Features(store(FRAMES, LENGTHS, nshard=nshard, dtype=dtype), "train")
    assert (features.n_frames, features.dim, features.frame_rate) == (18, 4, 50.0)
    assert features.lengths.tolist() == LENGTHS
    for size in (1, 4, 100):
        blocks = list(features.blocks(size))
        assert max(map(len, blocks)) <= size
        assert {block.dtype for block in blocks} == {np.dtype("float32")}
        np.testing.assert_array_equal(np.concatenate(blocks), FRAMES)
    chosen = np.array([0, 2, 3, 10, 11, 17])
    np.testing.assert_array_equal(features.rows(chosen), FRAMES[chosen])
    np.testing.assert_array_equal(features.rows(np.array([17])), FRAMES[[17]])


@pytest.mark.parametrize(("n_clips", "nshard"), [(10, 3), (7, 7), (1, 1), (101, 8)])
def test_shard_ranges_cover_the_list_once(n_clips, nshard):
    ranges = [shard_range(n_clips, rank, nshard) for rank in range(nshard)]
    assert [clip for first, last in ranges for clip in range(first, last)] == list(range(n_clips))


def test_frame_counts_are_those_of_the_convolutions():
    front_end = ConvFrontEnd([(2, kernel, stride) for _, kernel, stride in CONV_LAYERS])
    for n_samples in [1, 399, 400, 719, 720, 721, *range(16000, 16400), 190800]:
        assert n_frames(n_samples, 400, 320) == front_end.n_frames(n_samples)
    assert n_frames(190800, 400, 320) == 596  # as in fairseq's own sample of HuBERT features


def test_list_hash_depends_on_order_and_lengths():
    a, b, longer = Utterance("a", "a.wav", 10), Utterance("b", "b.wav", 10), Utterance("b", "b.wav", 11)
    assert len({list_hash(items) for items in ([a, b], [b, a], [a, longer], [a])}) == 4
    assert list_hash([a, b]) == list_hash([Utterance("a", "/elsewhere/a.wav", 10), b])


def test_missing_shards_are_named(store):
    folder = store(FRAMES, LENGTHS, nshard=4)
    for rank in (1, 3):
        (folder / f"train_{rank}_4.json").unlink()
    with pytest.raises(
        EmofairError, match=r"of the 4 shards of split 'train' these are missing: 1, 3\. run .*--rank 1"
    ):
        Features(folder, "train")


def test_two_dumps_are_not_mixed(store):
    folder = store(FRAMES, LENGTHS, nshard=2)
    store(FRAMES, LENGTHS, nshard=1)
    with pytest.raises(EmofairError, match=r"both in 1 and in 2 shards"):
        Features(folder, "train")


@pytest.mark.parametrize(("field", "value"), [("source", {"features": "others"}), ("audio_sha256", "1")])
def test_shards_of_different_features_or_audio_are_refused(store, field, value):
    folder = store(FRAMES, LENGTHS, nshard=2)
    path = folder / "train_1_2.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(EmofairError, match=rf"train_0_2 and train_1_2 differ in {field}"):
        Features(folder, "train")


def test_an_absent_split_or_folder_is_named(store, tmp_path):
    folder = store(FRAMES, LENGTHS, split="train_all")
    with pytest.raises(EmofairError, match=r"no features of split 'train' in this folder \(splits: train_all\)"):
        Features(folder, "train")
    with pytest.raises(EmofairError, match=r"nowhere: no such folder of features"):
        Features(tmp_path / "nowhere", "train")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_located(store, value):
    frames = FRAMES.copy()
    frames[11, 2] = value  # the first frame of the second shard's second clip
    features = Features(store(frames, LENGTHS, nshard=2), "train")
    message = r"train_1_2\.npy: frame 7 \(of clip 4 of the manifest\) is NaN or infinite"
    with pytest.raises(EmofairError, match=message):
        list(features.blocks(5))
    with pytest.raises(EmofairError, match=message):
        features.rows(np.array([1, 11]))


def test_damaged_files_are_named(store, tmp_path):
    folder = store(FRAMES, LENGTHS)
    whole = (folder / "train_0_1.npy").read_bytes()
    cases = {
        "train_0_1.npy": [(whole[:200], "not an array"), (b"", "not an array")],
        "train_0_1.len": [
            ("3\nx\n", "not a list of lengths"),
            ("3\n1\n7\n2\n", "4 clips with 13 frames, the record says 5 with 18"),
            ("3\n0\n8\n2\n5\n", "a clip without frames"),
        ],
        "train_0_1.json": [("{", "cannot be read"), ("{}", "not the record of a feature dump")],
    }
    for name, bad in cases.items():
        good = (folder / name).read_bytes()
        for content, message in bad:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
            with pytest.raises(EmofairError, match=rf"{name.replace('.', '[.]')}: .*{message}"):
                list(Features(folder, "train").blocks(8))
        (folder / name).unlink()
        with pytest.raises(EmofairError):
            list(Features(folder, "train").blocks(8))
        (folder / name).write_bytes(good)
    np.save(folder / "train_0_1.npy", FRAMES.astype(np.float64))
    with pytest.raises(EmofairError, match=r"holds float64 \[18, 4\], expected float32 or float16 \[18, 4\]"):
        list(Features(folder, "train").blocks(8))
    np.save(folder / "train_0_1.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(EmofairError, match="not an array of features"):
        list(Features(folder, "train").blocks(8))


@pytest.mark.parametrize(
    "change",
    [{"dim": "x"}, {"hop": 0}, {"source": "x"}, {"frame_rate": "x"}, {"frame_rate": float("nan")}, {"n_frames": True}],
)
def test_a_record_that_was_damaged_is_named_with_what_is_wrong_in_it(store, change):
    folder = store(FRAMES, LENGTHS, **change)
    (name,) = change
    with pytest.raises(
        EmofairError, match=rf"train_0_1\.json: is not the record of a feature dump \({name}: '.*'\)\. d"
    ):
        Features(folder, "train")


@pytest.mark.parametrize("nshard", [1, 3])
def test_a_clip_is_a_view_of_what_is_stored(store, nshard):
    frames = np.arange(40, dtype=np.float32).reshape(20, 2)
    lengths = [3, 1, 7, 4, 5]
    features = Features(store(frames, lengths, nshard=nshard, dtype="float16"), "train")
    for index, expected in enumerate(np.split(frames, np.cumsum(lengths)[:-1])):
        clip = features.clip(index)
        assert (clip.dtype, clip.flags.writeable) == (np.float16, False)
        np.testing.assert_array_equal(clip, expected)
