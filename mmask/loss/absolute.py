"""MeanAbsoluteError: the distance SimMIM and TERA use."""

from __future__ import annotations

import torch

from mmask.errors import PlanError
from mmask.loss.weighing import weighed
from mmask.types import Prediction, Target, Term


class MeanAbsoluteError:
    """|p - t|, mean over the values of a place, summed over scored places; the count is that of places.

    Weights of places (``Scored.weight``, ``Target.weight``) multiply a place's error. The sum is taken in
    float32, or float64 for float64 predictions, whatever the autocast type.
    """

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """prediction.value and target.value: (S, ...) of one shape. Raises PlanError when they differ."""
        value, truth = prediction.value, target.value
        if value.shape != truth.shape:
            raise PlanError(f"the head predicts {tuple(value.shape)}, the target is {tuple(truth.shape)}")
        dtype = torch.promote_types(value.dtype, torch.float32)
        each = (value.to(dtype) - truth.to(value.device, dtype)).abs().flatten(1)
        each = each.sum(1) / max(1, each.shape[1])
        return Term(weighed(each, prediction, target).sum(), prediction.scored.count())
