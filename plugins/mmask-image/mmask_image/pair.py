"""PairDecoder: one crop of a picture in two renderings, for a model and for a tokenizer of its own taste."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmask.api import Keys, RecipeError, Sample
from mmask_image.augment import NUMBERS, Box, cover, random_box
from mmask_image.decode import EXTENSIONS, ImageDecoder
from mmask_image.resize import MODES, resize


class PairDecoder(ImageDecoder):
    """`ImageDecoder` that also renders its crop at a second size, read and cut once.

    Makes ``image``, with the same pixels and the same ``augment.image`` as `ImageDecoder` of these options, and
    ``second``: the same box of the same picture, flipped alike, (C, h, w) uint8. What the tokenizer does with
    values is its own affair: 0 to 255 leave the worker in both.

    second: side, or (height, width), of the second rendering; half of ``size`` when it is not given (112 for
    224: Bao et al. 2021). second_interpolation: ``lanczos`` by Pillow as BEiT and CAE have it, ``bicubic`` or
    ``bilinear``. The other options are those of `ImageDecoder`. channels 1 or 3.
    """

    def __init__(
        self, *, size: int | Sequence[int] = 224, second: int | Sequence[int] | None = None,
        second_interpolation: str = "lanczos", channels: int = 3, scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3), flip: bool | float = 0.5, centre: float = 1.0,
        interpolation: str = "bicubic", extensions: Sequence[str] = EXTENSIONS, max_pixels: int = 1 << 26,
        orient: bool = True, jitter: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(
            size=size, channels=channels, scale=scale, ratio=ratio, flip=flip, centre=centre,
            interpolation=interpolation, extensions=extensions, max_pixels=max_pixels, orient=orient, jitter=jitter,
        )
        if second is None:
            second = (max(1, self.size[0] // 2), max(1, self.size[1] // 2))
        self.second = (second, second) if isinstance(second, int) else (int(second[0]), int(second[1]))
        if min(self.second) < 1:
            raise RecipeError(f"second = {self.second} is no size of a picture")
        if second_interpolation not in ("lanczos", *MODES):
            known = ", ".join(("lanczos", *MODES))
            raise RecipeError(f"second_interpolation '{second_interpolation}' is unknown; there are {known}")
        if channels not in (1, 3):
            raise RecipeError(f"the second rendering takes pictures of 1 or 3 channels, not {channels}")
        self.second_interpolation = second_interpolation

    def __call__(self, sample: Sample, keys: Keys | None) -> Mapping[str, Any]:
        """``image`` and ``second``, and ``augment.image`` when keys are given. Raises SampleError."""
        picture = self.read(sample)
        if keys is None:
            return {"image": self.centred(picture), "second": self._second_centred(picture)}
        numbers = keys.uniform("image.crop", NUMBERS)[0].tolist()
        picture, told = self.recoloured(picture, keys)
        box = random_box((picture.shape[0], picture.shape[1]), self.scale, self.ratio, numbers)
        flipped = numbers[-1] < self.flip
        crop = picture[box.top : box.top + box.height, box.left : box.left + box.width]
        small = self._render(crop, self.second).permute(2, 0, 1).contiguous()
        return {
            "image": self.cropped(picture, box, flipped),
            "second": small.flip(-1) if flipped else small,
            "augment.image": np.array([*box, flipped], np.int64),
            **told,
        }

    def _second_centred(self, picture: Tensor) -> Tensor:
        """What the evaluation crop of the first rendering shows, at the second size."""
        full, box = cover((picture.shape[0], picture.shape[1]), self.size, self.centre)
        down, across = picture.shape[0] / full[0], picture.shape[1] / full[1]
        height, width = max(1, round(box.height * down)), max(1, round(box.width * across))
        top = min(round(box.top * down), picture.shape[0] - height)
        left = min(round(box.left * across), picture.shape[1] - width)
        same = Box(max(top, 0), max(left, 0), height, width)
        crop = picture[same.top : same.top + same.height, same.left : same.left + same.width]
        return self._render(crop, self.second).permute(2, 0, 1).contiguous()

    def _render(self, crop: Tensor, size: tuple[int, int]) -> Tensor:
        """(H, W, C) -> (h, w, C) uint8."""
        if crop.dtype != torch.uint8 or self.second_interpolation != "lanczos":
            mode = self.interpolation if self.second_interpolation == "lanczos" else self.second_interpolation
            return resize(crop, size, mode)
        array = crop.numpy()
        image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
        small = np.array(image.resize((size[1], size[0]), Image.Resampling.LANCZOS))
        return torch.from_numpy(small.reshape(size[0], size[1], -1))
