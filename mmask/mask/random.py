"""RandomMasker: an exact number of places of each sample, uniformly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mmask.errors import PlanError, RecipeError
from mmask.types import MaskPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.keyed import Keys
    from mmask.types import Layout

_INDEX_BITS = np.uint64(24)  # 16.7 million places; fixed, so that padding does not change a plan


class RandomMasker:
    """Hides a uniformly random set of places of exact size in every sample.

    ratio: share of the places that may be hidden (valid, not special), in [0, 1].
    rounding: how the count of n such places is made whole. ``floor`` truncates what is *kept*,
        int(n * (1 - ratio)) in float64, the arithmetic of MAE's reference code (He et al. 2021): 49 places
        at 0.6 keep 19, 100 at 0.9 keep 9. ``round`` keeps round(n * (1 - ratio)), halves to
        even, the arithmetic of SparK's: 49 places at 0.6 keep 20. ``ceil`` truncates what is *hidden*,
        int(n * ratio), as VideoMAE's does: 196 places at 0.9 keep 20.
    count: an explicit number of hidden places per sample instead of a ratio, capped by what a short
        sample has.
    at_least: hide at least this many in every sample that has them.

    Kept places stay in ascending order. A sample from which nothing visible would be left is a PlanError.
    """

    def __init__(
        self, *, ratio: float = 0.75, rounding: Literal["floor", "round", "ceil"] = "floor",
        count: int | None = None, at_least: int = 0,
    ) -> None:
        if not 0.0 <= ratio <= 1.0:
            raise RecipeError(f"mask.ratio is {ratio}; it is a share between 0 and 1")
        if rounding not in ("floor", "round", "ceil"):
            raise RecipeError(f"mask.rounding is '{rounding}'; it is 'floor', 'round' or 'ceil'")
        if at_least < 0 or (count is not None and count < 0):
            raise RecipeError(f"mask.count ({count}) and mask.at_least ({at_least}) cannot be negative")
        self.ratio, self.rounding, self.count, self.at_least = ratio, rounding, count, at_least

    def hides(self, free: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of places hidden among ``free`` (B,) maskable ones. -> (B,) int64."""
        if self.count is not None:
            hide = np.minimum(self.count, free)
        elif self.rounding == "floor":
            hide = free - np.trunc(free * (1.0 - self.ratio)).astype(np.int64)
        elif self.rounding == "ceil":
            hide = np.trunc(free * self.ratio).astype(np.int64)
        else:
            hide = free - np.rint(free * (1.0 - self.ratio)).astype(np.int64)
        return np.maximum(hide, np.minimum(self.at_least, free))

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample, a function of its layout and key alone.

        Raises PlanError when a sample would have no visible place left.
        """
        import torch

        maskable = layout.maskable()
        free = maskable.numpy()
        hide = self.hides(free.sum(1))
        self._check(layout, hide)
        words = (keys.bits("random", layout.length) >> _INDEX_BITS) << _INDEX_BITS
        words |= np.arange(layout.length, dtype=np.uint64)
        words[~free] = np.iinfo(np.uint64).max  # last in the order: never among the first ``hide`` of a row
        order = np.argsort(words, axis=1)
        hidden = np.zeros_like(free)
        np.put_along_axis(hidden, order, np.arange(layout.length)[None] < hide[:, None], axis=1)
        return MaskPlan.of_hidden(layout, torch.from_numpy(hidden))

    def _check(self, layout: Layout, hide: NDArray[np.int64]) -> None:
        present = layout.lengths().cpu().numpy()
        bare = np.flatnonzero((present > 0) & (present - hide < 1))
        if len(bare):
            row = int(bare[0])
            asked = f"ratio={self.ratio}, rounding={self.rounding}"
            if self.count is not None:
                asked = f"count={self.count}"
            raise PlanError(
                f"masking with {asked} leaves none of the {int(present[row])} places of sample {row} visible",
                hint="lower mask.ratio, use mask.rounding=round, or cut the input into more places",
            )
