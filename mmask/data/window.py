"""Closed windows: the canonical order, cut into lanes and lanes into windows that no sample leaves.

Position p of an epoch of n samples belongs to lane p mod L. A lane's samples of one epoch are cut into windows of
about ``size`` samples, equal to within one; none crosses the end of an epoch, so whatever is done inside windows
(packing, sorting by length), each sample still comes exactly once an epoch. Every number here is a function of
(n, L, size) alone, so windows are the same for any ranks and workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Windows:
    """samples: n of an epoch, at least ``lanes``. lanes: L. size: samples of a window, about."""

    samples: int
    lanes: int
    size: int

    def per_epoch(self, lane: int) -> int:
        """Windows of a lane in one epoch."""
        return max(1, (self._inside(lane) + self.size // 2) // self.size)

    def positions(self, lane: int, window: int) -> NDArray[np.int64]:
        """(m,) global positions of a lane's ``window``-th window, counted over all epochs; m >= 1."""
        count = self.per_epoch(lane)
        epoch, number = divmod(window, count)
        inside = self._inside(lane)
        offsets = np.arange(number * inside // count, (number + 1) * inside // count, dtype=np.int64)
        return epoch * self.samples + lane + self.lanes * offsets

    def _inside(self, lane: int) -> int:
        return (self.samples - lane + self.lanes - 1) // self.lanes


def lanes_for(samples: int, streams: int, size: int, units: int) -> int:
    """L: the largest divisor of ``streams`` that leaves each lane a whole window an epoch and is not above
    ``units``, the packs of a step (more lanes would be open at once without any of them going faster)."""
    most = max(1, min(samples // size, units))
    return max(lane for lane in range(1, min(streams, most) + 1) if streams % lane == 0)
