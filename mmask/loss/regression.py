"""Regression losses: distances between predicted and true values, averaged inside each place."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn import functional as F

from mmask.errors import PlanError
from mmask.loss.weighing import weighed
from mmask.types import Prediction, Target, Term


class MeanSquaredError:
    """(p - t)², mean over the values of a place, summed over scored places; the count is that of places.

    Weights of places (``Scored.weight``, ``Target.weight``) multiply a place's error. The sum is taken in
    float32, or float64 for float64 predictions, whatever the autocast type.
    """

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """prediction.value and target.value: (S, ...) of one shape.

        Raises PlanError when they differ in shape.
        """
        value, truth = prediction.value, target.value
        if value.shape != truth.shape:
            raise PlanError(f"the head predicts {tuple(value.shape)}, the target is {tuple(truth.shape)}")
        dtype = torch.promote_types(value.dtype, torch.float32)
        value, truth = value.to(dtype), truth.to(value.device, dtype)
        scored = prediction.scored
        size = max(1, value[0].numel() if len(value) else 1)
        with _no_autocast(value.device.type):
            if scored.weight is None and target.weight is None:
                total = F.mse_loss(value, truth, reduction="sum") / size
            else:
                each = F.mse_loss(value, truth, reduction="none").flatten(1).mean(1)
                total = weighed(each, prediction, target).sum()
        return Term(total, scored.count())


def _no_autocast(device: str) -> AbstractContextManager[None]:
    """Full precision where the device knows autocast; ``meta``, on which memory is estimated, does not."""
    known = torch.amp.autocast_mode.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if known else nullcontext()
