"""FrameTokenizer: the frames of a clip as cells as large as one state of a pyramid's last stage."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmask.api import Batch, Layout, RecipeError, Tokens, patchify, unpatchify


class FrameTokenizer:
    """Cells of ``cell`` x ``cell`` pixels of every frame, pixels in [0, 1] ordered (row, column, channel).

    Frames whose sides are no multiple of a cell are padded with zeros at the bottom and the right; `clip` takes the
    padding off again. Nothing is normalised here: a network for which black pixels say that something is hidden
    normalises inside (VIOLET).

    frames: of a clip. image_size: side of a frame, or (height, width). cell: side of a cell; of a pyramid, the product
    of its strides. in_chans: channels. field: the batch's field, (B, C, T, H, W): uint8, or floating point in [0, 1].
    """

    def __init__(
        self, *, frames: int = 4, image_size: int | Sequence[int] = 224, cell: int = 32, in_chans: int = 3,
        field: str = "video",
    ) -> None:
        side = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if min(*side, cell, frames, in_chans) < 1:
            raise RecipeError(f"{frames} frames of {side[0]}x{side[1]} in cells of {cell} cannot be")
        self.frames, self.image_size, self.cell = frames, (side[0], side[1]), cell
        self.in_chans, self.field, self.patch = in_chans, field, (1, cell, cell)
        self.grid = (frames, -(-side[0] // cell), -(-side[1] // cell))
        self.dim = cell * cell * in_chans

    def layout(self, batch: Batch) -> Layout:
        """A (T, H', W') grid of places. Raises RecipeError for clips of another shape; fewer frames are one."""
        shape = tuple(batch[self.field].shape)
        if len(shape) != 5 or shape[1] != self.in_chans or shape[3:] != self.image_size or shape[2] > self.frames:
            high, wide = self.image_size
            raise RecipeError(
                f"field '{self.field}' is {shape}; the model takes (B, {self.in_chans}, {self.frames}, {high}, {wide})",
                hint="give the decoder and the tokenizer the same frames and size",
            )
        grid = (shape[2], *self.grid[1:])
        return Layout(shape[0], grid[0] * grid[1] * grid[2], grid=grid, unit=self.patch)

    def __call__(self, batch: Batch) -> Tokens:
        """values: (B, N, cell·cell·C) pixels in [0, 1]."""
        layout, clip = self.layout(batch), batch[self.field]
        if clip.dtype == torch.uint8:
            clip = clip.to(torch.float32) / 255
        elif not clip.is_floating_point():
            raise RecipeError(f"field '{self.field}' is {clip.dtype}; clips are uint8 or floating point")
        below, right = (n * self.cell - side for n, side in zip(self.grid[1:], self.image_size, strict=True))
        return Tokens(layout, patchify(F.pad(clip, (0, right, 0, below)), self.patch))

    def clip(self, values: Tensor, grid: tuple[int, ...]) -> Tensor:
        """The inverse: (B, N, D) of a (T, H', W') grid -> (B, C, T, H, W)."""
        whole = unpatchify(values, grid, self.patch, self.in_chans)
        return whole[..., : self.image_size[0], : self.image_size[1]]

    def show(self, batch: Batch, row: int) -> np.ndarray:
        """(H, W, 3) uint8: the frames of a sample, beginning at the top left, as near to a square as they go."""
        clip = batch[self.field][row].cpu()
        pixels = clip if clip.dtype == torch.uint8 else (clip.clamp(0, 1) * 255).round().to(torch.uint8)
        frames = pixels.permute(1, 2, 3, 0).expand(-1, -1, -1, 3).numpy()
        across = math.isqrt(len(frames) - 1) + 1
        blank = np.full_like(frames[:1], 255)
        frames = np.concatenate([frames, *[blank] * (-len(frames) % across)])
        return np.concatenate([np.concatenate(list(line), 1) for line in frames.reshape(-1, across, *frames.shape[1:])])

    def example(self, count: int) -> dict[str, Tensor]:
        """Clips of noise, from torch's generator: what an export is compared on."""
        return {self.field: torch.rand(count, self.in_chans, self.frames, *self.image_size)}
