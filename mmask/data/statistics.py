"""Running mean, deviation and range of values that come sample by sample, in float64 and in any order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmask.errors import DataError

_WIDEST = 1 << 16  # entries of an axis that are told apart


@dataclass
class Moments:
    """count, mean and the sum of squared differences from it (Chan et al. 1983), as numbers or as vectors."""

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, values: Tensor) -> None:
        """More values, (n,) or (n, K)."""
        count = len(values)
        mean = values.mean(0)
        squares = (values - mean).square().sum(0)
        total, apart = self.count + count, mean - self.mean
        self.squares = self.squares + squares + apart.square() * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.count = total

    @property
    def std(self) -> Tensor:
        """The deviation of the values themselves (no Bessel correction)."""
        return (self.squares / self.count).sqrt()


class Statistics:
    """Of one field: over all its values, and for each entry of one axis where every sample has as many.

    That axis is the last of a sample of two axes (time, channels) and the first of one with more (channels, y, x).
    """

    def __init__(self) -> None:
        self.samples, self.low, self.high = 0, math.inf, -math.inf
        self._all, self._each = Moments(), Moments()
        self._width: int | None = None
        self._axis: int | None = None

    def add(self, value: Tensor) -> None:
        """One sample of the field. Raises DataError for values that are not finite."""
        value = value.detach().to(torch.float64)
        if not value.numel():
            return
        low, high = (float(one) for one in value.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError("a decoded value is NaN or infinite", hint="the decoder should refuse such a sample")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._all.add(value.reshape(-1))
        axis = None if value.ndim < 2 else -1 if value.ndim == 2 else 0
        width = 0 if axis is None else value.shape[axis]
        if not self.samples and 0 < width <= _WIDEST:
            self._axis, self._width = axis, width
        if self._width is not None and (axis, width) != (self._axis, self._width):
            self._width = None  # the axis is as long as the sample lasts: nothing to tell apart
        if self._width is not None and axis is not None:
            self._each.add(value.movedim(axis, -1).reshape(-1, width))
        self.samples += 1

    def report(self) -> dict[str, Any]:
        """``samples``, ``count`` of values, ``mean``, ``std``, ``min``, ``max``; and where there is such an axis,
        ``axis`` and ``each``: ``mean`` and ``std`` of its entries."""
        found: dict[str, Any] = {
            "samples": self.samples, "count": self._all.count, "mean": float(self._all.mean),
            "std": float(self._all.std), "min": self.low, "max": self.high,
        }
        if self._width is not None:
            found["axis"] = self._axis
            found["each"] = {"mean": self._each.mean.tolist(), "std": self._each.std.tolist()}
        return found
