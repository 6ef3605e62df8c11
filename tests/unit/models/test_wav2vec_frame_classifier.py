"""The first stage of P-TAPT: frames where wav2vec 2.0 has its own, padding that changes nothing, masks, checkpoints."""

from __future__ import annotations

import pytest
import torch

from emofair.checkpoints.wav2vec import load_wav2vec
from emofair.errors import EmofairError
from emofair.models.wav2vec_frame_classifier import Wav2VecFrameClassifier, Wav2VecFrameClassifierConfig
from emofair.testing.speech import model_of, padded_noise, tiny_wav2vec_checkpoint

CLASSES = ("angry", "neutral", "sad")
LENGTHS = [100, 400, 719, 720, 945, 1000, 4000, 9999]


def make(**options):
    arch = "wav2vec_frame_classifier"
    return model_of(Wav2VecFrameClassifier, Wav2VecFrameClassifierConfig, arch, CLASSES, **options)


def test_a_clip_has_as_many_frames_as_wav2vec_2_gives_it():
    model = make()
    lengths = torch.arange(400, 40001)
    assert torch.equal(model.n_frames(lengths), (lengths - 400) // 320 + 1)
    assert [model.n_frames(n) for n in (1, 100, 399)] == [1, 1, 1]
    published = make(no_align_pad=True)
    assert set((model.n_frames(lengths[600:]) - published.n_frames(lengths[600:])).tolist()) == {1, 2}


@pytest.mark.parametrize("published", [False, True])
def test_as_many_frames_come_out_as_are_counted(published):
    model = make(no_align_pad=published).eval()
    for n in LENGTHS:
        assert model.frames(*padded_noise(n)).features.shape == (1, model.n_frames(n), model.spec.context_dim)


def test_a_frame_is_centred_where_the_frame_of_wav2vec_2_is():
    """What a frame sees moves with it; its middle is sample 200 + 320 t, the middle of wav2vec 2.0's window t."""
    model = make(train_cnn=True).eval()
    # Nothing beyond the feature convolutions and the thinning: a context network looks back much further.
    model.encoder.context = lambda z, lengths: z
    wav = torch.randn(1, 8000, requires_grad=True)
    features = model.frames(wav).features
    for t in (5, 11, 20):
        # A group norm over the clip makes every sample matter a little; most of what matters lies in the window.
        (gradient,) = torch.autograd.grad(features[0, t].sum(), wav, retain_graph=True)
        energy = gradient[0].pow(2)
        centre = (energy * torch.arange(8000)).sum() / energy.sum()
        assert abs(centre.item() - (200 + 320 * t)) < 120, t


def test_padding_changes_nothing():
    model = make().eval()
    wav, n_samples = padded_noise(9000, 4000, 945, 500, 100)
    logits, extra = model(wav, n_samples)
    assert logits.shape == (5, 3)
    for row, n in enumerate(n_samples.tolist()):
        alone, its = model(wav[row : row + 1, :n])
        torch.testing.assert_close(alone[0], logits[row], atol=1e-5, rtol=1e-4)
        frames = model.n_frames(n)
        assert (~extra["padding"][row]).sum() == frames
        torch.testing.assert_close(its["frame_logits"][0], extra["frame_logits"][row, :frames], atol=1e-5, rtol=1e-4)


def test_the_lstms_are_torchs_bidirectional_one():
    model = make().eval()
    wav, n_samples = padded_noise(8000)
    features = model.frames(wav, n_samples).features
    both = torch.nn.LSTM(features.size(2), model.cfg.rnn_hidden, batch_first=True, bidirectional=True)
    backwards = {f"{name}_reverse": value for name, value in model.backwards.state_dict().items()}
    both.load_state_dict({**model.forwards.state_dict(), **backwards})
    expected = model.utterance_head(both(features)[0].mean(dim=1).relu())
    torch.testing.assert_close(model(wav, n_samples)[0], expected, atol=1e-5, rtol=1e-4)


def test_the_convolutions_rest_and_all_else_learns():
    def learning(model):
        logits, extra = model.train()(*padded_noise(9000, 6000))
        (logits.sum() + extra["frame_logits"].sum()).backward()
        return {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}

    model = make()
    front = {n for n, _ in model.named_parameters() if n.startswith("encoder.feature_extractor.")}
    assert front
    assert learning(model) == {n for n, p in model.named_parameters() if p.requires_grad}
    assert not front & learning(make())
    assert front & learning(make(train_cnn=True))


@pytest.mark.parametrize("mode", ["per_row", "hf"])
def test_masks_are_drawn_in_training_alone_and_never_fail(mode):
    model = make(mask_mode=mode, mask_channel_length=8)
    wav, n_samples = padded_noise(9000, 3000, 400, 100)

    def same():
        return torch.equal(model(wav, n_samples)[0], model(wav, n_samples)[0])

    model.train()
    assert not same()
    assert all(model(wav, n_samples)[0].isfinite().all() for _ in range(20))
    model.eval()
    assert same()
    quiet = make(mask_time_prob=0.0, mask_min_spans=0, mask_channel_prob=0.0).train()
    assert torch.equal(quiet(wav, n_samples)[0], quiet(wav, n_samples)[0])


def test_pretrained_weights_arrive(tmp_path):
    path = tiny_wav2vec_checkpoint(tmp_path / "wav2vec.pt")
    model = make(ssl_random=None, w2v_path=str(path))
    model.load_pretrained()
    state = load_wav2vec(path).state
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, state[name]), name
    # What a checkpoint of ours stores rebuilds the model without the file.
    path.unlink()
    make(w2v_path=str(path), ssl_random=None, encoder_ssl_json=model.cfg.encoder_ssl_json)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"ssl_random": "huge"}, "--ssl-random huge: unknown size"), ({"ssl_random": None}, "no pretrained encoder")],
)
def test_bad_options_are_told(options, told):
    with pytest.raises(EmofairError, match=told):
        make(**options)
