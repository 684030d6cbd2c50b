"""Which reader has which positions of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmask.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Share:
    """Which positions of a step one reader has. worker -1: all of the rank's.

    start: position of step 0. end: one past the last position there is (None: no end). spread: samples of the
    pass when positions are a sample of it (`Loader` with ``evaluate`` and ``limit``), else 0.
    """

    batch: int
    rank: int
    world: int
    group: int
    start: int
    end: int | None = None
    workers: int = 1
    worker: int = -1
    spread: int = 0

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Global positions of ``step``, ascending."""
        first = self.start + step * self.batch
        last = first + self.batch if self.end is None else min(first + self.batch, self.end)
        positions = np.arange(first, max(first, last), dtype=np.int64)
        group = positions // self.group
        mine = group % self.world == self.rank
        if self.worker >= 0:
            mine &= group // self.world % self.workers == self.worker
        found = positions[mine]
        return found * self.spread // self.end if self.spread and self.end else found


def check_topology(batch: int, rank: int, world: int, *, workers: int, group: int, start: int) -> None:
    """Raises UsageError when a batch cannot be dealt out."""
    if world < 1 or not 0 <= rank < world:
        raise UsageError(f"rank {rank} of {world} ranks")
    if workers < 0 or group < 1 or batch < 1 or start < 0:
        raise UsageError(f"batch size {batch}, workers {workers}, group {group}, start {start}: one is too small")
    if batch % (world * group):
        what = f"{world} ranks" if group == 1 else f"{world} ranks in groups of {group}"
        near = max(1, round(batch / (world * group))) * world * group
        raise UsageError(f"batch size {batch} cannot be dealt to {what}", hint=f"the nearest that can is {near}")
    if start % group:
        raise UsageError(f"position {start} splits a group of {group}")
