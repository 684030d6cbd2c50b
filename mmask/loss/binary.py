"""BinaryCrossEntropy: yes or no at each scored place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from mmask.errors import PlanError
from mmask.loss.weighing import weighed
from mmask.types import Prediction, Share, Target, Term


class BinaryCrossEntropy:
    """-t log sigmoid(p) - (1 - t) log sigmoid(-p) in nats, summed over scored places; the count is that of places.

    Weights of places (``Scored.weight``, ``Target.weight``) multiply a place's loss. It runs in float32, or float64
    for float64 logits, whatever the autocast type.
    """

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """prediction.value: (S,) logits. target.value: (S,) float in [0, 1]. Raises PlanError for other shapes."""
        logits, truth = prediction.value, target.value
        if logits.ndim != 1 or truth.shape != logits.shape:
            raise PlanError(
                f"binary cross entropy takes (S,) logits and (S,) truths, not {tuple(logits.shape)} and"
                f" {tuple(truth.shape)}"
            )
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        alike = prediction.scored.weight is None and target.weight is None
        each = F.binary_cross_entropy_with_logits(logits, truth.to(logits), reduction="sum" if alike else "none")
        return Term(weighed(each, prediction, target).sum(), prediction.scored.count())

    def metrics(self, prediction: Prediction, target: Target) -> Mapping[str, Share]:
        """``rate`` of yes among the places; ``accuracy``, ``precision`` and ``recall`` of the answer p > 0; ``auc``,
        the probability that a yes has the larger logit than a no, of each batch and averaged over batches. Where yes
        is rare, accuracy says little: always no is right in 1 - rate of the places."""
        logits, truth = prediction.value.detach(), target.value.to(prediction.value.device) > 0.5
        said, places = logits > 0, len(truth)
        hits = (said & truth).sum()
        return {
            "rate": Share(truth.sum(), places), "accuracy": Share((said == truth).sum(), places),
            "precision": Share(hits, said.sum()), "recall": Share(hits, truth.sum()), "auc": _auc(logits, truth),
        }


def _auc(logits: torch.Tensor, truth: torch.Tensor) -> Share:
    """Area under the receiver's curve from ranks; equal logits share their mean rank."""
    if not len(logits):
        return Share(0.0, 0.0)
    _, where, counts = torch.unique(logits.float(), return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    rank = (last - (counts - 1) / 2.0)[where]
    yes = truth.sum()
    no = len(truth) - yes
    pairs = yes * no
    area = (rank[truth].sum() - yes * (yes + 1) / 2.0) / pairs.clamp_min(1)
    return Share(area * (pairs > 0), (pairs > 0).float())
