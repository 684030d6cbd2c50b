"""Antialiased resizing of 8-bit pictures by torch's vectorised kernel, in the order of passes that Pillow takes.

Both libraries resize in two passes with the filter of Pillow (a = -0.5 for bicubic) and round to 8 bits
between them; where an overshoot is cut off between the passes, their order shows (up to 15/255 at a few
pixels). Pillow before 13 goes horizontally first; since 13 it goes vertically first when the height shrinks by
more than twice as much as the width. `resize` does the same and stays within 2/255.
"""

from __future__ import annotations

import PIL
import torch
from torch import Tensor
from torch.nn import functional

MODES = ("bicubic", "bilinear")
_VERTICAL_FIRST = int(PIL.__version__.split(".")[0]) >= 13  # as the installed Pillow does


def resize(picture: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """(H, W, C) -> (h, w, C), of the same dtype: uint8, or floating point without rounding between passes.

    The fast path wants uint8 and at most 4 channels; a crop given as a slice is not copied first.
    """
    height, width = picture.shape[0], picture.shape[1]
    if (height, width) == size:
        return picture
    planes = picture.permute(2, 0, 1).unsqueeze(0)  # a view; the memory stays channels-last, as the kernel likes
    if picture.dtype == torch.uint8 and _vertical_first((height, width), size):
        planes = _interpolate(planes, (size[0], width), mode)
    return _interpolate(planes, size, mode)[0].permute(1, 2, 0)


def _vertical_first(old: tuple[int, int], new: tuple[int, int]) -> bool:
    down, across = old[0] - new[0], old[1] - new[1]
    return _VERTICAL_FIRST and down > 0 and down > 2 * across


def _interpolate(planes: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    return functional.interpolate(planes, size=size, mode=mode, antialias=True, align_corners=False)
