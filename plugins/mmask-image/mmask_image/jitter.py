"""Colour jitter: brightness, contrast, saturation and hue, in a random order, as torchvision's ColorJitter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from torch import Tensor
from torchvision.transforms import functional as F

from mmask.api import RecipeError, SampleError

NUMBERS = 5
"""Uniform numbers of one picture: four factors and the order."""
_ORDERS = tuple(permutations(range(4)))
_ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
_NEUTRAL = (1.0, 1.0, 1.0, 0.0)


def strengths(value: float | Sequence[float]) -> tuple[float, ...]:
    """(brightness, contrast, saturation, hue); one number stands for the first three. Raises RecipeError."""
    many = (float(value),) * 3 if isinstance(value, int | float) else tuple(float(part) for part in value)
    many += (0.0,) * (4 - len(many))
    if len(many) != 4 or min(many) < 0 or many[3] > 0.5:
        raise RecipeError(
            f"jitter = {value} must be one number or up to four: brightness, contrast, saturation >= 0, hue <= 0.5"
        )
    return many


def draw(strength: Sequence[float], numbers: Sequence[float]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Factors, uniform in [max(0, 1 - s), 1 + s] (hue in [-s, s]), and the order they are applied in."""
    factors = []
    for s, number, neutral in zip(strength, numbers, _NEUTRAL, strict=False):
        low = max(0.0, neutral - s) if neutral else -s
        factors.append(low + number * (neutral + s - low))
    return tuple(factors), _ORDERS[int(numbers[4] * len(_ORDERS))]


def jitter(picture: Tensor, factors: Sequence[float], order: Sequence[int]) -> Tensor:
    """(H, W, C) uint8 -> the same, changed. Grey pictures have neither saturation nor hue. Raises SampleError."""
    if picture.dtype.is_floating_point or picture.shape[2] not in (1, 3):
        raise SampleError("colour jitter is for pictures of 8 bits and 1 or 3 channels", hint="set jitter to 0")
    planes = picture.permute(2, 0, 1)
    for which in order:
        if factors[which] != _NEUTRAL[which]:
            planes = _ADJUST[which](planes, factors[which])
    return planes.permute(1, 2, 0).contiguous()
