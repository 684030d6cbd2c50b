"""Goal: what a head is trained for, classes or numbers: its loss, its scores, and when one head is better."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmask.types import Labelled


@dataclass(frozen=True)
class Goal:
    """classes: 0 for numbers, which are standardised by ``mean`` and ``scale`` of the training labels."""

    classes: int
    mean: float = 0.0
    scale: float = 1.0

    @staticmethod
    def of(fit: Labelled) -> Goal:
        """The goal of these labels."""
        if fit.classes:
            return Goal(fit.classes)
        scale = float(fit.labels.double().std(unbiased=False))
        return Goal(0, float(fit.labels.double().mean()), scale or 1.0)

    def loss(self, outputs: Tensor, truth: Tensor, smoothing: float = 0.0, scores: Tensor | None = None) -> Tensor:
        """Cross-entropy of (B, C) logits, or the squared error of (B, 1) standardised numbers. scores: (B, C) in
        [0, 1], how right each class is: every class is then a question of its own, -log sigmoid, summed over classes
        (VQA)."""
        if scores is not None:
            return F.binary_cross_entropy_with_logits(outputs, scores.to(outputs), reduction="sum") / len(outputs)
        if self.classes:
            return F.cross_entropy(outputs, truth, label_smoothing=smoothing)
        return F.mse_loss(outputs[:, 0], (truth.to(outputs.dtype) - self.mean) / self.scale)

    def scores(self, outputs: Tensor) -> Tensor:
        """What a verdict holds."""
        return outputs if self.classes else outputs * self.scale + self.mean

    def merit(self, scores: Tensor, truth: Tensor) -> float:
        """Accuracy, or minus the mean squared error: larger is better."""
        if self.classes:
            return float((scores.argmax(1) == truth).double().mean())
        return -float((scores[:, 0].double() - truth.double()).square().mean())

    def spread(self, fit: Labelled) -> Labelled:
        """Samples whose labels may be counted by class: numbers are one class."""
        from dataclasses import replace

        return fit if self.classes else replace(fit, labels=torch.zeros(len(fit), dtype=torch.int64), classes=1)
