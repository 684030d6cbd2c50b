"""weighted: a linear head on a learnt weighted sum of a network's layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmask.evaluate.heads import Course, Probe, whiten
from mmask.types import Labelled, Verdict


class WeightedLayers:
    """The pooled states of every layer, summed by weights that are learnt with the head, then the linear probe's head.

    SUPERB (Yang et al. 2021): what a task needs may lie in the middle of a network; the last layer alone misleads
    about networks whose last layers serve their pretraining. The network's layers are its ``layer_taps``.

    normalise: every layer by a LayerNorm without parameters first, so that a layer of large states does not win by
    its scale. lrs: learning rates, chosen as in the linear probe. epochs, warmup: passes, and those of warm-up. batch:
    samples of a step. optimizer: by timm's name. weight_decay: of the head. tuning: share of labels that lr is chosen
    on. The shares of the layers are reported.
    """

    wants = "layers"

    def __init__(
        self, *, normalise: bool = False, lrs: Sequence[float] = (3e-4, 1e-3, 3e-3, 1e-2), epochs: int = 90,
        batch: int = 256, optimizer: str = "adamw", weight_decay: float = 0.0, warmup: int = 10, tuning: float = 0.2,
        device: str = "auto",
    ) -> None:
        course = Course(tuple(lrs), epochs, batch, optimizer, weight_decay, warmup, tuning)
        self.normalise = normalise
        self.probe = Probe(course, self._head, _inputs, device)

    def __call__(self, fit: Labelled, test: Labelled, *, seed: int) -> Verdict:
        """(M, C) logits, or (M, 1) numbers, the learning rate that was taken and the share of each layer."""
        return self.probe(fit, test, seed)

    def _head(self, fit: Labelled) -> nn.Module:
        assert fit.layers is not None
        _, layers, width = fit.layers.shape
        return WeightedHead(layers, width, fit.outputs, normalise=self.normalise)


class LayerSum(nn.Module):
    """softmax(weights) over layers, equal at the start. normalise: as `WeightedLayers`."""

    def __init__(self, layers: int, *, normalise: bool = False) -> None:
        super().__init__()
        self.weights, self.normalise = nn.Parameter(torch.zeros(layers)), normalise

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """L tensors (..., D) -> (..., D)."""
        if self.normalise:
            states = [F.layer_norm(state, state.shape[-1:]) for state in states]
        shares = self.weights.softmax(0)
        total = states[0] * shares[0]
        for state, share in zip(states[1:], shares[1:], strict=True):
            total = total + state * share
        return total

    def shares(self) -> list[float]:
        """How much of each layer is in the sum."""
        return [round(share, 4) for share in self.weights.detach().softmax(0).tolist()]


class WeightedHead(nn.Module):
    """(B, L, D) -> (B, C)."""

    def __init__(self, layers: int, width: int, classes: int, *, normalise: bool) -> None:
        super().__init__()
        self.sum = LayerSum(layers, normalise=normalise)
        self.white, self.out = whiten(width), nn.Linear(width, classes)
        nn.init.trunc_normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def forward(self, layers: Tensor) -> Tensor:
        """Logits."""
        return self.out(self.white(self.sum(layers.unbind(1))))

    def about(self) -> dict[str, Any]:
        """For the report."""
        return {"layers": self.sum.shares()}


def _inputs(data: Labelled) -> tuple[Tensor, ...]:
    assert data.layers is not None
    return (data.layers.float(),)
