"""CosineDistance: directions compared, lengths left alone (features of a teacher)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from mmask.errors import PlanError
from mmask.loss.weighing import weighed
from mmask.types import Prediction, Target, Term


class CosineDistance:
    """1 - cos(p, t), from 0 to 2, summed over scored places; the count is that of places.

    What EVA (Fang et al. 2022, arXiv 2211.07636) and MVP (Wei et al. 2022, arXiv 2203.05175) lay between a network and
    CLIP's features, up to the constant 1. Its gradient is that of half the squared distance of unit vectors. A vector
    of length 0 is at distance 1 of all. Weights of places (``Scored.weight``, ``Target.weight``) multiply a place's
    distance. The sum is taken in float32, or float64 for float64 predictions, whatever the autocast type.
    """

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """prediction.value and target.value: (S, D). Raises PlanError when they differ in shape."""
        value, truth = prediction.value, target.value
        if value.shape != truth.shape or value.ndim != 2:
            raise PlanError(f"the head predicts {tuple(value.shape)}, the target is {tuple(truth.shape)}")
        dtype = torch.promote_types(value.dtype, torch.float32)
        each = 1 - F.cosine_similarity(value.to(dtype), truth.to(value.device, dtype), dim=-1)
        return Term(weighed(each, prediction, target).sum(), prediction.scored.count())
