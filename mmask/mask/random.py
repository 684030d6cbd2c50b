"""RandomMasker: an exact number of places of each sample, uniformly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mmask.errors import PlanError, RecipeError
from mmask.mask.budget import ROUNDINGS, one_of, whole
from mmask.mask.ratio import Ratio, check_ratio, ratio_at
from mmask.types import MaskPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.keyed import Keys
    from mmask.types import Layout

_INDEX_BITS = np.uint64(24)  # 16.7 million places; fixed, so that padding does not change a plan


class RandomMasker:
    """Hides a uniformly random set of places of exact size in every sample.

    ratio: share of the places that may be hidden (valid, not special), in [0, 1], or its course over the steps.
    rounding: how the count of n such places is made whole. ``floor`` truncates what is *kept*,
        int(n * (1 - ratio)) in float64, the arithmetic of MAE's reference code (He et al. 2021): 49 places
        at 0.6 keep 19, 100 at 0.9 keep 9. ``round`` keeps round(n * (1 - ratio)), halves to
        even, the arithmetic of SparK's: 49 places at 0.6 keep 20; where n * ratio falls between two numbers it is
        also BERT's. ``random`` hides floor(n * ratio + u) with u uniform in [0, 1), right in the mean even where
        the share is below one (RoBERTa in fairseq). ``ceil`` truncates what is *hidden*, int(n * ratio): 196
        places at 0.9 keep 20 (VideoMAE).
    count_special: take the share of all valid places instead, special ones included, as BERT's and ELECTRA's
        data builders do. cap: the highest number hidden in a sample (BERT's 20 at length 128).
    count: an explicit number of hidden places per sample instead of a ratio, capped by what a short
        sample has.
    at_least: hide at least this many in every sample that has them.

    Kept places stay in ascending order. A sample from which nothing visible would be left is a PlanError.
    """

    def __init__(
        self, *, ratio: Ratio = 0.75, rounding: Literal["floor", "round", "random", "ceil"] = "floor",
        count: int | None = None, at_least: int = 0, count_special: bool = False, cap: int | None = None,
    ) -> None:
        check_ratio(ratio)
        one_of("rounding", rounding, (*ROUNDINGS, "ceil"))
        if at_least < 0 or (count is not None and count < 0) or (cap is not None and cap < 0):
            raise RecipeError(f"mask.count ({count}), mask.at_least ({at_least}) and mask.cap ({cap}) are 0 or more")
        self.ratio, self.rounding, self.count, self.at_least = ratio, rounding, count, at_least
        self.count_special, self.cap = count_special, cap

    def hides(self, layout: Layout, keys: Keys) -> NDArray[np.int64]:
        """The number of places that are hidden in each sample. -> (B,) int64."""
        free = layout.maskable().sum(1).numpy()
        if self.count is not None:
            hide = np.full_like(free, self.count)
        else:
            hide = self._share(layout.lengths().cpu().numpy() if self.count_special else free, keys)
        hide = hide if self.cap is None else np.minimum(hide, self.cap)
        return np.minimum(np.maximum(hide, self.at_least), free)

    def _share(self, of: NDArray[np.int64], keys: Keys) -> NDArray[np.int64]:
        """The ratio of ``of`` (B,) places, made whole."""
        ratio = ratio_at(self.ratio, keys.step)
        if self.rounding == "random":
            return whole(of * ratio, "random", keys)
        if self.rounding == "ceil":
            return np.trunc(of * ratio).astype(np.int64)
        kept = of * (1.0 - ratio)
        return of - (np.trunc(kept) if self.rounding == "floor" else np.rint(kept)).astype(np.int64)

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample, a function of its layout and key alone.

        Raises PlanError when a sample would have no visible place left.
        """
        import torch

        maskable = layout.maskable()
        free = maskable.numpy()
        hide = self.hides(layout, keys)
        self._check(layout, hide, keys.step)
        words = (keys.bits("random", layout.length) >> _INDEX_BITS) << _INDEX_BITS
        words |= np.arange(layout.length, dtype=np.uint64)
        words[~free] = np.iinfo(np.uint64).max  # last in the order: never among the first ``hide`` of a row
        # the first ``hide`` words of a row in order: words are unique, so they are those up to the last of them
        last = np.take_along_axis(np.sort(words, axis=1), np.maximum(hide - 1, 0)[:, None], 1)
        hidden = (words <= last) & free & (hide > 0)[:, None]
        return MaskPlan.of_hidden(layout, torch.from_numpy(hidden))

    def _check(self, layout: Layout, hide: NDArray[np.int64], step: int) -> None:
        present = layout.lengths().cpu().numpy()
        bare = np.flatnonzero((present > 0) & (present - hide < 1))
        if len(bare):
            row = int(bare[0])
            asked = f"ratio={ratio_at(self.ratio, step)}, rounding={self.rounding}"
            if self.count is not None:
                asked = f"count={self.count}"
            raise PlanError(
                f"masking with {asked} leaves none of the {int(present[row])} places of sample {row} visible",
                hint="lower mask.ratio, use mask.rounding=round, or cut the input into more places",
            )
