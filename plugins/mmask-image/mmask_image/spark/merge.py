"""Two convolutions with nothing between them, computed as one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def merged_up(x: Tensor, up: nn.ConvTranspose2d, conv: nn.Conv2d) -> Tensor:
    """``conv(up(x))`` for a transposed 4x4 convolution of stride 2 and a 3x3 one, without the map between.

    Together they are one transposed 6x6 convolution of stride 2: 36 products a position of x and pair of
    channels instead of 16 + 36, and no map of twice the size to write, keep and read. Only at the border is
    it different: there the second convolution sees zeros instead of what the first would have made outside
    the map, so those four lines are computed and taken away.
    x: (B, C, H, W) -> (B, C', 2H, 2W). Agrees with the plain pair to rounding.
    """
    first, second, bias = up.weight, conv.weight, up.bias
    with torch.autocast(x.device.type, enabled=False):
        kernel = F.conv2d(first, second, padding=2)  # (C, C', 6, 6)
        shift = None if bias is None else second.sum((2, 3)) @ bias
    whole = F.conv_transpose2d(x, kernel, shift, stride=2, padding=2)
    return TakeEdges.apply(whole, *_outside(x, up, conv))


def _outside(x: Tensor, up: nn.ConvTranspose2d, conv: nn.Conv2d) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the lines just outside the map would add to its first row, last row, first and last column.

    The rows run past both corners, the columns stop short of them: every position outside counts once.
    """
    first, second, bias = up.weight, conv.weight, up.bias

    def row(line: Tensor, k: int, d: int) -> Tensor:
        made = F.conv_transpose2d(line, first[:, :, k : k + 1], bias, stride=(1, 2))
        return F.conv2d(made, second[:, :, d : d + 1])

    def column(line: Tensor, k: int, d: int) -> Tensor:
        made = F.conv_transpose2d(line, first[..., k : k + 1], bias, stride=(2, 1), padding=(1, 0))
        return F.conv2d(made, second[..., d : d + 1], padding=(1, 0))

    return (row(x[:, :, :1], 0, 0), row(x[:, :, -1:], 3, 2),
            column(x[..., :1], 0, 0), column(x[..., -1:], 3, 2))


class TakeEdges(torch.autograd.Function):
    """Subtract four lines from the edges of a map, in place, without a copy of it in either direction."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, top: Tensor, bottom: Tensor, left: Tensor, right: Tensor
    ) -> Tensor:
        """x: (B, C, H, W), top and bottom: (B, C, 1, W), left and right: (B, C, H, 1)."""
        ctx.mark_dirty(x)
        x[:, :, :1] -= top
        x[:, :, -1:] -= bottom
        x[..., :1] -= left
        x[..., -1:] -= right
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """The gradient itself, and minus its edges."""
        return grad, -grad[:, :, :1], -grad[:, :, -1:], -grad[..., :1], -grad[..., -1:]
