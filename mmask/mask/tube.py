"""TubeMasker: one spatial plan for every frame of a clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmask.errors import PlanError
from mmask.types import Layout, MaskPlan

if TYPE_CHECKING:
    from mmask.keyed import Keys
    from mmask.protocols import Masker


class TubeMasker:
    """Hides the same places in every frame of a (T, H, W) grid, so that motion cannot reveal them (VideoMAE,
    Tong et al. 2022).

    spatial: the masker of the (H, W) plan, e.g. ``{use = "random", ratio = 0.9}`` or ``{use = "block"}``.

    A place of the frame may be hidden when it is valid in some frame and special in none; frames that are
    padding hide nothing.
    """

    def __init__(self, *, spatial: Masker) -> None:
        self.spatial = spatial

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample. Raises PlanError off a grid of three axes."""
        if layout.grid is None or layout.index is not None or len(layout.grid) != 3:
            found = layout.grid or "a sequence"
            raise PlanError(
                f"tubes need a whole grid of time, height and width; this layout has {found}",
                hint="use the spatial masker itself for single frames",
            )
        frames, height, width = layout.grid
        shape = (layout.batch, frames, height * width)
        valid = None if layout.valid is None else layout.valid.cpu().view(shape).any(1)
        special = None if layout.special is None else layout.special.cpu().view(shape).any(1)
        frame = Layout(layout.batch, height * width, (height, width), valid, special)
        hidden = self.spatial.plan(frame, keys).hidden[:, None].expand(shape).reshape(layout.batch, -1)
        return MaskPlan.of_hidden(layout, hidden & layout.maskable())
