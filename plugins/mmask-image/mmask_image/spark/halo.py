"""Halo: tiles with the rim of their neighbours, so that a window never has to look outside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmask_image.spark.cells import AROUND, Cells


def halo(tiles: Tensor, cells: Cells, low: int, high: int, value: float = 0.0) -> Tensor:
    """Each tile with ``low`` positions more above and left of it, ``high`` below and right of it.

    They come from the neighbouring tiles; where the neighbour is hidden or outside the image they are
    ``value``. tiles: (V, C, t, t), low and high <= t -> (V, C, low + t + high, low + t + high).
    """
    if low == high == 0:
        return tiles
    return Halo.apply(tiles, cells.near, low, high, value)


class Halo(torch.autograd.Function):
    """Copies of rims; the derivative sends every rim back to the tile it was copied from.

    The tile that took my rim in direction k is my neighbour in the opposite direction, so both ways are
    reads by index and nothing is accumulated in an undefined order.
    """

    @staticmethod
    def forward(
        ctx: Any, tiles: Tensor, near: Tensor, low: int, high: int, value: float
    ) -> Tensor:
        """See `halo`."""
        ctx.save_for_backward(near)
        ctx.rim, t = (low, high), tiles.shape[-1]
        size = low + t + high
        kind = torch.channels_last if _last(tiles) else torch.contiguous_format
        out = torch.empty(
            len(tiles), tiles.shape[1], size, size, dtype=tiles.dtype, device=tiles.device, memory_format=kind
        )
        out[:, :, low : low + t, low : low + t] = tiles
        for k, (dy, dx) in enumerate(AROUND):
            theirs = tiles[:, :, _source(dy, t, low, high), _source(dx, t, low, high)]
            if theirs.numel():
                out[:, :, _place(dy, t, low, high), _place(dx, t, low, high)] = _pick(theirs, near[k], value)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        """The centre, plus what the neighbours took."""
        (near,), (low, high) = ctx.saved_tensors, ctx.rim
        t = grad.shape[-1] - low - high
        kind = torch.channels_last if _last(grad) else torch.contiguous_format
        own = grad[:, :, low : low + t, low : low + t].clone(memory_format=kind)
        for k, (dy, dx) in enumerate(AROUND):
            taken = grad[:, :, _place(dy, t, low, high), _place(dx, t, low, high)]
            if taken.numel():
                back = _pick(taken, near[7 - k], 0.0)
                own[:, :, _source(dy, t, low, high), _source(dx, t, low, high)] += back
        return own, None, None, None, None


def _last(x: Tensor) -> bool:
    """Whether channels come last in memory."""
    return x.is_contiguous(memory_format=torch.channels_last)


def _pick(strips: Tensor, near: Tensor, value: float) -> Tensor:
    """The strips of the tiles ``near``; ``value`` where there is no tile."""
    none = strips.new_full((1, *strips.shape[1:]), value)
    return torch.cat([strips, none]).index_select(0, near)


def _source(step: int, t: int, low: int, high: int) -> slice:
    """Which of a neighbour's positions lie in my rim."""
    return {-1: slice(t - low, t), 0: slice(0, t), 1: slice(0, high)}[step]


def _place(step: int, t: int, low: int, high: int) -> slice:
    """Where they lie there."""
    return {-1: slice(0, low), 0: slice(low, low + t), 1: slice(low + t, low + t + high)}[step]
