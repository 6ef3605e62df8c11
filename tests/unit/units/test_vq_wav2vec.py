"""Speech tokens equal those of the public recipe on stock fairseq."""

import numpy as np
import pytest
import torch
from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.data import Dictionary

from emofair.checkpoints import safe
from emofair.encoders import wav2vec
from emofair.errors import EmofairError
from emofair.testing import tiny_ssl_dir
from emofair.testing.pretrained import write_vq_wav2vec
from emofair.units.vq_wav2vec import SpeechTokenizer


@pytest.fixture(scope="module")
def ssl_dir(tmp_path_factory):
    # 60 of the 64 possible words, so that some are unknown.
    return tiny_ssl_dir(tmp_path_factory.mktemp("ssl"), speech_vocab=60)


@pytest.fixture
def tokenizer(ssl_dir):
    return SpeechTokenizer(ssl_dir / "vq-wav2vec" / "vq-wav2vec_kmeans.pt", ssl_dir / "vq-wav2vec-Kmeans-Roberta")


def sound(n_samples, seed=0):
    random = np.random.default_rng(seed)
    time = np.arange(n_samples) / 16000
    wave = np.sin(2 * np.pi * (100 + 900 * random.random()) * time) * np.sin(7 * time) ** 2
    return (wave + 0.1 * random.standard_normal(n_samples)).astype(np.float32)


def test_words_and_ids_equal_the_public_recipe(ssl_dir, tokenizer):
    path = str(ssl_dir / "vq-wav2vec" / "vq-wav2vec_kmeans.pt")
    safe.register()
    (model,), _, _ = load_model_ensemble_and_task([path])
    model.eval()
    dictionary = Dictionary.load(str(ssl_dir / "vq-wav2vec-Kmeans-Roberta" / "dict.txt"))
    for seed, n_samples in enumerate((465, 1000, 16000, 40001)):
        clip = sound(n_samples, seed)
        with torch.no_grad():
            z = model.feature_extractor(torch.from_numpy(clip)[None])
            _, idx = model.vector_quantizer.forward_idx(z)
        words = ["-".join(str(group.item()) for group in frame) for frame in idx[0]]
        line = dictionary.encode_line("<s> " + " ".join(words), add_if_not_exist=False, append_eos=True)
        assert tokenizer.words([clip]) == [words]
        (ids,) = tokenizer.encode([clip])
        assert ids.dtype == np.int64
        assert ids.tolist() == line.tolist()


@pytest.mark.parametrize("n_samples, frames", [(465, 1), (624, 1), (625, 2), (16000, 98), (48000, 298)])
def test_one_word_per_10_ms_of_465_samples(tokenizer, n_samples, frames):
    assert (tokenizer.hop, tokenizer.receptive_field) == (160, 465)
    (ids,) = tokenizer.encode([sound(n_samples)])
    assert len(ids) == frames + 2 == tokenizer.n_frames(n_samples) + 2
    assert (ids[0], ids[-1]) == (0, 2)


def test_other_layers_have_another_hop_and_field(tmp_path, ssl_dir, monkeypatch):
    from emofair.testing import pretrained

    monkeypatch.setattr(pretrained, "CONV_LAYERS", "[({d}, 8, 4), ({d}, 3, 2)]")
    path = write_vq_wav2vec(tmp_path / "vq.pt", codes=4)
    tokenizer = SpeechTokenizer(path, ssl_dir / "vq-wav2vec-Kmeans-Roberta" / "dict.txt")
    assert (tokenizer.hop, tokenizer.receptive_field) == (8, 16)
    assert len(tokenizer.words([sound(100)])[0]) == tokenizer.n_frames(100) == (100 - 16) // 8 + 1


def test_short_clips_are_padded_with_zeros(tokenizer):
    clip = sound(300)
    padded = np.concatenate([clip, np.zeros(165, dtype=np.float32)])
    assert tokenizer.words([clip]) == tokenizer.words([padded])
    assert len(tokenizer.words([clip])[0]) == 1


def test_a_clip_gets_the_same_tokens_in_any_company(tokenizer):
    clips = [sound(n, seed) for seed, n in enumerate((8000, 16000, 8000, 300))]
    together = tokenizer.encode(clips)
    for clip, ids in zip(clips, together, strict=True):
        assert tokenizer.encode([clip])[0].tolist() == ids.tolist()


