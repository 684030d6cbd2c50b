"""Labelled samples as an evaluator gets them, and what it says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

    from mmask.protocols import Subject


@dataclass(frozen=True, slots=True)
class Labelled:
    """N labelled samples. Which of the optional fields are there depends on the evaluator's ``wants``.

    labels: (N,) int64 in 0..classes-1; (N,) float32 where labels are numbers to be predicted. classes: how many there
    are, over fit and test samples; 0 for numbers. Where places have labels of their own, features are those of labelled
    places, one after another, and an evaluator that wants the ``network`` gets samples whose ``labels`` are all 0 and
    asks ``subject.truth(batch)``.
    ids: (N,) int64, the bits of the uint64 sample ids: what draws are keyed by.
    features: (N, D) float32, one vector a sample (``wants = "pooled"``).
    places: (N, K, D) float32, the state of every place (``wants = "places"``), padded at the end.
    valid: (N, K) bool, False at padding; None where every place is valid.
    layers: (N, L, D) float32, one vector a sample from each layer, first to last (``wants = "layers"``).
    rows: (N,) int64, what ``subject.train`` and ``subject.stored`` read the samples by (``wants = "network"``,
        ``"samples"``).
    subject: the encoder and its stored samples (``wants = "network"``, ``"samples"``).

    With ``wants = "samples"`` no labels are read: ``labels`` are all 0 and ``classes`` is 1. What is to be learnt is
    in the samples, and the evaluator decodes it (``subject.decoding``).
    """

    labels: torch.Tensor
    classes: int
    ids: torch.Tensor
    features: torch.Tensor | None = None
    places: torch.Tensor | None = None
    valid: torch.Tensor | None = None
    layers: torch.Tensor | None = None
    rows: torch.Tensor | None = None
    subject: Subject | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def outputs(self) -> int:
        """What a head has to give: a score for each class, or one number."""
        return max(1, self.classes)

    def take(self, index: torch.Tensor) -> Labelled:
        """The samples ``index`` (M,), in that order."""
        names = ("labels", "ids", "features", "places", "valid", "layers", "rows")
        held = {name: getattr(self, name) for name in names}
        return replace(self, **{name: value[index] for name, value in held.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an evaluator predicts for the test samples.

    scores: (M, C) float, larger for more likely classes; any monotone scale; (M, 1), the numbers themselves, where
    labels are numbers; None where the evaluator measures by itself. about: what it chose and saw (the learning rate
    taken, epochs), plain values for JSON. ids: (M,) int64 sample ids of the rows, where they are not all test samples
    in order. labels: (M,) the truth of the rows, where places have labels of their own. numbers: metric -> value, the
    first one the one that counts, where there are no scores to measure. worth: (M, C) what each answer would score,
    where several are right to a degree.
    """

    scores: torch.Tensor | None
    about: Mapping[str, Any] = field(default_factory=dict)
    ids: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    numbers: Mapping[str, float] | None = None
    worth: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What an evaluator that wants the whole ``model`` found. numbers: metric -> value, in the order of the table.
    pictures: name -> (H, W, 3) uint8, written beside the JSON."""

    numbers: Mapping[str, float]
    about: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
