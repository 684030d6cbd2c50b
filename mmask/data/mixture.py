"""Which source serves a position: a pure function with exact proportions.

Sources are split off one after another: of the first x positions that reach source s, floor(x·a + 1/2) are
its own, where a is its share of what is left. So at the end of every window of 1,024 positions each source
has served its share to within one sample for each source, without history. That pattern is regular, and
positions are dealt to readers regularly too, so inside a window the pattern is shuffled; each source still
serves its own samples in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmask.data.order import permute
from mmask.errors import DataError
from mmask.keyed import fold

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 1024
_SHIFT = 30  # shares are multiples of 2^-30
_TABLES_HELD = 16


@dataclass(frozen=True, slots=True)
class Mixture:
    """Sources by weight (positive; their sum does not matter)."""

    weights: tuple[float, ...]
    seed: int
    _tables: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.weights or any(not weight > 0 for weight in self.weights):
            raise DataError(f"mixture weights {list(self.weights)} must be positive")

    def assign(self, position: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(m,) global positions -> the source of each, and how many samples it served before. Both (m,)."""
        position = np.asarray(position, np.int64)
        if len(self.weights) == 1:
            return np.zeros_like(position), position
        window, inside = np.divmod(position, WINDOW)
        source, count = np.empty_like(position), np.empty_like(position)
        for one in np.unique(window).tolist():
            here = window == one
            sources, counts = self._window(one)
            source[here], count[here] = sources[inside[here]], counts[inside[here]]
        return source, count

    def _window(self, window: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The source of each position of a window, and what it served before. Both (WINDOW,)."""
        table = self._tables.get(window)
        if table is None:
            slot = permute(np.arange(WINDOW), WINDOW, fold(self.seed, "mixture", window))
            source, before = _pattern(window * WINDOW, _shares(self.weights))
            source = source[slot]
            count = np.empty(WINDOW, np.int64)
            for number, served in enumerate(before):
                mine = source == number
                count[mine] = served + np.arange(int(mine.sum()))
            if len(self._tables) >= _TABLES_HELD:
                self._tables.clear()
            table = self._tables[window] = (source, count)
        return table


def _pattern(first: int, shares: Sequence[int]) -> tuple[NDArray[np.int64], list[int]]:
    """Sources of ``first`` to ``first + WINDOW`` before shuffling, and what each source served before."""
    rest = np.arange(first, first + WINDOW, dtype=np.int64)
    source = np.full(WINDOW, len(shares), np.int64)
    open_ = np.ones(WINDOW, bool)
    before = []
    for number, share in enumerate(shares):
        served = _served(rest, share)
        mine = open_ & (_served(rest + 1, share) > served)
        source[mine] = number
        open_ &= ~mine
        before.append(int(served[0]))
        rest = rest - served
    return source, [*before, int(rest[0])]


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
