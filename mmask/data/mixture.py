"""Which source serves a position: a pure function with exact proportions.

Sources are split off one after another: of the first x positions that reach source s, floor(x·a + 1/2) are its
own, where a is its share of what is left. So after any number of positions each source has served
its share to within one sample for each source, without a table and without history. That pattern is regular, and
positions are dealt to readers regularly too, so positions are first shuffled inside windows of 1,024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmask.data.order import permute
from mmask.errors import DataError
from mmask.keyed import fold, mix

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 1024
_SHIFT = 30  # shares are multiples of 2^-30
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Sources by weight (positive; their sum does not matter)."""

    weights: tuple[float, ...]
    seed: int

    def __post_init__(self) -> None:
        if not self.weights or any(not weight > 0 for weight in self.weights):
            raise DataError(f"mixture weights {list(self.weights)} must be positive")

    def assign(self, position: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(m,) global positions -> the source of each, and how many samples it served before. Both (m,)."""
        rest = np.asarray(position, np.int64).copy()
        source = np.full(rest.shape, len(self.weights) - 1, np.int64)
        if len(self.weights) == 1:
            return source, rest
        rest = self._shuffled(rest)
        count = rest.copy()
        open_ = np.ones(rest.shape, bool)
        for number, share in enumerate(_shares(self.weights)):
            before = _served(rest, share)
            mine = open_ & (_served(rest + 1, share) > before)
            source[mine], count[mine] = number, before[mine]
            open_ &= ~mine
            rest = rest - before
        count[open_] = rest[open_]
        return source, count

    def _shuffled(self, position: NDArray[np.int64]) -> NDArray[np.int64]:
        window, inside = np.divmod(position, WINDOW)
        with np.errstate(over="ignore"):
            keys = mix(np.uint64(fold(self.seed, "mixture")) + window.astype(np.uint64) * _GOLDEN)
        return window * WINDOW + permute(inside, WINDOW, keys)


def _shares(weights: Sequence[float]) -> list[int]:
    """Each source's share of what the ones before it left, in units of 2^-30; the last takes the rest."""
    left = sum(weights)
    shares = []
    for weight in weights[:-1]:
        shares.append(min(1 << _SHIFT, max(1, round(weight / left * (1 << _SHIFT)))))
        left -= weight
    return shares


def _served(x: NDArray[np.int64], share: int) -> NDArray[np.int64]:
    """floor(x · share / 2^30 + 1/2), without overflow for x below 2^60."""
    whole, part = x >> _SHIFT, x & ((1 << _SHIFT) - 1)
    return whole * share + ((part * share + (1 << (_SHIFT - 1))) >> _SHIFT)
