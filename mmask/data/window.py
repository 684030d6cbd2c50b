"""Closed windows: the canonical order, cut into lanes and lanes into windows that no sample leaves.

Position p of an epoch of n samples belongs to lane p mod L. A lane's samples of one epoch are cut into windows of
about ``size`` samples, equal to within one; none crosses the end of an epoch, so whatever is done inside windows
(packing, sorting by length), each sample still comes exactly once an epoch. The first epoch begins with small windows,
each twice the one before, so that a run need not read a whole window of every lane before its first step. Every number
here is a function of (n, L, size) alone, so windows are the same for any ranks and workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST = 16  # a run's first window is this part of a later one
_LEAST = 4  # samples of it


@dataclass(frozen=True, slots=True)
class Windows:
    """samples: n of an epoch, at least ``lanes``. lanes: L. size: samples of a window, about."""

    samples: int
    lanes: int
    size: int

    def per_epoch(self, lane: int, epoch: int = 1) -> int:
        """Windows of a lane in an epoch; all epochs have as many but the first, which may have more."""
        small = self._small(lane) if epoch == 0 else []
        return len(small) + self._equal(self._inside(lane) - sum(small))

    def positions(self, lane: int, window: int) -> NDArray[np.int64]:
        """(m,) global positions of a lane's ``window``-th window, counted over all epochs; m >= 1."""
        small, inside, epoch, start = self._small(lane), self._inside(lane), 0, 0
        first = self.per_epoch(lane, 0)
        if window < len(small):
            start, stop = sum(small[:window]), sum(small[: window + 1])
        else:
            if window < first:
                start, number, count = sum(small), window - len(small), first - len(small)
            else:
                epoch, number = divmod(window - first, self.per_epoch(lane))
                epoch, count = epoch + 1, self.per_epoch(lane)
            rest = inside - start
            start, stop = start + number * rest // count, start + (number + 1) * rest // count
        return epoch * self.samples + lane + self.lanes * np.arange(start, stop, dtype=np.int64)

    def beginning(self, lane: int) -> NDArray[np.int64]:
        """The first ``size`` positions of a lane, or those of one epoch."""
        return lane + self.lanes * np.arange(min(self.size, self._inside(lane)), dtype=np.int64)

    def _small(self, lane: int) -> list[int]:
        """Sizes of the small windows: they double, and leave at least as much as the next would have."""
        sizes: list[int] = []
        size, left = max(_LEAST, self.size // FIRST), self._inside(lane)
        while size < self.size and left >= 2 * size:
            sizes.append(size)
            size, left = 2 * size, left - size
        return sizes

    def _equal(self, samples: int) -> int:
        """Windows of about ``size`` that so many samples are cut into."""
        return max(1, (samples + self.size // 2) // self.size)

    def _inside(self, lane: int) -> int:
        return (self.samples - lane + self.lanes - 1) // self.lanes


def lanes_for(samples: int, streams: int, size: int, units: int) -> int:
    """L: the largest divisor of ``streams`` that leaves each lane a whole window an epoch and is not above
    ``units``, the packs of a step (more lanes would be open at once without any of them going faster)."""
    most = max(1, min(samples // size, units))
    return max(lane for lane in range(1, min(streams, most) + 1) if streams % lane == 0)
