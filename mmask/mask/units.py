"""UnitMasker: square units of several places that hide together, an exact number of them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from mmask.errors import PlanError, RecipeError
from mmask.mask.ratio import Ratio, check_ratio, ratio_at
from mmask.types import MaskPlan

if TYPE_CHECKING:
    from mmask.keyed import Keys
    from mmask.types import Layout


class UnitMasker:
    """Cuts the grid into units of ``unit`` places a side and hides a uniformly random, exact set of units.

    unit: places per unit on every axis, or one number per axis; the grid must be a multiple of it.
    ratio: share of units that are hidden, rounded up: SimMIM's arithmetic (Xie et al. 2021), where units of
        32 px over 16 px patches are ``unit=2``, and a 7 x 7 grid of units hides ceil(49 * 0.6) = 30.
    """

    def __init__(self, *, unit: int | tuple[int, ...] = 2, ratio: Ratio = 0.6) -> None:
        check_ratio(ratio)
        if ratio == 1.0:
            raise RecipeError(f"mask.ratio is {ratio}; it is a share from 0 to below 1")
        self.unit, self.ratio = unit, ratio

    def units(self, layout: Layout) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(units per axis, places per unit and axis). Raises PlanError when they do not fit the grid."""
        if layout.grid is None or layout.index is not None:
            raise PlanError("masker 'units' needs a whole grid of places")
        unit = (self.unit,) * len(layout.grid) if isinstance(self.unit, int) else tuple(self.unit)
        if len(unit) != len(layout.grid) or min(unit) < 1 or any(g % u for g, u in zip(layout.grid, unit, strict=True)):
            raise PlanError(
                f"units of {unit} places do not tile a grid of {layout.grid}",
                hint="choose mask.unit so that every axis of the grid is a multiple of it",
            )
        return tuple(g // u for g, u in zip(layout.grid, unit, strict=True)), unit

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample, a function of its layout and key alone.

        Raises PlanError for padding, or a grid that the units do not tile.
        """
        import torch

        grid, unit = self.units(layout)
        if not bool(layout.maskable().all()):
            raise PlanError("masker 'units' needs a grid without padding and special places")
        total, ratio = prod(grid), ratio_at(self.ratio, keys.step)
        # Rounded first: 40 * 0.6 is 24.000000000000004 in some orders of arithmetic, and ceil would hide 25.
        hide = int(np.ceil(round(total * ratio, 9)))
        if hide >= total:
            raise PlanError(
                f"a ratio of {ratio} hides all {total} units", hint="lower mask.ratio or mask.unit"
            )
        hidden = np.zeros((layout.batch, total), bool)
        np.put_along_axis(hidden, keys.order("units", total)[:, :hide], True, axis=1)
        cells = hidden.reshape(-1, *grid)
        for axis, times in enumerate(unit, start=1):
            cells = cells.repeat(times, axis)
        return MaskPlan.of_hidden(layout, torch.from_numpy(cells.reshape(layout.batch, -1)))
