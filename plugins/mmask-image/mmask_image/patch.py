"""PatchTokenizer: a picture cut into a regular grid of patches, their pixels as values."""

from __future__ import annotations

import numpy as np
import torch

from mmask.api import Batch, Layout, RecipeError, Tokens, grid_shape, patchify, unpatchify

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PatchTokenizer:
    """Patches of a picture, row-major; pixels in a patch ordered (row, column, channel), channel fastest.

    size: side of a patch in pixels, or (height, width). image_size: side of the pictures, or (height,
    width); a multiple of the patch. in_chans: channels. mean, std: per channel, on the scale of [0, 1];
    by default ImageNet's for three channels, and 0.5 for any other number. field: the batch's field.

    uint8 pictures (B, C, H, W) are brought to [0, 1] and normalised; pictures of floats are taken as
    already normalised. Values are float32, or float64 for pictures in float64.
    """

    def __init__(
        self, *, size: int | tuple[int, int] = 16, image_size: int | tuple[int, int] = 224, in_chans: int = 3,
        mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None, field: str = "image",
    ) -> None:
        self.patch, self.image_size = pair(size), pair(image_size)
        self.in_chans, self.field = in_chans, field
        self.grid = grid_shape(self.image_size, self.patch)
        self.dim = self.patch[0] * self.patch[1] * in_chans
        usual = (IMAGENET_MEAN, IMAGENET_STD) if in_chans == 3 else ((0.5,) * in_chans,) * 2
        self.mean = usual[0] if mean is None else tuple(mean)
        self.std = usual[1] if std is None else tuple(std)
        if len(self.mean) != in_chans or len(self.std) != in_chans or min(self.std) <= 0:
            raise RecipeError(
                f"mean {self.mean} and std {self.std} do not fit {in_chans} channels",
                hint="give one number a channel, std above 0",
            )

    def layout(self, batch: Batch) -> Layout:
        """A grid of places, ``unit`` the pixels of one. Raises RecipeError for pictures of another shape."""
        shape = tuple(batch[self.field].shape)
        if len(shape) != 4 or shape[1] != self.in_chans:
            raise RecipeError(
                f"field '{self.field}' is {shape}; the tokenizer takes (B, {self.in_chans}, H, W)",
                hint="set in_chans of the tokenizer, or decode pictures with as many channels",
            )
        grid = grid_shape(shape[2:], self.patch)
        if grid != self.grid:
            high, wide = self.image_size
            raise RecipeError(
                f"pictures are {shape[2]}x{shape[3]}, the model was built for {high}x{wide}",
                hint="give the decoder's size and the tokenizer's image_size the same value",
            )
        return Layout(shape[0], grid[0] * grid[1], grid=grid, unit=self.patch)

    def __call__(self, batch: Batch) -> Tokens:
        """values: (B, N, height·width·C of a patch) normalised pixels."""
        layout, image = self.layout(batch), batch[self.field]
        values = patchify(image, self.patch)
        if image.dtype == torch.uint8:
            scale, shift = self._affine(values.device)
            values = torch.addcmul(shift, values.to(torch.float32), scale)
        elif not image.is_floating_point():
            raise RecipeError(f"field '{self.field}' is {image.dtype}; pictures are uint8 or floating point")
        return Tokens(layout, values)

    def show(self, batch: Batch, row: int) -> np.ndarray:
        """(H, W, 3) uint8: the picture of a sample."""
        image = batch[self.field][row].cpu()
        if image.dtype != torch.uint8:
            mean, std = torch.tensor(self.mean)[:, None, None], torch.tensor(self.std)[:, None, None]
            image = ((image * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
        return image.expand(3, -1, -1).permute(1, 2, 0).numpy()

    def example(self, count: int) -> dict[str, torch.Tensor]:
        """Pictures of normalised noise, from torch's generator: what an export is compared on."""
        return {self.field: torch.randn(count, self.in_chans, *self.image_size)}

    def pixels(self, values: torch.Tensor) -> torch.Tensor:
        """The inverse: (B, N, D) normalised patches -> (B, C, H, W) in [0, 1] where they were pixels."""
        image = unpatchify(values, self.grid, self.patch, self.in_chans)
        std, mean = (torch.tensor(v, dtype=image.dtype, device=image.device) for v in (self.std, self.mean))
        return image * std[:, None, None] + mean[:, None, None]

    def _affine(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """x / 255, minus mean, over std as x * scale + shift, repeated over the pixels of a patch."""
        std, mean = torch.tensor(self.std), torch.tensor(self.mean)
        times = self.dim // self.in_chans
        return (1 / (255 * std)).repeat(times).to(device), (-mean / std).repeat(times).to(device)


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a side or a pair, both at least 1."""
    high, wide = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if min(high, wide) < 1:
        raise RecipeError(f"a size of {high}x{wide} pixels is none")
    return high, wide
