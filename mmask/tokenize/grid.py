"""Cutting a regular grid of values into patches, and the inverse, for any number of axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from einops import rearrange

from mmask.errors import RecipeError

if TYPE_CHECKING:
    import torch


def grid_shape(extent: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """Patches per axis. extent: elements per axis.

    Raises RecipeError when an axis is not a multiple of the patch.
    """
    if len(extent) != len(patch):
        raise RecipeError(f"a patch of {len(patch)} axes cannot cut an input of {len(extent)} axes")
    for size, step in zip(extent, patch, strict=True):
        if step < 1 or size < step or size % step:
            raise RecipeError(
                f"an input of {'x'.join(map(str, extent))} cannot be cut into patches of"
                f" {'x'.join(map(str, patch))}: {size} is not a multiple of {step}",
                hint=f"sizes near it that fit: {max(step, size // step * step)}, {(size // step + 1) * step}"
                if step > 0 else "a patch has at least one element on each axis",
            )
    return tuple(size // step for size, step in zip(extent, patch, strict=True))


def patchify(values: torch.Tensor, patch: tuple[int, ...]) -> torch.Tensor:
    """Patches of a channels-first grid, row-major, channel fastest inside a patch (MAE's order).

    values: (B, C, X1, ..., Xn), patch: (p1, ..., pn) -> (B, N, p1·...·pn·C), N the number of patches.
    Raises RecipeError when an axis is not a multiple of the patch.
    """
    grid_shape(tuple(values.shape[2:]), patch)
    pattern, sizes = _pattern(patch)
    grid, inner = pattern
    return rearrange(values, f"b c {_mesh(len(patch))} -> b ({grid}) ({inner} c)", **sizes)


def unpatchify(
    patches: torch.Tensor, grid: tuple[int, ...], patch: tuple[int, ...], channels: int
) -> torch.Tensor:
    """The inverse of `patchify`. patches: (B, N, p1·...·pn·C) -> (B, C, X1, ..., Xn).

    Raises RecipeError when the patches do not have this grid, patch and number of channels.
    """
    from math import prod

    if tuple(patches.shape[1:]) != (prod(grid), prod(patch) * channels):
        raise RecipeError(
            f"patches of shape {tuple(patches.shape)} are not a grid {grid} of patches {patch} with"
            f" {channels} channels"
        )
    (outer, inner), sizes = _pattern(patch)
    sizes |= {f"g{axis}": size for axis, size in enumerate(grid)}
    return rearrange(patches, f"b ({outer}) ({inner} c) -> b c {_mesh(len(patch))}", c=channels, **sizes)


def _pattern(patch: tuple[int, ...]) -> tuple[tuple[str, str], dict[str, int]]:
    axes = range(len(patch))
    names = " ".join(f"g{axis}" for axis in axes), " ".join(f"p{axis}" for axis in axes)
    return names, {f"p{axis}": step for axis, step in enumerate(patch)}


def _mesh(axes: int) -> str:
    return " ".join(f"(g{axis} p{axis})" for axis in range(axes))
