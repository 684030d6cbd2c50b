"""GroupMasker: whole groups of places (words, entities, regions) hide together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mmask.errors import RecipeError
from mmask.mask.budget import ROUNDINGS, Rounding, check_visible, one_of, whole
from mmask.mask.groups import leaders
from mmask.mask.ratio import Ratio, check_ratio, ratio_at
from mmask.types import MaskPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.keyed import Keys
    from mmask.types import Layout

Overflow = Literal["skip", "stop", "allow"]


class GroupMasker:
    """Takes groups in random order, each wholly or not at all, within a budget of places.

    group: which of the layout's groups (``word``: BERT's whole-word masking). ratio: the budget, as a share
        of the places that may be hidden. count_special: take the share of all valid places instead, special
        ones included, as BERT's data builder does. rounding: see `mmask.mask.budget.whole`. cap: the
        budget's highest value (BERT's 20 predictions at length 128).
    overflow: a group that would exceed the budget is passed over (``skip``, BERT), ends the draw (``stop``),
        or is taken as the last one (``allow``).
    at_least: groups that every sample hides even beyond its budget, if it has so many.
    loose: places of no group are groups of their own (``single``) or never hidden (``keep``).
    """

    def __init__(
        self, *, group: str = "word", ratio: Ratio = 0.15, count_special: bool = False,
        rounding: Rounding = "round", cap: int | None = None, overflow: Overflow = "skip",
        at_least: int = 1, loose: Literal["single", "keep"] = "single",
    ) -> None:
        check_ratio(ratio)
        one_of("rounding", rounding, ROUNDINGS)
        one_of("overflow", overflow, ("skip", "stop", "allow"))
        one_of("loose", loose, ("single", "keep"))
        if at_least < 0 or (cap is not None and cap < 0):
            raise RecipeError("mask.at_least and mask.cap cannot be negative")
        self.group, self.ratio, self.count_special, self.rounding = group, ratio, count_special, rounding
        self.cap, self.overflow, self.at_least, self.loose = cap, overflow, at_least, loose

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample. Raises PlanError when the layout has no such groups, or when nothing would
        stay visible."""
        import torch

        free = layout.maskable().numpy()
        ids = layout.group(self.group).cpu().numpy()
        if self.loose == "keep":
            free &= ids >= 0
        leader = leaders(ids, free)
        flat = (leader + np.arange(len(ids))[:, None] * (layout.length + 1)).ravel()
        size = np.bincount(flat, minlength=len(ids) * (layout.length + 1)).reshape(len(ids), -1)
        size = size[:, :-1]  # by leader; the last column is nobody's
        of = layout.lengths().cpu().numpy() if self.count_special else layout.maskable().sum(1).numpy()
        budget = whole(of * ratio_at(self.ratio, keys.step), self.rounding, keys)
        budget = budget if self.cap is None else np.minimum(budget, self.cap)
        order = keys.order("group", layout.length, size > 0)
        taken = self._take(np.take_along_axis(size, order, 1), budget)
        chosen = np.zeros((len(ids), layout.length + 1), bool)
        np.put_along_axis(chosen, order, taken, 1)
        hidden = np.take_along_axis(chosen, leader, 1)
        check_visible(layout, hidden, "lower mask.ratio, or mask.at_least")
        return MaskPlan.of_hidden(layout, torch.from_numpy(hidden))

    def _take(self, size: NDArray[np.int64], budget: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which groups are taken. size: (B, N) places of each group in the order drawn, 0 after the last."""
        taken = np.zeros(size.shape, bool)
        used, done = np.zeros(len(size), np.int64), np.zeros(len(size), bool)
        least = 1 if self.overflow == "allow" else np.where(size > 0, size, size.max(initial=1)).min(1, initial=1 << 62)
        for number in range(int((size > 0).sum(1).max(initial=0))):
            now = size[:, number]
            fits = used < budget if self.overflow == "allow" else used + now <= budget
            taken[:, number] = (now > 0) & ((fits & ~done) | (number < self.at_least))
            if self.overflow == "stop":
                done |= ~fits
            used += np.where(taken[:, number], now, 0)
            if number + 1 >= self.at_least and bool((done | (used + least > budget)).all()):
                break
        return taken
