"""linear: MAE's linear probe on cached features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmask.evaluate.heads import Course, Probe, whiten
from mmask.types import Labelled, Verdict


class LinearProbe:
    """BatchNorm without parameters (eps 1e-6), then a linear layer, on features that do not change.

    He et al. 2022, A.2: 90 epochs, half a cosine after 10 epochs of warm-up, no weight decay, momentum 0.9.
    Features are made once, from the evaluation view; the paper crops anew every epoch and uses LARS for
    batches of 16,384 (``optimizer=lars`` here).

    lrs: learning rates; the one with the best accuracy on ``tuning`` of the training labels is trained again on
    all of them. epochs, warmup: passes, and those of warm-up. batch: samples of a step. optimizer: by timm's
    name. weight_decay: of the head.
    """

    wants = "pooled"

    def __init__(
        self, *, lrs: Sequence[float] = (0.003, 0.01, 0.03, 0.1, 0.3), epochs: int = 90, batch: int = 256,
        optimizer: str = "sgd", weight_decay: float = 0.0, warmup: int = 10, tuning: float = 0.2,
        device: str = "auto",
    ) -> None:
        course = Course(tuple(lrs), epochs, batch, optimizer, weight_decay, warmup, tuning)
        self.probe = Probe(course, _head, _inputs, device)

    def __call__(self, fit: Labelled, test: Labelled, *, seed: int) -> Verdict:
        """(M, C) logits, or (M, 1) numbers, and the learning rate that was taken."""
        return self.probe(fit, test, seed)


def _head(fit: Labelled) -> nn.Module:
    assert fit.features is not None
    width = fit.features.shape[1]
    linear = nn.Linear(width, fit.outputs)
    nn.init.trunc_normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(whiten(width), linear)


def _inputs(data: Labelled) -> tuple[Tensor, ...]:
    assert data.features is not None
    return (data.features.float(),)
