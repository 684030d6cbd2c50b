"""Which labels are used: few-label draws and tuning parts, functions of (seed, sample id)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmask.errors import DataError, UsageError
from mmask.evaluate.goal import Goal
from mmask.keyed import Keys
from mmask.types import Labelled


@dataclass(frozen=True, slots=True)
class Few:
    """How many of the training labels may be used: ``100`` in all, ``10%``, ``5/class``, or ``all``."""

    text: str = "all"
    count: int | None = None
    share: float | None = None
    per_class: int | None = None

    @staticmethod
    def parse(text: str) -> Few:
        """Raises UsageError for anything else."""
        text = text.strip()
        if text == "all":
            return Few()
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(%|/class)?", text)
        value = float(found[1]) if found else 0.0
        unit = found[2] if found else None
        if value <= 0 or (unit == "%" and value > 100) or (unit != "%" and value != int(value)):
            raise UsageError(f"'{text}' is no number of labels", hint="write 100, 10%, 5/class, or all")
        if unit == "%":
            return Few(text, share=value / 100)
        return Few(text, per_class=int(value)) if unit else Few(text, count=int(value))

    def draw(self, fit: Labelled, seed: int) -> Labelled:
        """That many samples, spread over the classes as evenly as they allow (10% keeps their proportions).

        Larger draws of one seed contain smaller ones. Raises DataError when there are not enough.
        """
        if self.count is None and self.share is None and self.per_class is None:
            return fit
        counted = Goal.of(fit).spread(fit)
        rank = class_rank(counted, seed, "few")
        sizes = torch.bincount(counted.labels, minlength=counted.classes)
        if self.share is not None:
            keep = rank < (sizes * self.share).round().clamp_min(1)[counted.labels]
        elif self.per_class is not None:
            keep = rank < self.per_class
        else:
            assert self.count is not None
            if self.count > len(fit):
                raise DataError(f"{self.count} labels were asked for, the training data has {len(fit)}")
            words = torch.from_numpy(_words(fit, seed, "few").astype(np.int64))
            order = torch.from_numpy(np.lexsort((words.numpy(), rank.numpy())))  # round after round of classes
            keep = torch.zeros(len(fit), dtype=torch.bool)
            keep[order[: self.count]] = True
        return fit.take(keep.nonzero()[:, 0])


def part(fit: Labelled, share: float, seed: int) -> Tensor:
    """(N,) bool: ``share`` of the samples of each class, rounded; classes of one sample give none."""
    sizes = torch.bincount(fit.labels, minlength=fit.classes)
    wanted = torch.minimum((sizes * share).round(), (sizes - 1).clamp_min(0))
    return class_rank(fit, seed, "tuning") < wanted[fit.labels]


def class_rank(fit: Labelled, seed: int, purpose: str) -> Tensor:
    """(N,) int64: each sample's place in a random order of its class."""
    words, labels = _words(fit, seed, purpose), fit.labels.numpy()
    order = np.lexsort((words, labels))
    sizes = np.bincount(labels, minlength=fit.classes)
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return torch.from_numpy(rank)


def _words(fit: Labelled, seed: int, purpose: str) -> np.ndarray:
    ids = fit.ids.numpy().view(np.uint64)
    return Keys(seed, ids, np.zeros(len(ids), np.int64)).rows(purpose) >> np.uint64(1)
