"""IndependentMasker: each place by its own coin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmask.errors import RecipeError
from mmask.mask.action import Mixture
from mmask.mask.budget import one_of
from mmask.mask.ratio import Ratio, check_ratio, ratio_at
from mmask.types import Action, MaskPlan

if TYPE_CHECKING:
    from mmask.keyed import Keys
    from mmask.types import Layout


class IndependentMasker:
    """Hides each place that may be hidden with probability ``ratio``, whatever becomes of the others (Bernoulli).

    ratio: the probability, in [0, 1], or its course over the steps. force: what is hidden in a sample where no coin
    fell: ``none``, the ``first`` place, or ``any`` one, uniformly (UNITER: the first word, any region). shares: what
    becomes of hidden places, as in ``action``, except that a forced place always gets the mask; give one or the other.
    All places of a sample may be hidden.
    """

    def __init__(
        self, *, ratio: Ratio = 0.15, force: Literal["none", "first", "any"] = "none",
        shares: Mapping[str, float] | None = None,
    ) -> None:
        check_ratio(ratio)
        one_of("force", force, ("none", "first", "any"))
        if shares and "per" in shares:
            raise RecipeError("mask.shares draws for each place; use mask.action for 'per'")
        self.ratio, self.force = ratio, force
        self.mixture = None if shares is None else Mixture(shares)

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample, a function of its layout and key alone."""
        import torch

        free = layout.maskable().numpy()
        coin = np.where(free, keys.uniform("coin", layout.length), 2.0)
        hidden = (coin < ratio_at(self.ratio, keys.step)) & free
        forced = np.zeros_like(hidden)
        if self.force != "none" and layout.length:
            place = free.argmax(1) if self.force == "first" else coin.argmin(1)
            bare = free.any(1) & ~hidden.any(1)
            forced[bare, place[bare]] = True
        plan = MaskPlan.of_hidden(layout, torch.from_numpy(hidden | forced))
        if self.mixture is None:
            return plan
        plan = self.mixture.apply(plan, keys)
        assert plan.action is not None
        plan.action[torch.from_numpy(forced)] = int(Action.MASK)
        return plan
