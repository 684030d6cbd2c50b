"""CrossEntropy: the right one of a vocabulary at each scored place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from mmask.errors import PlanError
from mmask.loss.weighing import weighed
from mmask.types import Prediction, Share, Target, Term


class CrossEntropy:
    """-log softmax(p)[t] in nats, summed over scored places; the count is that of places.

    Weights of places (``Scored.weight``, ``Target.weight``) multiply a place's loss. The softmax runs in
    float32, or float64 for float64 logits, whatever the autocast type.
    """

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """prediction.value: (S, V) logits. target.value: (S,) int64 ids in [0, V).

        Raises PlanError when the shapes do not say so.
        """
        logits, ids = prediction.value, target.value
        if logits.ndim != 2 or ids.shape != logits.shape[:1] or ids.is_floating_point():
            raise PlanError(
                f"cross entropy takes (S, V) logits and (S,) ids, not {tuple(logits.shape)} and"
                f" {tuple(ids.shape)} {ids.dtype}",
                hint="a target of values needs a regression loss such as mse or l1",
            )
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        alike = prediction.scored.weight is None and target.weight is None
        each = F.cross_entropy(logits, ids.to(logits.device), reduction="sum" if alike else "none")
        return Term(weighed(each, prediction, target).sum(), prediction.scored.count())

    def metrics(self, prediction: Prediction, target: Target) -> Mapping[str, Share]:
        """``accuracy``: the share of scored places whose largest logit is the right one."""
        ids = target.value.to(prediction.value.device)
        return {"accuracy": Share((prediction.value.detach().argmax(-1) == ids).sum(), len(ids))}
