"""Reader: what the engine needs of the data stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from mmask.types import Batch


class Reader(Protocol):
    """Training, held-out and picture samples of one rank. samples, held_out: how many there are.
    units: what one epoch has of what ``data.batch_size`` counts: samples, or packs."""

    samples: int
    held_out: int
    units: int

    def train(self, step: int) -> Iterable[Batch]:
        """This rank's part of each global batch, from optimizer step ``step`` on, without end."""
        ...

    def val(self) -> Iterable[Batch]:
        """This rank's share of the held-out samples, the same at every call, in evaluation form."""
        ...

    def sight(self, count: int) -> Batch | None:
        """``count`` held-out samples (training ones where nothing is held out), always the same, for pictures."""
        ...

    def close(self) -> None:
        """End workers."""
        ...
