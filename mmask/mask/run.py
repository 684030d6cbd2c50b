"""RunMasker: runs of several neighbouring groups (words), of random length, within a budget of places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmask.errors import RecipeError
from mmask.mask.budget import ROUNDINGS, Rounding, check_visible, one_of, whole
from mmask.mask.groups import leaders, ranks
from mmask.mask.ratio import Ratio, check_ratio, ratio_at
from mmask.types import MaskPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.keyed import Keys
    from mmask.types import Layout

Lengths = Literal["geometric", "harmonic", "uniform"]


class RunMasker:
    """Draws runs of neighbouring groups, one after another, until the budget of places is spent.

    A run starts at a group that is not yet hidden and goes on to the right for the length drawn; it ends early at a
    hidden group, at the end, and before a group that the budget cannot hold. Groups hide wholly.

    group: which of the layout's groups (``word``); None takes single places. Places of no group stand alone.
    lengths: how a run's number of groups n is drawn, from 1 to ``longest``: ``geometric``, p (1 - p)^(n - 1)
        normalised (SpanBERT, Joshi et al. 2020: p 0.2, longest 10, hence 3.8 words on average); ``harmonic``, 1 / n
        (n-gram masking as in ALBERT, Lan et al. 2020: longest 3); ``uniform``. weights: the weights of n = 1, 2, ...
        themselves; they win over ``lengths`` and ``longest``.
    ratio, count_special, rounding, cap: the budget, as in `mmask.mask.group.GroupMasker`.
    exact: cut the last group so that the budget is met exactly, as SpanBERT's code does.
    at_least: groups that every sample hides even beyond its budget, if it has so many.
    """

    def __init__(
        self, *, group: str | None = "word", lengths: Lengths = "geometric", p: float = 0.2, longest: int = 10,
        weights: Sequence[float] | None = None, ratio: Ratio = 0.15, count_special: bool = False,
        rounding: Rounding = "round", cap: int | None = None, exact: bool = False, at_least: int = 1,
    ) -> None:
        check_ratio(ratio)
        one_of("lengths", lengths, ("geometric", "harmonic", "uniform"))
        one_of("rounding", rounding, ROUNDINGS)
        if longest < 1 or at_least < 0 or (cap is not None and cap < 0):
            raise RecipeError("mask.longest is at least 1, mask.at_least and mask.cap at least 0")
        if not 0.0 < p <= 1.0:
            raise RecipeError(f"mask.p is {p}; it is a probability above 0")
        if weights is not None and (not len(weights) or min(weights) < 0 or sum(weights) <= 0):
            raise RecipeError("mask.weights are not negative, and one of them is above 0")
        self.group, self.lengths, self.p, self.longest, self.ratio = group, lengths, p, longest, ratio
        self.weights = None if weights is None else tuple(weights)
        self.count_special, self.rounding, self.cap = count_special, rounding, cap
        self.exact, self.at_least = exact, at_least

    def shares(self) -> NDArray[np.float64]:
        """The probability of a run of 1, 2, ... groups."""
        if self.weights is not None:
            weights = np.asarray(self.weights, np.float64)
        else:
            number = np.arange(1, self.longest + 1, dtype=np.float64)
            weights = {
                "geometric": self.p * (1.0 - self.p) ** (number - 1), "harmonic": 1.0 / number,
                "uniform": np.ones_like(number),
            }[self.lengths]
        return weights / weights.sum()

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample. Raises PlanError when the layout has no such groups, or when nothing would
        stay visible."""
        import torch

        free = layout.maskable().numpy()
        width = layout.length
        ids = np.full(free.shape, -1) if self.group is None else layout.group(self.group).cpu().numpy()
        rank, size = ranks(leaders(ids, free), free)
        of = layout.lengths().cpu().numpy() if self.count_special else free.sum(1)
        budget = whole(of * ratio_at(self.ratio, keys.step), self.rounding, keys)
        budget = budget if self.cap is None else np.minimum(budget, self.cap)
        drawn = np.searchsorted(self.shares().cumsum(), keys.uniform("length", width), side="right")
        lengths = np.minimum(drawn + 1, len(self.shares()))
        chosen = self._runs(keys.order("start", width, size > 0), lengths, size, budget)
        hidden = np.take_along_axis(np.pad(chosen, ((0, 0), (0, 1))), rank, 1)
        if self.exact:
            hidden = _filled(hidden, rank, size, budget, keys)
        check_visible(layout, hidden, "lower mask.ratio, or mask.at_least")
        return MaskPlan.of_hidden(layout, torch.from_numpy(hidden))

    def _runs(
        self, starts: NDArray[np.int64], lengths: NDArray[np.int64], size: NDArray[np.int64],
        budget: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """(B, N) which groups are hidden. starts: (B, N) groups in the order they are tried; lengths: (B, N) of each
        try; size: (B, N) places of each group, 0 after the last."""
        longest = len(self.shares())
        batch, width = size.shape
        ahead = np.arange(longest)[None]
        sizes = np.pad(size, ((0, 0), (0, longest)))
        chosen = np.zeros((batch, width + longest), bool)
        used, taken = np.zeros(batch, np.int64), np.zeros(batch, np.int64)
        groups = (size > 0).sum(1)
        least = np.where(size > 0, size, width + 1).min(1, initial=width + 1)
        live = np.arange(batch)
        for number in range(width):
            live = live[(number < groups[live]) & (
                (used[live] + least[live] <= budget[live]) | (taken[live] < self.at_least)
            )]
            if not len(live):
                break
            at = starts[live, number][:, None] + ahead
            rows = live[:, None]
            step = sizes[rows, at]
            open_to = (ahead < lengths[live, number][:, None]) & ~chosen[rows, at] & (step > 0)
            total = used[live][:, None] + np.where(open_to, step, 0).cumsum(1)
            forced = taken[live][:, None] + ahead < self.at_least
            run = np.logical_and.accumulate(open_to & ((total <= budget[live][:, None]) | forced), axis=1)
            chosen[rows, at] |= run
            used[live] += (step * run).sum(1)
            taken[live] += run.sum(1)
        return chosen[:, :width]


def _filled(
    hidden: NDArray[np.bool_], rank: NDArray[np.int64], size: NDArray[np.int64], budget: NDArray[np.int64], keys: Keys
) -> NDArray[np.bool_]:
    """(B, N) hidden, with what is left of the budget taken from the first places of one more group."""
    free = rank < hidden.shape[1]
    left = budget - hidden.sum(1)
    rows = np.arange(len(hidden))[:, None]
    shown = np.zeros_like(size)
    np.add.at(shown, (np.broadcast_to(rows, rank.shape)[free & ~hidden], rank[free & ~hidden]), 1)
    order = keys.order("rest", hidden.shape[1], (shown >= np.maximum(left, 1)[:, None]))
    last = order[:, :1]
    inside = free & (rank == last) & ~hidden
    return hidden | (inside & (inside.cumsum(1) <= left[:, None]))
