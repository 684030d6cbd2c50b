"""Fixed sine-cosine position tables on regular grids of any number of axes, and resizing of tables."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from mmask.errors import RecipeError

if TYPE_CHECKING:
    import torch


def sincos(width: int, grid: tuple[int, ...], *, prefix: int = 0, base: float = 10000.0) -> torch.Tensor:
    """Fixed positions of a row-major grid, the last axis in the first channels. -> (prefix + N, width).

    Every axis owns width / len(grid) channels: [sin | cos] of coordinate * base^(-2i / that many), the two
    halves concatenated, not interleaved (Vaswani et al. 2017; the 2-D form and the order of the axes, column
    before row, are those of MAE, He et al. 2021). Computed in float64, returned in float32.
    prefix: rows of zeros in front, for tokens that are no places.
    Raises RecipeError when the channels cannot be split evenly.
    """
    import torch

    axes = len(grid)
    if width % (2 * axes):
        raise RecipeError(
            f"width {width} cannot be split into sine-cosine positions of {axes} axes",
            hint=f"choose a multiple of {2 * axes}",
        )
    share = width // axes
    rate = base ** -(torch.arange(share // 2, dtype=torch.float64) / (share // 2))
    lines = [torch.arange(n, dtype=torch.float64) for n in grid]
    places = torch.cartesian_prod(*lines).view(prod(grid), axes)
    angles = places.flip(1)[:, :, None] * rate  # (N, axes from last to first, share / 2)
    table = torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)
    return torch.cat([table.new_zeros(prefix, width), table]).float()


def sinusoid(width: int, length: int, *, base: float = 10000.0) -> torch.Tensor:
    """Fixed positions of a line, sine and cosine in turn (Vaswani et al. 2017, section 3.5). -> (length, width).

    Channel 2i is sin and 2i + 1 is cos of position * base^(-2i / width). Computed in float64, returned in
    float32.
    """
    import torch

    channel = torch.arange(width)
    rate = base ** -((channel // 2 * 2).double() / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rate
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos()).float()


def resize_positions(
    table: torch.Tensor, old: tuple[int, ...], new: tuple[int, ...], *, prefix: int = 0
) -> torch.Tensor:
    """A position table (1, prefix + N, D) of grid ``old`` for grid ``new``; prefix rows stay as they are.

    Two axes: bicubic with antialiasing, by timm's ``resample_abs_pos_embed``. Other numbers of axes: linear.
    Raises RecipeError when the table does not fit ``old``, or the grids differ in their number of axes.
    """
    from timm.layers import resample_abs_pos_embed
    from torch.nn.functional import interpolate

    if table.shape[1] != prefix + prod(old) or len(old) != len(new):
        raise RecipeError(
            f"a position table of {table.shape[1]} rows does not fit grid {old} with {prefix} prefix rows,"
            f" or cannot become grid {new}"
        )
    if old == new:
        return table
    if len(old) == 2:
        return resample_abs_pos_embed(table, new_size=list(new), old_size=list(old), num_prefix_tokens=prefix)
    if len(old) > 3:
        raise RecipeError(f"position tables of {len(old)} axes cannot be resized")
    width, dtype = table.shape[2], table.dtype
    cells = table[:, prefix:].transpose(1, 2).reshape(1, width, *old).float()
    cells = interpolate(cells, size=new, mode="linear" if len(old) == 1 else "trilinear")
    import torch

    return torch.cat([table[:, :prefix], cells.flatten(2).transpose(1, 2).to(dtype)], dim=1)
