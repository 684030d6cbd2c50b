"""CuboidMasker: the union of a few cuboids of a grid of three axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmask.errors import PlanError, RecipeError
from mmask.types import MaskPlan

if TYPE_CHECKING:
    from mmask.keyed import Keys
    from mmask.types import Layout


class CuboidMasker:
    """VIOLET's block-wise masking (Fu et al. 2021): as many cuboids as the grid has frames, their union hidden.

    Of each cuboid the sides are uniform, 1 to T - 1 frames (1 where there is one frame) and 1 to int(side * share) - 1
    cells along each other axis (at least 1), and so is the corner. The realised share depends on the grid: 15 % of
    4 x 7 x 7 places in the mean, 8 % of single frames.

    share: see above; 2 / 3 in the reference's code. count: cuboids; None takes one for each frame.
    """

    def __init__(self, *, share: float = 2 / 3, count: int | None = None) -> None:
        if not 0 < share <= 1 or (count is not None and count < 1):
            raise RecipeError(f"mask.share is {share}, not in (0, 1], or mask.count {count}, not at least 1")
        self.share, self.count = share, count

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample. Raises PlanError off a whole grid of three axes."""
        import torch

        if layout.grid is None or layout.index is not None or len(layout.grid) != 3:
            raise PlanError(f"cuboids need a whole grid of three axes; this layout has {layout.grid or 'a sequence'}")
        frames, height, width = layout.grid
        most = np.array([max(1, frames - 1), *(max(1, int(round(n * self.share, 9)) - 1) for n in (height, width))])
        count = self.count or frames
        draws = keys.uniform("cuboids", 6 * count).reshape(-1, count, 2, 3)
        size = 1 + (draws[:, :, 0] * most).astype(np.int64)  # B count 3
        corner = (draws[:, :, 1] * (np.array(layout.grid) - size + 1)).astype(np.int64)
        inside = [
            (np.arange(n) >= corner[..., axis, None]) & (np.arange(n) < (corner + size)[..., axis, None])
            for axis, n in enumerate(layout.grid)
        ]
        hidden = np.einsum("bct,bch,bcw->bthw", *(axis.astype(np.int32) for axis in inside)) > 0
        return MaskPlan.of_hidden(layout, torch.from_numpy(hidden.reshape(layout.batch, -1)) & layout.maskable())
