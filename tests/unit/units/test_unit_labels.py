"""Frame labels on disk, as fairseq and the pseudo-label task read them."""

import hashlib
import json

import numpy as np
import pytest
from fairseq.data import Dictionary

from emofair.data.manifests import Utterance, ids_hash
from emofair.data.pseudo_label_dataset import read_units
from emofair.errors import EmofairError
from emofair.units.feature_store import Features, list_hash
from emofair.units.kmeans import KMeans
from emofair.units.nearest import NearestCentroid
from emofair.units.unit_labels import (
    assign,
    check_manifest,
    check_record,
    label_report,
    read_frame_labels,
    read_record,
    write_labels,
    write_upstream_json,
)

LENGTHS = [3, 1, 4]
ITEMS = [Utterance(name, f"/audio/{name}.wav", 400 + 320 * (n - 1)) for name, n in zip("abc", LENGTHS, strict=True)]
CENTROIDS = np.eye(5, dtype=np.float32)
IDS = [0, 4, 4, 1, 2, 2, 0, 1]


@pytest.fixture
def features(store):
    def make(items=ITEMS, lengths=LENGTHS, ids=IDS, **options):
        options = {"list_sha256": list_hash(items), "ids_sha256": ids_hash(items)} | options
        return Features(store(CENTROIDS[ids], lengths, **options), "train")

    return make


@pytest.fixture
def kmeans():
    return KMeans(CENTROIDS, np.array([9, 8, 7, 0, 6]), 0.0, 1)


@pytest.mark.parametrize("nshard", [1, 3])
def test_what_is_written_is_what_training_reads(features, kmeans, tmp_path, nshard):
    made = features(nshard=nshard)
    check_manifest(made, ITEMS, "corpus")
    ids, inertia = assign(made, kmeans)
    assert (ids.tolist(), inertia) == (IDS, 0.0)
    write_labels(tmp_path, "train", ids, made.lengths, kmeans, {"inertia": inertia})
    assert (tmp_path / "train.km5").read_bytes() == b"0 4 4\n1\n2 2 0 1\n"
    assert [clip.tolist() for clip in read_units(tmp_path / "train.km5", 3, 5)] == [[0, 4, 4], [1], [2, 2, 0, 1]]
    dictionary = Dictionary.load(str(tmp_path / "dict.km5.txt"))
    assert [dictionary.index(str(i)) for i in range(5)] == [4, 5, 6, 7, 8]
    assert dictionary.count[4:] == [9, 8, 7, 0, 6]
    record = json.loads((tmp_path / "train.km5.json").read_text())
    labels_sha256 = hashlib.sha256((tmp_path / "train.km5").read_bytes()).hexdigest()
    assert record == {"k": 5, "kmeans_sha256": kmeans.sha256, "labels_sha256": labels_sha256, "inertia": 0.0}


def test_assignment_goes_block_by_block(store, blobs, monkeypatch):
    frames, _ = blobs(1000, 5)
    made = Features(store(frames, [100] * 10, nshard=3), "train")
    kmeans = KMeans(frames[:7])
    expected, distances = NearestCentroid(kmeans.centroids)(frames)
    monkeypatch.setattr(NearestCentroid, "block", 64)
    ids, inertia = assign(made, kmeans)
    np.testing.assert_array_equal(ids, expected)
    assert inertia == pytest.approx(distances.mean())


def test_features_of_another_list_are_refused(features):
    made = features()
    with pytest.raises(EmofairError, match=r"other clips \(3, here 2\) than split 'train' of corpus\. Dump"):
        check_manifest(made, ITEMS[:2], "corpus")
    with pytest.raises(EmofairError, match="another order or other lengths"):
        check_manifest(made, ITEMS[::-1], "corpus")


def test_frame_counts_are_checked_exactly(features):
    made = features(lengths=[3, 2, 3])
    with pytest.raises(EmofairError, match=r"b has 2 frames, its 400 samples make 1"):
        check_manifest(made, ITEMS, "corpus")


def test_labels_of_two_kmeans_are_not_mixed(features, kmeans, tmp_path):
    made = features()
    ids, _ = assign(made, kmeans)
    write_labels(tmp_path, "valid", ids, made.lengths, kmeans, {})
    write_labels(tmp_path, "train", ids, made.lengths, kmeans, {})
    other = KMeans(CENTROIDS * 2)
    with pytest.raises(EmofairError, match=r"another k-means with as many clusters are here \(valid\.km5\.json\)"):
        write_labels(tmp_path, "train", ids, made.lengths, other, {})
    assert json.loads((tmp_path / "train.km5.json").read_text())["kmeans_sha256"] == kmeans.sha256
    (tmp_path / "valid.km5.json").unlink()
    write_labels(tmp_path, "train", ids, made.lengths, other, {})


