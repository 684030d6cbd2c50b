"""The image packer: picture files as they are, or made smaller, for ``mmask data pack``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from mmask.api import RecipeError, SampleError
from mmask_image.decode import EXTENSIONS
from mmask_image.picture import read_picture

_NAMES = {"jpeg": "jpg", "tiff": "tif"}


class ImagePacker:
    """One picture file -> one part named after its format. The picture is decoded whole, so that a damaged file is
    found now and not in the middle of a run.

    resize: shorter side in pixels that larger pictures are reduced to (antialiased bicubic; smaller ones stay
    as they are); None keeps every file byte for byte. quality: of the JPEG or WebP written, 1 to 100. format: what
    resized pictures become; asked for without ``resize`` it converts every picture. max_pixels: larger
    pictures are refused. Converted pictures are upright, RGB, alpha on white. Raises SampleError.
    """

    extensions = EXTENSIONS

    def __init__(
        self, *, resize: int | None = None, quality: int = 90, format: Literal["jpg", "webp", "png"] | None = None,
        max_pixels: int = 1 << 28,
    ) -> None:
        if resize is not None and resize < 1:
            raise RecipeError(f"resize = {resize} must be at least 1 pixel")
        if not 1 <= quality <= 100:
            raise RecipeError(f"quality = {quality} must lie between 1 and 100")
        self.resize, self.quality, self.format, self.max_pixels = resize, quality, format, max_pixels

    def __call__(self, path: Path, row: Mapping[str, Any]) -> dict[str, bytes]:
        """The part to store."""
        data = path.read_bytes()
        suffix = path.suffix.lower().lstrip(".")
        name = _NAMES.get(suffix, suffix)
        if name == "npy":
            return {name: _checked_array(data)}
        picture = read_picture(data, max_pixels=self.max_pixels)
        shorter = min(picture.shape[:2])
        small = self.resize is None or shorter <= self.resize
        if small and self.format is None:
            return {name: data}
        image = Image.fromarray(picture)
        if not small and self.resize is not None:
            scale = self.resize / shorter
            width, height = (max(1, round(side * scale)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return self._encoded(image)

    def _encoded(self, image: Image.Image) -> dict[str, bytes]:
        name = self.format or "jpg"
        to = io.BytesIO()
        if name == "png":
            image.save(to, "png")
        else:
            image.save(to, "jpeg" if name == "jpg" else name, quality=self.quality)
        return {name: to.getvalue()}


def _checked_array(data: bytes) -> bytes:
    try:
        np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise SampleError(f"not a .npy array: {error}") from error
    return data
