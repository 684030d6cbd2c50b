"""Pictures of recordings: titled strips on one sheet, values in colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PAPER, INK, GREY = (255, 255, 255), (40, 40, 40), (150, 150, 150)
_TITLE, _GAP = 14, 8

Strip = tuple[str, np.ndarray]
"""A title, and (H, W, 3) uint8 below it."""


def sheet(blocks: Sequence[Sequence[Strip]], across: int) -> np.ndarray:
    """Blocks of strips, ``across`` of them side by side -> (H, W, 3) uint8. All blocks are of one size."""
    from PIL import Image, ImageDraw

    across = min(across, len(blocks))
    wide = max(picture.shape[1] for _, picture in blocks[0])
    high = sum(_TITLE + picture.shape[0] for _, picture in blocks[0]) + _GAP
    page = Image.new("RGB", (across * (wide + _GAP) + _GAP, -(-len(blocks) // across) * high + _GAP), PAPER)
    ink = ImageDraw.Draw(page)
    for number, strips in enumerate(blocks):
        left, top = _GAP + number % across * (wide + _GAP), _GAP + number // across * high
        for title, picture in strips:
            ink.text((left, top), title, fill=INK)
            page.paste(Image.fromarray(picture), (left, top + _TITLE))
            top += _TITLE + picture.shape[0]
    return np.asarray(page).copy()


def enlarged(picture: np.ndarray, wide: int, high: int) -> np.ndarray:
    """(H, W, 3) uint8 at another size, by repetition."""
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((wide, high), Image.Resampling.NEAREST))


def value_range(values: np.ndarray) -> tuple[float, float]:
    """The values that the ends of the colour scale stand for: the 2nd and the 99.8th percentile."""
    if not values.size:
        return 0.0, 1.0
    low, high = np.quantile(values, [0.02, 0.998])
    return float(low), float(max(high, low + 1e-6))


def coloured(values: np.ndarray, there: np.ndarray, low: float, high: float, colours: str) -> np.ndarray:
    """(bins, frames) -> (bins, frames, 3) uint8, the lowest bin last; NaN is grey, what is not there paper."""
    from matplotlib import colormaps

    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    picture = (colormaps[colours](share)[..., :3] * 255).round().astype(np.uint8)
    picture[np.isnan(values)] = GREY
    picture[~there] = PAPER
    return picture[::-1]
