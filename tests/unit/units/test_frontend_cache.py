"""The front-end cache: the same logits as from audio, filled once, filled anew when something changes."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from emofair.data.manifests import Utterance
from emofair.data.speech_dataset import SpeechDataset
from emofair.errors import EmofairError
from emofair.models.speech_emotion_classifier import SpeechEmotionClassifier, SpeechEmotionClassifierConfig
from emofair.testing.speech import LAYOUTS, shake, tiny_speech_encoder, tiny_speech_spec
from emofair.units import feature_dump, frontend_cache
from emofair.units.frontend_cache import open_frontend_cache

LENGTHS = (5000, 16000, 300, 7000, 12345)


@pytest.fixture
def items(tmp_path):
    made = []
    for index, n in enumerate(LENGTHS):
        wav = 0.1 * np.random.default_rng(index).standard_normal(n)
        soundfile.write(tmp_path / f"{index}.wav", wav, 16000, subtype="FLOAT")
        made.append(Utterance(f"clip{index}", str(tmp_path / f"{index}.wav"), n_samples=n))
    return made


def classifier(layout, **options):
    spec = tiny_speech_spec(layout=layout)
    cfg = OmegaConf.structured(SpeechEmotionClassifierConfig(encoder_ssl_json=spec.to_json(), **options))
    OmegaConf.set_struct(cfg, False)
    cfg._name, cfg.ssl_random = "speech_emotion_classifier", "tiny"
    torch.manual_seed(0)
    model = SpeechEmotionClassifier.build_model(cfg, SimpleNamespace(classes=("angry", "neutral", "sad")))
    shake(model)
    return model.eval()


def batch_of(dataset):
    return dataset.collater([dataset[i] for i in range(len(dataset))])["net_input"]


def both(model, items, cache, **options):
    """What the model reads with and without the cache."""
    normalize, crop_hop = model.spec.normalize, model.spec.hop
    from_audio, from_cache = (
        SpeechDataset(items, "train", normalize=normalize, crop_hop=crop_hop, **options) for _ in range(2)
    )
    from_cache.read_from(cache)
    return batch_of(from_audio), batch_of(from_cache)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("dtype", "bf16", "tolerance"), [("float32", False, 1e-5), ("float16", False, 2e-3), ("float16", True, 2e-2)]
)
def test_whole_clips_get_the_logits_that_they_get_from_audio(
    items, tmp_path, layout, dtype, bf16, tolerance, monkeypatch
):
    monkeypatch.setattr("emofair.device._cpu_has_fast_bf16", lambda: True)
    model = classifier(layout)
    cache = open_frontend_cache(tmp_path / "c", model.encoder, items, "valid", dtype=dtype, autocast_bf16=bf16)
    heard, read = both(model, items, cache)
    assert (read["features"].dtype, "wav" in read) == (getattr(torch, dtype), False)
    assert torch.equal(heard["n_samples"], read["n_samples"])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        expected, logits = model(**heard)[0], model(**read)[0]
        torch.testing.assert_close(logits, expected, atol=tolerance, rtol=0)
        for row, n in enumerate(LENGTHS):  # and padding changes nothing
            alone = model(None, torch.tensor([n]), features=read["features"][row : row + 1, : cache.lengths[row]])[0]
            torch.testing.assert_close(alone[0], logits[row], atol=max(1e-5, 5e-2 * bf16), rtol=0)
    assert expected.std() > 50 * tolerance or bf16


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_crop_is_one_of_the_whole_clip(items, tmp_path, layout):
    model = classifier(layout)
    cache = open_frontend_cache(tmp_path / "c", model.encoder, items, "train", dtype="float32")
    heard, read = both(model, items, cache, training=True, max_samples=4000)
    assert torch.equal(heard["n_samples"], read["n_samples"])
    with torch.no_grad():
        frames = model.encoder.conv_features(heard["wav"], heard["n_samples"])
    assert frames.shape == read["features"].shape
    cropped = [row for row, n in enumerate(LENGTHS) if n > 4000]
    difference = (frames - read["features"])[cropped].abs().max()
    # Group norm over a crop has statistics of its own; layer norm looks at one frame.
    assert difference < 1e-5 if layout == "large" else 1e-3 < difference < 3


def test_min_crops_stay_on_the_frames(items, tmp_path):
    model = classifier("large")
    cache = open_frontend_cache(tmp_path / "c", model.encoder, items[:2], "train", dtype="float32")
    heard, read = both(model, items[:2], cache, training=True, crop="min", max_samples=9000)
    assert read["n_samples"].tolist() == heard["n_samples"].tolist() == [5000, 5000]
    with torch.no_grad():
        torch.testing.assert_close(model(**read)[0], model(**heard)[0], atol=1e-5, rtol=0)


def test_a_cache_is_filled_once(items, tmp_path, monkeypatch):
    encoder = tiny_speech_encoder()
    first = open_frontend_cache(tmp_path / "c", encoder, items, "train")
    monkeypatch.setattr(feature_dump, "read_clip", None)
    again = open_frontend_cache(tmp_path / "c", tiny_speech_encoder(), items, "train")
    assert again.folder == first.folder
    assert np.array_equal(again.clip(3), first.clip(3))
    assert np.array_equal(pickle.loads(pickle.dumps(first)).clip(1), first.clip(1))
    assert len(pickle.dumps(first)) < 5000


@pytest.mark.parametrize(
    "change", ["weights", "norm", "precision", "autocast", "order", "cut", "audio", "normalisation", "none"]
)
def test_whatever_changes_fills_another_cache(items, tmp_path, change, monkeypatch):
    monkeypatch.setattr("emofair.device._cpu_has_fast_bf16", lambda: True)
    encoder, options = tiny_speech_encoder(), {}
    before = open_frontend_cache(tmp_path / "c", encoder, items, "train").folder
    if change == "weights":
        encoder.feature_extractor.conv_layers[3]["0"].weight.data[0, 0, 0] += 1e-3
    elif change == "norm":
        encoder.feature_extractor.conv_layers[0]["2"].bias.data[0] += 1e-3
    elif change == "precision":
        options["dtype"] = "float32"
    elif change == "autocast":
        options["autocast_bf16"] = True
    elif change == "order":
        items = items[::-1]
    elif change == "cut":
        items = [dataclasses.replace(items[0], start=0.0, end=0.25, n_samples=4000), *items[1:]]
    elif change == "audio":
        soundfile.write(items[0].path, np.zeros(LENGTHS[0]), 16000, subtype="FLOAT")
    elif change == "normalisation":
        encoder.spec = dataclasses.replace(encoder.spec, normalize=True)
    else:
        encoder.encoder.layers[0].fc1.weight.data += 1  # not of the convolutions
    after = open_frontend_cache(tmp_path / "c", encoder, items, "train", **options).folder
    assert (after == before) == (change == "none")


def test_an_interrupted_fill_goes_on_and_ends_the_same(items, tmp_path, monkeypatch):
    encoder = tiny_speech_encoder()
    whole = open_frontend_cache(tmp_path / "whole", encoder, items, "train", batch_seconds=0.5)
    extract, calls = frontend_cache.ConvFeatures.extract, []

    def stop_at_the_third(self, waveforms):
        calls.append(len(waveforms))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return extract(self, waveforms)

    monkeypatch.setattr(frontend_cache.ConvFeatures, "extract", stop_at_the_third)
    monkeypatch.setattr(feature_dump, "_SAVE_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        open_frontend_cache(tmp_path / "broken", encoder, items, "train", batch_seconds=0.5)
    resumed = open_frontend_cache(tmp_path / "broken", encoder, items, "train", batch_seconds=0.5)
    assert calls == [1, 1, 1, 1, 1, 1]  # the third batch again, and what was not done
    for index in range(len(items)):
        assert np.array_equal(resumed.clip(index), whole.clip(index))


@pytest.mark.parametrize("damage", ["short array", "no array", "no record", "lengths"])
def test_a_damaged_cache_is_filled_again(items, tmp_path, damage):
    encoder = tiny_speech_encoder()
    cache = open_frontend_cache(tmp_path / "c", encoder, items, "train")
    good = [np.array(cache.clip(i)) for i in range(len(items))]
    stem = cache.folder / "train_0_1"
    if damage == "short array":
        array = stem.with_suffix(".npy")
        array.write_bytes(array.read_bytes()[:-100])
    elif damage == "no array":
        stem.with_suffix(".npy").unlink()
    elif damage == "no record":
        stem.with_suffix(".json").unlink()
    else:
        stem.with_suffix(".len").write_text("3\n")
    again = open_frontend_cache(tmp_path / "c", encoder, items, "train")
    assert all(np.array_equal(again.clip(i), frames) for i, frames in enumerate(good))


def fill(folder, items, out):
    out.put([float(open_frontend_cache(folder, tiny_speech_encoder(), items, "train").clip(i).sum()) for i in range(5)])


def test_two_processes_share_one_fill(items, tmp_path):
    fork = multiprocessing.get_context("fork")
    out = fork.SimpleQueue()
    processes = [fork.Process(target=fill, args=(tmp_path / "c", items, out)) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [out.get() for _ in processes]
    for process in processes:
        process.join()
    assert sums[0] == sums[1]
    (folder,) = (tmp_path / "c").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        "lock",
        *(f"train_0_1.{s}" for s in ("json", "len", "npy")),
    ]


def test_data_loading_workers_read_it(items, tmp_path):
    cache = open_frontend_cache(tmp_path / "c", tiny_speech_encoder(), items, "train")
    dataset = SpeechDataset(items, "train")
    dataset.read_from(cache)
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=dataset.collater)
    rows = [frames for batch in loader for frames in batch["net_input"]["features"]]
    for index, frames in enumerate(rows):
        stored = cache.clip(index)
        assert np.array_equal(frames[: len(stored)].numpy(), stored)


def test_what_goes_wrong_is_told(items, tmp_path):
    encoder = tiny_speech_encoder()
    (tmp_path / "file").write_text("")
    with pytest.raises(EmofairError, match="the front-end cache cannot be written"):
        open_frontend_cache(tmp_path / "file", encoder, items, "train")
    encoder.feature_extractor.conv_layers[-1]["0"].weight.data *= 1e9
    with pytest.raises(EmofairError, match="which float16 cannot hold; give --frontend-cache-dtype float32"):
        open_frontend_cache(tmp_path / "c", encoder, items, "train")
    open_frontend_cache(tmp_path / "c", encoder, items, "train", dtype="float32")
    os.unlink(items[1].path)
    with pytest.raises(EmofairError, match=r"1.wav: the audio cannot be read \(No such file"):
        open_frontend_cache(tmp_path / "c", encoder, items, "train", dtype="float32")


def test_another_list_or_crops_off_the_frames_are_a_mistake(items, tmp_path):
    cache = open_frontend_cache(tmp_path / "c", tiny_speech_encoder(), items, "train")
    with pytest.raises(ValueError, match="5 clips with a frame every 320 samples for 4"):
        SpeechDataset(items[:4], "train").read_from(cache)
    with pytest.raises(ValueError, match="cropped off the frames"):
        SpeechDataset(items, "train", training=True).read_from(cache)
