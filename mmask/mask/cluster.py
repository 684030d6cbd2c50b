"""ClusterMasker: squares of one size on a grid, until an exact number of places is hidden (SSAST)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmask.errors import PlanError, RecipeError
from mmask.mask.budget import check_visible
from mmask.mask.ratio import Ratio, check_ratio, ratio_at
from mmask.types import MaskPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.keyed import Keys
    from mmask.types import Layout


class ClusterMasker:
    """Squares of C x C places, C drawn once for each sample, in order until ``count`` places are covered; of the last
    square only as many places as are missing, drawn at random. Every place of the grid is as likely to be hidden.

    count: hidden places of each sample, capped by what it has (SSAST: 400 of 512); ``ratio``: their share instead,
        rounded down, where count is None. sizes: what C is drawn from.
    reference: the rule of SSAST's released code (Gong et al. 2021), which never hides place 0, lets squares run on into
        the next row and grow towards later rows only, and keeps the lowest numbers of what was covered.
    """

    def __init__(
        self, *, count: int | None = None, ratio: Ratio = 0.78, sizes: Sequence[int] = (3, 4, 5),
        reference: bool = False,
    ) -> None:
        check_ratio(ratio)
        if not sizes or min(sizes) < 1 or (count is not None and count < 0):
            raise RecipeError(f"mask.sizes {tuple(sizes)} are at least 1, mask.count ({count}) at least 0")
        self.count, self.ratio, self.sizes, self.reference = count, ratio, tuple(sizes), reference

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample. Raises PlanError off a whole grid of two axes, or if nothing stayed visible."""
        import torch

        if layout.grid is None or layout.index is not None or len(layout.grid) != 2:
            raise PlanError(f"clusters need a whole grid of two axes; this layout has {layout.grid or 'a sequence'}")
        free = layout.maskable().numpy()
        places = free.sum(1)
        share = np.floor(places * ratio_at(self.ratio, keys.step)).astype(np.int64)
        goal = share if self.count is None else np.minimum(self.count, places)
        size = np.array(self.sizes)[keys.integers("size", 1, 0, len(self.sizes))[:, 0]]
        hidden = (self._released if self.reference else self._even)(layout.grid, free, goal, size, keys)
        check_visible(layout, hidden, "lower mask.count or mask.ratio")
        return MaskPlan.of_hidden(layout, torch.from_numpy(hidden))

    def _even(
        self, grid: tuple[int, ...], free: NDArray[np.bool_], goal: NDArray[np.int64], size: NDArray[np.int64],
        keys: Keys,
    ) -> NDArray[np.bool_]:
        """(B, N): the first ``goal`` places in the order in which squares reach them, ties at random. Corners lie also
        beyond the edges, so that each place lies in as many squares as any other."""
        height, width = grid
        most = 4 * -(-height * width // int(size.min()) ** 2) + 8
        draws = keys.uniform("corner", 2 * most).reshape(len(free), most, 2)
        corner = np.floor(draws * (np.array(grid) + size[:, None, None] - 1)).astype(np.int64) - size[:, None, None] + 1
        inside = []
        for axis, n in enumerate(grid):
            at, low = np.arange(n), corner[..., axis, None]
            inside.append((at >= low) & (at < low + size[:, None, None]))
        covered = (inside[0][:, :, :, None] & inside[1][:, :, None, :]).reshape(len(free), most, -1)
        birth = np.where(covered.any(1), covered.argmax(1), most).astype(np.float64)
        order = birth + keys.uniform("tie", free.shape[1])
        order[~free] = np.inf
        hidden = np.zeros_like(free)
        ranked = order.argsort(1, kind="stable")
        np.put_along_axis(hidden, ranked, np.arange(free.shape[1])[None] < goal[:, None], 1)
        return hidden

    def _released(
        self, grid: tuple[int, ...], free: NDArray[np.bool_], goal: NDArray[np.int64], size: NDArray[np.int64],
        keys: Keys,
    ) -> NDArray[np.bool_]:
        """(B, N) by the released rule, sample by sample."""
        if not free.all():
            raise PlanError("the released rule of clusters knows no padding", hint="set mask.reference=false")
        total, hidden = grid[0] * grid[1], np.zeros_like(free)
        for row, wanted in enumerate(goal.tolist()):
            if wanted >= total:
                raise PlanError(f"the released rule hides at most {total - 1} of {total} places, not {wanted}")
            draw, found = keys.generator(row, "corner"), set[int]()
            offsets = [grid[1] * i + j for i in range(size[row]) for j in range(size[row])]
            while len(found) <= min(wanted, total - 2):
                start = int(draw.integers(0, total))
                found |= {start + offset for offset in offsets if 0 < start + offset < total}
            hidden[row, sorted(found)[:wanted]] = True
        return hidden
