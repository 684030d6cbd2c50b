"""knn: weighted votes of the nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmask.types import Labelled, Verdict

_CHUNK = 1024


class NearestNeighbours:
    """Votes of the ``k`` most similar fit samples, each weighted by exp(cosine / temperature).

    Wu et al. 2018 (instance discrimination), with the constants that DINO (Caron et al. 2021) took over: k 20
    of ImageNet's 1.28 M samples, temperature 0.07. Nothing is learnt, so it moves with the seed only through
    the labels that are drawn. It asks whether classes are already neighbourhoods; masked autoencoders often
    hold the classes in directions of small variance, which a linear probe finds and cosine does not.

    k: neighbours; all of them where there are fewer. temperature: of the weights, > 0.
    """

    wants = "pooled"

    def __init__(self, *, k: int = 20, temperature: float = 0.07) -> None:
        from mmask.errors import RecipeError

        if k < 1 or temperature <= 0:
            raise RecipeError(f"knn needs k >= 1 and temperature > 0, got {k} and {temperature}")
        self.k, self.temperature = k, temperature

    def __call__(self, fit: Labelled, test: Labelled, *, seed: int) -> Verdict:
        """(M, C) sums of weights, or the (M, 1) weighted mean of the neighbours' numbers."""
        assert fit.features is not None and test.features is not None
        known = F.normalize(fit.features.float(), dim=1)
        k = min(self.k, len(fit))
        scores = [
            self._votes(F.normalize(rows.float(), dim=1) @ known.T, fit.labels, k, fit.classes)
            for rows in test.features.split(_CHUNK)
        ]
        return Verdict(torch.cat(scores), {"k": k, "temperature": self.temperature})

    def _votes(self, cosine: Tensor, labels: Tensor, k: int, classes: int) -> Tensor:
        near, index = cosine.topk(k, dim=1)
        weights = ((near - near[:, :1]) / self.temperature).exp()  # the nearest weighs 1: nothing overflows
        if not classes:
            return (weights * labels[index]).sum(1, keepdim=True) / weights.sum(1, keepdim=True)
        return cosine.new_zeros(len(cosine), classes).scatter_add_(1, labels[index], weights)
