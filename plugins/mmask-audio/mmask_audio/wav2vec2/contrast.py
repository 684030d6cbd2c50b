"""SampledContrast: which of 1 + K candidates is the right one, by cosine."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmask.api import PlanError, Prediction, RecipeError, Scored, Target, Term, weighed


class SampledContrast:
    """-log softmax of cosine / temperature over the target and its negatives, summed over scored places.

    temperature: of the cosines (0.1). fast: all cosines of a clip in one product, from which the sampled ones are
    read; False is the plain twin, which gathers K vectors for each place. The logits run in float32 at least.

    A negative with the positive's codes is no candidate. The reference compares projected vectors for equality, which
    in float32 training misses some by a last bit of the straight-through sum; codes miss none.
    """

    def __init__(self, *, temperature: float = 0.1, fast: bool = True) -> None:
        if temperature <= 0:
            raise RecipeError(f"temperature is {temperature}; it is above 0")
        self.temperature, self.fast = temperature, fast

    def __call__(self, prediction: Prediction, target: Target) -> Term:
        """prediction.value, target.value: (S, D). target.extra: ``negatives`` (S, K) rows of the same clip, ``ids``
        (S, G) codes. Raises PlanError when they are missing, or of other shapes."""
        said, truth, extra = prediction.value, target.value, target.extra
        if "negatives" not in extra or "ids" not in extra or said.shape != truth.shape:
            raise PlanError(
                f"sampled contrast takes negatives and codes beside equal shapes, not {tuple(said.shape)} against "
                f"{tuple(truth.shape)} with {sorted(extra)}", hint="use target 'gumbel-codes'",
            )
        alike = prediction.scored.weight is None and target.weight is None
        logits = self.logits(said, truth, extra["negatives"], extra["ids"], prediction.scored)
        right = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        each = F.cross_entropy(logits, right, reduction="sum" if alike else "none")
        return Term(weighed(each, prediction, target).sum(), prediction.scored.count())

    def logits(self, said: Tensor, truth: Tensor, negatives: Tensor, ids: Tensor, scored: Scored) -> Tensor:
        """(S, 1 + K), the positive first; -inf at negatives that are the positive."""
        kind = torch.promote_types(said.dtype, torch.float32)
        said, truth = (F.normalize(x.to(kind), dim=-1, eps=1e-8) for x in (said, truth))
        right = (said * truth).sum(-1, keepdim=True)
        others = (_within if self.fast else _gathered)(said, truth, negatives, scored)
        same = (ids[negatives] == ids[:, None]).all(-1)
        return torch.cat([right, others.masked_fill(same, float("-inf"))], 1) / self.temperature


def _gathered(said: Tensor, truth: Tensor, negatives: Tensor, scored: Scored) -> Tensor:
    """(S, K) cosines, one gathered vector each."""
    return (said[:, None] * truth[negatives]).sum(-1)


def _within(said: Tensor, truth: Tensor, negatives: Tensor, scored: Scored) -> Tensor:
    """(S, K) cosines, read from those of all pairs of a clip's places."""
    rows = scored.rows()
    counts = torch.bincount(rows, minlength=scored.layout.batch)
    most = int(counts.max()) if len(counts) else 0
    first = counts.cumsum(0) - counts
    place = (rows * most + torch.arange(len(rows)) - first[rows]).to(said.device)

    def square(x: Tensor) -> Tensor:
        out = x.new_zeros(len(counts) * most, x.shape[-1])
        return out.index_copy(0, place, x).view(len(counts), most, x.shape[-1])

    cosines = torch.bmm(square(said), square(truth).transpose(1, 2)).flatten(0, 1).index_select(0, place)
    return cosines.gather(1, negatives - first[rows].to(negatives.device)[:, None])
