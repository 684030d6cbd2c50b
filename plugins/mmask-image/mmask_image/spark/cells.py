"""Cells: which cells of a grid are visible, and tensors cut into the tiles of those cells.

A *cell* is the square of input pixels under one position of the coarsest feature map (32x32 for a ResNet).
At stride s it is a *tile* of 32/s x 32/s positions. Since hiding is by whole cells, a sparse feature map is
the list of its visible tiles, (V, C, t, t): layers that look at one position at a time run on it as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmask.api import MaskPlan, PlanError

# the eight neighbours (row, column); number 7 - k lies opposite to k
AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class Cells:
    """A choice of cells of a batch of grids, with the tables that tiles need. Passed from call to call.

    batch: B. grid: (gh, gw). index: (V,) int64 into B·gh·gw, ascending. row: (V,) int64, the sample of each
    tile. near: (8, V) int64, the tile beside each tile in the directions of `AROUND`; V where there is none.
    visible: (B, gh, gw) bool.
    """

    batch: int
    grid: tuple[int, int]
    index: Tensor
    row: Tensor
    near: Tensor
    visible: Tensor

    @staticmethod
    def of(plan: MaskPlan, device: torch.device | str = "cpu") -> Cells:
        """The visible cells of a plan on a two-dimensional grid.

        Raises PlanError when the plan has no such grid or leaves nothing visible.
        """
        grid = plan.layout.grid
        if grid is None or len(grid) != 2:
            raise PlanError(f"a convolutional network needs a plan on a grid of two axes, not {grid}")
        seen = ~plan.hidden if plan.layout.valid is None else ~plan.hidden & plan.layout.valid.cpu()
        return Cells.where(seen.view(-1, *grid), device)

    @staticmethod
    def where(visible: Tensor, device: torch.device | str = "cpu") -> Cells:
        """The cells that are True. visible: (B, gh, gw) bool. Raises PlanError when there is none."""
        seen = visible.cpu()
        if not bool(seen.any()):
            raise PlanError("no cell of this batch is visible", hint="lower mask.ratio")
        batch, gh, gw = seen.shape
        index = seen.flatten().nonzero().squeeze(1)
        number = torch.full((batch, gh + 2, gw + 2), len(index), dtype=torch.int64)
        number[:, 1:-1, 1:-1].masked_scatter_(seen, torch.arange(len(index)))
        near = torch.stack(
            [number[:, 1 + dy : 1 + dy + gh, 1 + dx : 1 + dx + gw][seen] for dy, dx in AROUND]
        )
        tables = (table.to(device) for table in (index, index // (gh * gw), near, seen))
        return Cells(batch, (gh, gw), *tables)

    def __len__(self) -> int:
        return len(self.index)

    def hidden(self, like: Tensor, side: int, *, last: bool = False) -> Tensor:
        """1 at hidden positions, 0 at visible ones, in the type of ``like``.

        side: positions of a tile's side. -> (B, 1, gh·side, gw·side), or (B, gh·side, gw·side, 1).
        """
        cells = self.visible.logical_not().to(like.dtype)
        wide = cells.repeat_interleave(side, 1).repeat_interleave(side, 2)
        return wide.unsqueeze(3 if last else 1)

    def side(self, height: int) -> int:
        """Positions of a tile's side in a map of this height. Raises PlanError when it does not fit."""
        if height % self.grid[0]:
            raise PlanError(f"a map of {height} rows does not fit a grid of {self.grid[0]} rows of cells")
        return height // self.grid[0]

    def tiles(self, dense: Tensor) -> Tensor:
        """The tiles of these cells, channels last in memory, where norms and 1x1 products are fastest.

        dense: (B, C, gh·t, gw·t) -> (V, C, t, t).
        """
        return Gather.apply(dense, self.index, self.grid).contiguous(memory_format=torch.channels_last)

    def dense(self, tiles: Tensor) -> Tensor:
        """A map that is 0 outside these cells. tiles: (V, C, t, t) -> (B, C, gh·t, gw·t)."""
        return Scatter.apply(tiles, self.index, self.batch, self.grid)

    def fill(self, tiles: Tensor, token: Tensor) -> Tensor:
        """A map with ``token`` (C,) outside these cells. tiles: (V, C, t, t) -> (B, C, gh·t, gw·t)."""
        return self.dense(tiles).addcmul_(
            token.to(tiles.dtype).view(1, -1, 1, 1), self.hidden(tiles, tiles.shape[-1])
        )


class Gather(torch.autograd.Function):
    """Tiles of a dense map; every tile at most once, so its derivative is `Scatter`."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, index: Tensor, grid: tuple[int, int]) -> Tensor:
        """dense: (B, C, gh·t, gw·t), index: (V,) -> (V, C, t, t)."""
        ctx.save_for_backward(index)
        ctx.batch, ctx.grid = len(dense), grid
        return cut(dense, index, grid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Zeros elsewhere."""
        return paste(grad, ctx.saved_tensors[0], ctx.batch, ctx.grid), None, None


class Scatter(torch.autograd.Function):
    """A dense map of tiles, 0 elsewhere; its derivative is `Gather`."""

    @staticmethod
    def forward(ctx: Any, tiles: Tensor, index: Tensor, batch: int, grid: tuple[int, int]) -> Tensor:
        """tiles: (V, C, t, t), index: (V,) -> (B, C, gh·t, gw·t)."""
        ctx.save_for_backward(index)
        ctx.grid = grid
        return paste(tiles, index, batch, grid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        """The same tiles of the gradient."""
        return cut(grad, ctx.saved_tensors[0], ctx.grid), None, None, None


def cut(dense: Tensor, index: Tensor, grid: tuple[int, int]) -> Tensor:
    """(V, C, t, t): the tiles ``index`` of dense (B, C, gh·t, gw·t)."""
    batch, channels, height, width = dense.shape
    gh, gw = grid
    t = height // gh
    if (height, width) != (gh * t, gw * t):
        raise PlanError(f"a map of {height}x{width} cannot be cut into a grid of {gh}x{gw} square tiles")
    mesh = dense.reshape(batch, channels, gh, t, gw, t).permute(0, 2, 4, 1, 3, 5)
    return mesh[index // (gh * gw), index // gw % gh, index % gw]


def paste(tiles: Tensor, index: Tensor, batch: int, grid: tuple[int, int]) -> Tensor:
    """(B, C, gh·t, gw·t): zeros, with the tiles at ``index``."""
    (_, channels, t, _), (gh, gw) = tiles.shape, grid
    dense = tiles.new_zeros(batch, channels, gh * t, gw * t)
    mesh = dense.view(batch, channels, gh, t, gw, t).permute(0, 2, 4, 1, 3, 5)
    mesh[index // (gh * gw), index // gw % gh, index % gw] = tiles
    return dense
