"""Divergence: how far a predicted distribution is from a given one (KL)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch.nn import functional as F

from mmask.errors import PlanError, RecipeError
from mmask.loss.weighing import weighed
from mmask.types import Prediction, Share, Target, Term


class Divergence:
    """sum_c t_c (log t_c - log softmax(p)_c) in nats of each scored place; the count is that of places.

    over: ``classes``: the sum itself, a divergence; ``mean``: divided by the number of classes, as UNITER's released
    code does, which makes 1,601 classes weigh a sixteen-hundredth. The softmax runs in float32, or float64 for float64
    logits. Weights of places (``Scored.weight``, ``Target.weight``) multiply a place's loss.
    """

    def __init__(self, *, over: Literal["classes", "mean"] = "classes") -> None:
        if over not in ("classes", "mean"):
            raise RecipeError(f"loss.over is '{over}'; it is classes or mean")
        self.over = over

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """prediction.value: (S, C) logits. target.value: (S, C) shares. Raises PlanError when they differ in shape."""
        logits, shares = prediction.value, target.value
        if logits.ndim != 2 or shares.shape != logits.shape or not shares.is_floating_point():
            raise PlanError(
                f"a divergence takes (S, C) logits and (S, C) shares, not {tuple(logits.shape)} and"
                f" {tuple(shares.shape)} {shares.dtype}",
            )
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        each = F.kl_div(logits.log_softmax(-1), shares.to(logits.device, logits.dtype), reduction="none").sum(-1)
        if self.over == "mean":
            each = each / logits.shape[1]
        return Term(weighed(each, prediction, target).sum(), prediction.scored.count())

    def metrics(self, prediction: Prediction, target: Target) -> Mapping[str, Share]:
        """``accuracy``: the share of scored places whose largest logit is the largest share."""
        best = target.value.argmax(-1).to(prediction.value.device)
        return {"accuracy": Share((prediction.value.detach().argmax(-1) == best).sum(), len(best))}
