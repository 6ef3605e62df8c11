"""The two losses against torch, whatever the batches; frames that are padding or windows do not count."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from fairseq.logging import metrics
from torch import nn

from emofair.criterions.frame_utterance_emotion import FrameUtteranceEmotionConfig, FrameUtteranceEmotionCriterion
from emofair.data.labels import TargetMode
from emofair.errors import EmofairError

CLASSES = ("angry", "neutral", "sad")
CLASS_WEIGHTS = torch.tensor([0.2, 0.5, 0.3])
N, T = 12, 6


class Tables(nn.Module):
    """Logits of items and of their frames; item i has 1 + i % T frames."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.items, self.frames = nn.Embedding(N, 3), nn.Embedding(N * T, 3)

    def forward(self, wav):
        frames = self.frames(wav[:, None] * T + torch.arange(T))
        padding = torch.arange(T) > (wav % T)[:, None]
        return self.items(wav), {"frame_logits": frames.masked_fill(padding[..., None], math.inf), "padding": padding}


def make(**options):
    mode = TargetMode("emotion", "softmax", CLASSES, 3)
    task = SimpleNamespace(mode=mode, class_weights=lambda: CLASS_WEIGHTS)
    cfg = FrameUtteranceEmotionConfig(eval_metric=False, save_predictions=None, **options)
    return FrameUtteranceEmotionCriterion(cfg, task)


def sample(index):
    target = index**2 % 3
    return {"net_input": {"wav": index}, "target": target, "nsentences": len(index), "ntokens": 0, "split": "train"}


def expected(model, utterance_weight=1.0, frame_weight=1.0):
    target = torch.arange(N) ** 2 % 3
    weight = CLASS_WEIGHTS[target]
    utterance = nn.functional.cross_entropy(model.items.weight, target, reduction="none")
    frames = model.frames.weight.view(N, T, 3)
    each = [
        nn.functional.cross_entropy(frames[i, : 1 + i % T], target[i].expand(1 + i % T), reduction="mean")
        for i in range(N)
    ]
    losses = utterance_weight * utterance + frame_weight * torch.stack(each)
    return (losses * weight).sum() / weight.sum()


@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("weights", [{}, {"utterance_weight": 0.3, "frame_weight": 2.0}])
def test_any_split_into_batches_gives_the_weighted_means(parts, weights):
    criterion, model = make(**weights), Tables()
    done = [criterion(model, sample(part)) for part in torch.arange(N).tensor_split(parts)]
    total = sum(loss for loss, _, _ in done) / sum(size for _, size, _ in done)
    torch.testing.assert_close(total, expected(model, **weights))
    total.backward()
    assert model.frames.weight.grad.isfinite().all()
    padded = torch.arange(T) > (torch.arange(N) % T)[:, None]
    assert torch.equal(model.frames.weight.grad.abs().sum(dim=1) == 0, padded.flatten())
    with metrics.aggregate(new_root=True) as aggregator:
        criterion.reduce_metrics([output for _, _, output in done])
        figures = aggregator.get_smoothed_values()
    target = torch.arange(N) ** 2 % 3
    right = (model.frames.weight.view(N, T, 3).argmax(dim=-1) == target[:, None])[~padded]
    assert figures["frame_accuracy"] == pytest.approx(right.float().mean().item())
    assert figures["accuracy"] == pytest.approx((model.items.weight.argmax(dim=1) == target).float().mean().item())


def test_an_empty_batch_counts_nothing():
    criterion, model = make(), Tables()
    loss, size, output = criterion(model, {})
    loss.backward()
    assert (loss.item(), size) == (0.0, 0.0)
    assert output["frames:"].tolist() == [0, 0]
    filled = criterion(model, sample(torch.arange(N)))[2]
    assert filled.keys() == output.keys()


def test_windows_of_an_item_have_a_loss_of_the_utterance_alone():
    class Windows(Tables):
        def forward(self, wav):
            logits, extra = super().forward(torch.cat([wav, wav]))
            return logits[: len(wav)], extra

    model = Windows()
    loss, size, _ = make()(model, sample(torch.arange(N)))
    torch.testing.assert_close(loss / size, expected(model, frame_weight=0.0))


def test_a_model_without_frames_is_told():
    model = nn.Linear(2, 3)
    model.forward = lambda wav: (nn.functional.linear(torch.ones(len(wav), 2), model.weight), {})
    with pytest.raises(EmofairError, match=r"does not judge frames\. Use --arch wav2vec_frame_classifier"):
        make()(model, sample(torch.arange(N)))
