"""ClipTokenizer: a clip cut into a regular grid of cuboids, their pixels as values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmask.api import Batch, Layout, RecipeError, Tokens, grid_shape, patchify, unpatchify

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ClipTokenizer:
    """Cuboids of a clip, in the order (time, row, column); pixels in one ordered (time, row, column, channel).

    size: (frames, height, width) of a cuboid. frames: of a clip. image_size: side of a frame, or (height, width).
    in_chans: channels. mean, std: per channel on the scale of [0, 1]; by default ImageNet's for three channels
    and 0.5 for any other number. field: the batch's field, (B, C, T, H, W): uint8, which is brought to [0, 1]
    and normalised here, or floating point, taken as already normalised.
    """

    def __init__(
        self, *, size: Sequence[int] = (2, 16, 16), frames: int = 16, image_size: int | Sequence[int] = 224,
        in_chans: int = 3, mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
        field: str = "video",
    ) -> None:
        if len(size) != 3 or min(size) < 1:
            raise RecipeError(f"a cuboid has three sides of at least 1 (frames, height, width), not {tuple(size)}")
        side = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        self.patch, self.extent = (size[0], size[1], size[2]), (frames, side[0], side[1])
        self.in_chans, self.field = in_chans, field
        self.grid = grid_shape(self.extent, self.patch)
        self.dim = self.patch[0] * self.patch[1] * self.patch[2] * in_chans
        usual = (IMAGENET_MEAN, IMAGENET_STD) if in_chans == 3 else ((0.5,) * in_chans,) * 2
        self.mean, self.std = tuple(mean or usual[0]), tuple(std or usual[1])
        if len(self.mean) != in_chans or len(self.std) != in_chans or min(self.std) <= 0:
            raise RecipeError(
                f"mean {self.mean} and std {self.std} do not fit {in_chans} channels",
                hint="give one number a channel, std above 0",
            )

    def layout(self, batch: Batch) -> Layout:
        """A (T', H', W') grid of places, ``unit`` the pixels of one. Raises RecipeError for another shape."""
        shape = tuple(batch[self.field].shape)
        if len(shape) != 5 or shape[1] != self.in_chans or shape[2:] != self.extent:
            frames, high, wide = self.extent
            raise RecipeError(
                f"field '{self.field}' is {shape}; the model takes (B, {self.in_chans}, {frames}, {high}, {wide})",
                hint="give the decoder and the tokenizer the same frames and size",
            )
        return Layout(shape[0], self.grid[0] * self.grid[1] * self.grid[2], grid=self.grid, unit=self.patch)

    def __call__(self, batch: Batch) -> Tokens:
        """values: (B, N, pixels of a cuboid) normalised."""
        layout, clip = self.layout(batch), batch[self.field]
        values = patchify(clip, self.patch)
        if clip.dtype == torch.uint8:
            std, mean = self.scale(torch.float32, values.device)
            values = torch.addcmul(-mean / std, values.to(torch.float32), 1 / (255 * std))
        elif not clip.is_floating_point():
            raise RecipeError(f"field '{self.field}' is {clip.dtype}; clips are uint8 or floating point")
        return Tokens(layout, values)

    def scale(self, dtype: torch.dtype, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """(std, mean), each (pixels of a cuboid,), of the normalisation."""
        times = self.dim // self.in_chans
        std, mean = (torch.tensor(v, dtype=dtype, device=device).repeat(times) for v in (self.std, self.mean))
        return std, mean

    def example(self, count: int) -> dict[str, Tensor]:
        """Clips of normalised noise, from torch's generator: what an export is compared on."""
        return {self.field: torch.randn(count, self.in_chans, *self.extent)}

    def pixels(self, values: Tensor) -> Tensor:
        """The inverse: (B, N, D) normalised cuboids -> (B, C, T, H, W) in [0, 1] where they were pixels."""
        std, mean = self.scale(values.dtype, values.device)
        return unpatchify(values * std + mean, self.grid, self.patch, self.in_chans)
