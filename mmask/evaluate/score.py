"""Numbers of an evaluation: accuracies of each seed, means, and intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmask.errors import DataError
from mmask.evaluate.metrics import is_share, metric_values
from mmask.types import Labelled, Verdict


@dataclass(frozen=True)
class Tried:
    """One seed. numbers: metric -> value. about: what the evaluator said. confusion: (C, C) counts, truth by row;
    None where there are no classes. pictures: name -> (H, W, 3) uint8."""

    seed: int
    fitted: int
    numbers: Mapping[str, float]
    about: Mapping[str, Any]
    confusion: np.ndarray | None
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)


def measure(verdict: Verdict, fit: Labelled, test: Labelled, seed: int, metrics: Sequence[str] = ()) -> Tried:
    """The metrics asked for; by default ``top1``, ``top5`` (with more than five classes) and ``balanced`` (the mean of
    the classes' recalls), and ``spearman`` and ``pearson`` where labels are numbers. The first one is the main one.
    Where the evaluator gives no scores, its own numbers."""
    if verdict.scores is None:
        if not verdict.numbers:
            raise DataError("the evaluator gave neither scores nor numbers")
        return Tried(seed, len(fit), dict(verdict.numbers), dict(verdict.about), None)
    from sklearn.metrics import confusion_matrix

    labels = _truth(verdict, test)
    scores = verdict.scores.double()
    if scores.shape != (len(labels), test.outputs) or not bool(torch.isfinite(scores).all()):
        raise DataError(
            f"the evaluator gave scores {tuple(scores.shape)}, expected finite {(len(labels), test.outputs)}"
        )
    truth = labels.numpy()
    numbers = metric_values(metrics, truth, scores.numpy(), test.classes)
    if verdict.worth is not None:  # what was answered is worth, the main number
        numbers = {"soft": float(verdict.worth.gather(1, scores.argmax(1, keepdim=True)).double().mean()), **numbers}
    confusion = None
    if test.classes:
        confusion = confusion_matrix(truth, scores.argmax(1).numpy(), labels=np.arange(test.classes))
    return Tried(seed, len(fit), numbers, dict(verdict.about), confusion)


def _truth(verdict: Verdict, test: Labelled) -> Tensor:
    if verdict.labels is not None:
        return verdict.labels
    if verdict.ids is None:
        return test.labels
    table = dict(zip(test.ids.tolist(), test.labels.tolist(), strict=True))
    return torch.tensor([table[one] for one in verdict.ids.tolist()], dtype=test.labels.dtype)


@dataclass(frozen=True)
class Spread:
    """Mean over seeds and half the width of the 95 % interval of that mean; None with one seed."""

    mean: float
    half: float | None

    @staticmethod
    def of(values: Sequence[float], level: float = 0.95) -> Spread:
        """Student's t with n - 1 degrees of freedom."""
        mean, n = float(np.mean(values)), len(values)
        if n < 2:
            return Spread(mean, None)
        from scipy.stats import t

        return Spread(mean, float(t.ppf(0.5 + level / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n)))

    def __str__(self) -> str:
        return self.shown()

    def shown(self, metric: str = "top1") -> str:
        """In percent where the metric is a share."""
        form = ".1%" if is_share(metric) else ".4g"
        return format(self.mean, form) + (f" ± {self.half:{form}}" if self.half is not None else "")


@dataclass(frozen=True)
class Result:
    """One evaluator on one arm with one number of labels, over seeds."""

    task: str
    arm: str
    run: str
    step: int
    init: str
    features: str
    pool: str
    data: Mapping[str, Any]
    labels: str
    options: Mapping[str, Any]
    classes: Sequence[Any]
    tried: Sequence[Tried] = field(repr=False)

    def spread(self, metric: str = "") -> Spread:
        """Over seeds, of the main metric unless another is named."""
        return Spread.of([one.numbers[metric or self.metrics[0]] for one in self.tried])

    @property
    def metrics(self) -> list[str]:
        """Names of what was measured."""
        return list(self.tried[0].numbers)

    @property
    def confusion(self) -> np.ndarray | None:
        """(C, C) counts, summed over seeds; None where there are no classes."""
        known = [one.confusion for one in self.tried if one.confusion is not None]
        return np.sum(known, axis=0) if known else None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        told = {name: value for name, value in vars(self).items() if name != "tried"}
        seeds = [
            {"seed": one.seed, "fitted": one.fitted, **one.numbers, "about": dict(one.about)} for one in self.tried
        ]
        spreads = {metric: self.spread(metric) for metric in self.metrics}
        numbers = {metric: {**asdict(one), "shown": one.shown(metric)} for metric, one in spreads.items()}
        counts = self.confusion
        more = {} if counts is None else {"confusion": counts.tolist()}
        return {**told, "seeds": seeds, "summary": numbers, **more}