def test_an_interrupted_run_leaves_no_record(features, kmeans, tmp_path, monkeypatch):
    from emofair.units import unit_labels

    made = features()
    write_labels(tmp_path, "train", np.array(IDS), made.lengths, kmeans, {})

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(unit_labels, "_words", stop)
    with pytest.raises(KeyboardInterrupt):
        write_labels(tmp_path, "train", np.array(IDS), made.lengths, kmeans, {})
    assert not (tmp_path / "train.km5.json").exists()


def test_report_against_labels(features):
    made = features()
    assert label_report(np.array(IDS), made, ITEMS, 5) == {"n_used": 4}
    labelled = [
        Utterance(u.id, u.path, u.n_samples, label=label) for u, label in zip(ITEMS, ["sad", "sad", "ang"], strict=True)
    ]
    report = label_report(np.array(IDS), made, labelled, 5)
    # Frames 0 4 4 | 1 are sad and 2 2 0 1 angry: pure are 4 (2) and 2 (2), half are 0 and 1.
    assert (report["labels"], report["purity"], report["majority"]) == (["ang", "sad"], 6 / 8, 0.5)


def test_upstream_forms(features, tmp_path):
    found = {8: np.array(IDS), 64: np.array(IDS) + 50}
    paths = write_upstream_json(tmp_path, ITEMS, np.array(LENGTHS), found)
    assert [path.name for path in paths] == ["8-clus.json", "64-clus.json", "all-clus.json"]
    assert json.loads(paths[0].read_text()) == {"a.wav": [0, 4, 4], "b.wav": [1], "c.wav": [2, 2, 0, 1]}
    assert json.loads(paths[2].read_text())["a.wav"] == [[0, 4, 4], [50, 54, 54]]


def test_upstream_names_of_cuts_are_ids(tmp_path):
    items = [Utterance(name, "/audio/long.wav", 400, start=i, end=i + 0.025) for i, name in enumerate("ab")]
    (path, _) = write_upstream_json(tmp_path, items, np.array([1, 1]), {2: np.array([0, 1])})
    assert json.loads(path.read_text()) == {"a": [0], "b": [1]}


def test_labels_are_exactly_those_of_their_record(features, kmeans, tmp_path):
    made = features()
    write_labels(tmp_path, "train", np.array(IDS), made.lengths, kmeans, {"features": made.facts()})
    path, renamed = tmp_path / "train.km5", tmp_path / "train.km50"
    path.rename(renamed)
    with pytest.raises(EmofairError, match=r"train\.km50: the record beside it is of 5 clusters"):
        check_record(read_record(path), ITEMS, renamed)
    renamed.rename(path)
    path.write_text("2 2 0 1\n1\n0 4 4\n")
    with pytest.raises(EmofairError, match=r"train\.km5: the labels are not those .* or remove train\.km5\.json if"):
        check_record(read_record(path), ITEMS, path)


SECONDS = (0.5, 1.0, 3.0, 12.0)


@pytest.mark.parametrize("rate", [50, None])
@pytest.mark.parametrize(("row", "n"), [(1, 20), (2, 54), (4, 560), (3, 0)])
def test_every_clip_has_as_many_labels_as_frames(tmp_path, rate, row, n):
    items = [Utterance(f"{s}", f"/audio/{s}.wav", round(16000 * s)) for s in SECONDS]
    path = tmp_path / "train.km2"

    def read(counts):
        path.write_text("".join(f"{' '.join('0' * count)}\n" for count in counts))
        return read_frame_labels(path, {}, items, "01", "km2", rate=rate)

    counts = [round(50 * s) - 1 for s in SECONDS]
    assert [len(line.split()) for line in read(counts)] == counts
    counts[row - 1] = n
    with pytest.raises(EmofairError, match=rf"train\.km2:{row}: {n} labels for {SECONDS[row - 1]}\.wav, which has \d+"):
        read(counts)


def test_labels_of_another_list_are_refused(features, kmeans, tmp_path):
    made = features()
    write_labels(tmp_path, "train", np.array(IDS), made.lengths, kmeans, {"features": made.facts()})
    path = tmp_path / "train.km5"
    check_record(read_record(path), ITEMS, path)
    with pytest.raises(EmofairError, match=r"train\.km5: the labels were made for another list of clips"):
        check_record(read_record(path), ITEMS[::-1], path)
    (tmp_path / "train.km5.json").unlink()
    check_record(read_record(path), ITEMS[::-1], path)  # labels of another program tell nothing
    for content in ("[]", "{", '{"k": 5}', '{"kmeans_sha256": "1", "features": {"frame_rate": "x"}}'):
        (tmp_path / "train.km5.json").write_text(content)
        with pytest.raises(
            EmofairError, match=r"train\.km5\.json: .*record of frame labels .*\. Make the labels again"
        ):
            read_record(path)
