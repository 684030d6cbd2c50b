"""Where a picture is cut: the random resized crop (Szegedy et al. 2014) and the centre crop of evaluation.

The arithmetic is torchvision's, so a recipe's ``scale`` and ``ratio`` mean what they mean in the papers'
code; the numbers come from the sample's key and not from a generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from typing import NamedTuple

TRIES = 10
NUMBERS = 4 * TRIES + 1
"""Uniform numbers that one crop and flip may use: area, ratio, top, left of each try, and the flip."""


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


def random_box(
    picture: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], numbers: Sequence[float]
) -> Box:
    """A box whose area is uniform in ``scale`` (shares of the picture) and whose width:height is log-uniform in
    ``ratio``. picture: (height, width). numbers: at least 4·TRIES in [0, 1).

    After ten boxes that do not fit, the largest centred box with an allowed ratio.
    """
    height, width = picture
    low, high = log(ratio[0]), log(ratio[1])
    for at in range(0, 4 * TRIES, 4):
        share, shape, down, across = numbers[at : at + 4]
        area = height * width * (scale[0] + share * (scale[1] - scale[0]))
        aspect = exp(low + shape * (high - low))
        w, h = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(down * (height - h + 1)), int(across * (width - w + 1)), h, w)
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return Box((height - h) // 2, (width - w) // 2, max(h, 1), max(w, 1))


def cover(picture: tuple[int, int], size: tuple[int, int], keep: float) -> tuple[tuple[int, int], Box]:
    """Evaluation: the size to resize to, and the centre box of ``size`` in it.

    The resized picture covers ``size / keep`` with its own aspect; for a square ``size`` that is "resize the
    shorter side, then centre crop". keep: 0.875 is ImageNet's 224 of 256.
    """
    want = (max(size[0], int(size[0] / keep)), max(size[1], int(size[1] / keep)))
    height, width = picture
    if height * want[1] <= width * want[0]:  # the height is what limits
        full = (want[0], max(want[1], int(want[0] * width / height)))
    else:
        full = (max(want[0], int(want[1] * height / width)), want[1])
    top, left = round((full[0] - size[0]) / 2), round((full[1] - size[1]) / 2)
    return full, Box(top, left, size[0], size[1])