def test_codes_do_not_depend_on_how_many_frames_are_compared_at_once(tokenizer, monkeypatch):
    clip = sound(20000)
    whole = tokenizer.codes(clip)
    monkeypatch.setattr(wav2vec, "FRAMES_AT_ONCE", 7)
    assert np.array_equal(tokenizer.codes(clip), whole)


def test_unknown_words_are_counted_and_become_3(tmp_path, ssl_dir, tokenizer):
    clip = sound(16000)
    (words,) = tokenizer.words([clip])
    missing = words[50]
    dictionary = tmp_path / "dict.txt"
    lines = (ssl_dir / "vq-wav2vec-Kmeans-Roberta" / "dict.txt").read_text().splitlines()
    dictionary.write_text("".join(f"{line}\n" for line in lines if line != f"{missing} 1"))
    fewer = SpeechTokenizer(ssl_dir / "vq-wav2vec" / "vq-wav2vec_kmeans.pt", dictionary)
    (ids,) = fewer.encode([clip])
    absent = sum(line == missing for line in words)
    assert ids[51] == 3
    assert fewer.unknown - tokenizer_unknown(tokenizer, clip) == absent > 0
    assert fewer.frames == 98


def tokenizer_unknown(tokenizer, clip):
    before = tokenizer.unknown
    tokenizer.encode([clip])
    return tokenizer.unknown - before


def test_gumbel_quantizer_has_codes_too(tmp_path, ssl_dir):
    from fairseq.models.wav2vec.wav2vec import Wav2VecConfig, Wav2VecModel

    values = {
        "conv_feature_layers": "[(8, 10, 5), (8, 8, 4)]",
        "conv_aggregator_layers": "[(8, 2, 1)]",
        "vq_type": "gumbel",
        "vq_vars": 5,
        "vq_groups": 2,
        "prediction_steps": 2,
    }
    torch.manual_seed(0)
    model = Wav2VecModel(Wav2VecConfig(**values, infonce=True)).eval()
    checkpoint = {"cfg": {"model": {"_name": "wav2vec", **values}}, "args": None, "model": model.state_dict()}
    torch.save(checkpoint, tmp_path / "vq.pt")
    tokenizer = SpeechTokenizer(tmp_path / "vq.pt", ssl_dir / "vq-wav2vec-Kmeans-Roberta")
    clip = sound(4000)
    with torch.no_grad():
        _, expected = model.vector_quantizer.forward_idx(model.feature_extractor(torch.from_numpy(clip)[None]))
    assert np.array_equal(tokenizer.codes(clip), expected[0].numpy())


@pytest.mark.parametrize(
    "clip, message",
    [
        (np.zeros(0, dtype=np.float32), r"shape \[0\]"),
        (np.zeros((2, 800), dtype=np.float32), "one mono clip"),
        (np.full(800, np.nan, dtype=np.float32), "NaN"),
    ],
)
def test_what_is_no_clip_is_refused(tokenizer, clip, message):
    with pytest.raises(EmofairError, match=message):
        tokenizer.encode([clip])


def test_silence_has_tokens(tokenizer):
    assert len(tokenizer.encode([np.zeros(16000, dtype=np.float32)])[0]) == 100


def test_missing_dictionary_and_device_are_named(ssl_dir, tmp_path):
    checkpoint = ssl_dir / "vq-wav2vec" / "vq-wav2vec_kmeans.pt"
    with pytest.raises(EmofairError, match=r"dict\.txt"):
        SpeechTokenizer(checkpoint, tmp_path)
    with pytest.raises(EmofairError, match="--device tpu is not known"):
        SpeechTokenizer(checkpoint, ssl_dir / "vq-wav2vec-Kmeans-Roberta", device="tpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_codes_of_the_cpu(ssl_dir, tokenizer):
    checkpoint = ssl_dir / "vq-wav2vec" / "vq-wav2vec_kmeans.pt"
    gpu = SpeechTokenizer(checkpoint, ssl_dir / "vq-wav2vec-Kmeans-Roberta", device="cuda")
    clip = sound(48000)
    assert (gpu.codes(clip) != tokenizer.codes(clip)).mean() < 0.01
