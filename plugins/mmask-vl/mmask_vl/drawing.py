"""A picture from its regions, where the picture itself is not at hand."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

LINE = (150, 150, 150)


def picture_of(features: np.ndarray, boxes: np.ndarray, image: Tensor | None, tile: int, mosaic: int) -> np.ndarray:
    """(tile, tile, 3) uint8. features: (R, D). boxes: (R, 4 or more), corners in shares. image: (C, H, W), uint8 or in
    [0, 1], which is shown where it is given. mosaic: the first 3 * mosaic^2 features are colours in [-1, 1], row by
    row; 0 outlines the boxes."""
    if image is not None:
        values = image.permute(1, 2, 0).numpy()
        whole = values if values.dtype == np.uint8 else np.clip(values * 255, 0, 255).astype(np.uint8)
        return np.asarray(Image.fromarray(whole).resize((tile, tile), Image.Resampling.BICUBIC))
    page = Image.new("RGB", (tile, tile), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    for value, box in zip(features, boxes, strict=True):
        left, top, right, bottom = pixels(box, tile)
        if mosaic and features.shape[1] >= 3 * mosaic * mosaic:
            colours = value[: 3 * mosaic * mosaic].reshape(mosaic, mosaic, 3)
            cell = Image.fromarray(np.clip((colours + 1) * 127.5, 0, 255).astype(np.uint8))
            page.paste(cell.resize((max(1, right - left), max(1, bottom - top)), Image.Resampling.NEAREST), (left, top))
        elif not mosaic:
            draw.rectangle((left, top, right, bottom), outline=LINE)
    return np.asarray(page)


def pixels(box: np.ndarray, tile: int) -> tuple[int, int, int, int]:
    """Corners in shares -> whole pixels, left, top, right, bottom."""
    left, top, right, bottom = (round(float(one) * (tile - 1)) for one in box[:4])
    return left, top, max(left, right), max(top, bottom)
