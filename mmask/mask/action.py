"""Mixture: what becomes of hidden places, drawn for each of them after any masker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmask.errors import RecipeError, did_you_mean
from mmask.mask.groups import leaders
from mmask.types import Action

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.keyed import Keys
    from mmask.types import MaskPlan

_NAMES = {action.name.lower(): action for action in Action if action is not Action.VISIBLE}
PLACE, RUN = "place", "run"


class Mixture:
    """Gives every hidden place an action, independently of the others, with the shares asked for.

    shares: action -> share, together 1: ``{mask = 0.8, random = 0.1, keep = 0.1}`` is BERT's. Actions are
        ``mask``, ``random``, ``keep``, ``zero``, ``noise``, ``drop``, ``sample``; the view's corruption must know them.
    per: what draws together: each ``place``, each ``run`` of neighbouring hidden places (SpanBERT, Joshi et al.
        2020), or each group of a kind that the layout has (``word``).

    In a recipe: ``action = {mask = 0.8, random = 0.1, keep = 0.1}`` beside any masker's own options.
    """

    def __init__(self, shares: Mapping[str, float], *, per: str = PLACE) -> None:
        for name, share in shares.items():
            if name not in _NAMES or name == "copy":
                known = sorted(set(_NAMES) - {"copy"})
                raise RecipeError(
                    f"mask.action has no action '{name}'{did_you_mean(name, [*known, 'per'])}",
                    hint=f"actions are {', '.join(known)}; 'per' says what draws together",
                )
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 <= share <= 1.0:
                raise RecipeError(f"mask.action.{name} is {share}; it is a share between 0 and 1")
        total = sum(shares.values())
        if abs(total - 1.0) > 1e-9:
            raise RecipeError(f"the shares of mask.action add up to {total:g}, not 1")
        self.shares, self.per = dict(shares), per
        drawn = {name: share for name, share in shares.items() if share > 0}
        self._codes = np.array([_NAMES[name] for name in drawn], np.uint8)
        self._edges = np.cumsum(list(drawn.values()))

    @classmethod
    def of(cls, table: Mapping[str, float | str]) -> Mixture:
        """From a recipe's table: shares by action, and ``per``."""
        shares = {name: share for name, share in table.items() if name != "per"}
        return cls(shares, per=str(table.get("per", PLACE)))  # type: ignore[arg-type]  # checked there

    def apply(self, plan: MaskPlan, keys: Keys) -> MaskPlan:
        """The plan with its actions; those that the masker gave itself are replaced.

        Raises PlanError when ``per`` names groups that the layout lacks.
        """
        import torch

        hidden = plan.hidden.numpy()
        drawn = keys.uniform("action", plan.layout.length)
        if self.per != PLACE:
            drawn = np.take_along_axis(drawn, self._leaders(plan, hidden), 1)
        choice = np.minimum(np.searchsorted(self._edges, drawn, side="right"), len(self._codes) - 1)
        action = np.where(hidden, self._codes[choice], np.uint8(Action.VISIBLE))
        return replace(plan, action=torch.from_numpy(action))

    def _leaders(self, plan: MaskPlan, hidden: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(B, N) the place whose draw each place takes: the first of its run, or of its group."""
        place = np.arange(plan.layout.length)[None]
        if self.per == RUN:
            first = hidden.copy()
            first[:, 1:] &= ~hidden[:, :-1]
            return np.maximum.accumulate(np.where(first, place, 0), 1)
        return np.minimum(leaders(plan.layout.group(self.per).cpu().numpy(), hidden), plan.layout.length - 1)
