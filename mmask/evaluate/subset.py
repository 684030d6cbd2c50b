"""Subset: some samples of a stream, as a stream: what few-label training and evenly spread tests read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmask.data.stream import ATTEMPTS, SUBSTITUTE, Located, Stream
from mmask.keyed import fold, permutation
from mmask.types import Sample


@dataclass
class Subset:
    """The stored positions ``rows`` (n,) of ``stream``: a loader reads it as it reads a `Stream`.

    In training order every epoch is another permutation of all rows, a function of (seed, epoch).
    """

    stream: Stream
    rows: NDArray[np.int64]
    seed: int = 0

    def __post_init__(self) -> None:
        self.sources = self.stream.sources

    def __len__(self) -> int:
        return len(self.rows)

    def locate(self, positions: NDArray[np.int64]) -> list[Located]:
        """Positions (m,) in training order; an epoch is one visit."""
        epochs, offsets = np.divmod(positions, len(self.rows))
        taken = np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            order = permutation(np.array([fold(self.seed, "subset", epoch)], np.uint64), len(self.rows))[0]
            here = epochs == epoch
            taken[here] = self.rows[order[offsets[here]]]
        located = zip(self.stream.locate_stored(taken), positions.tolist(), epochs.tolist(), strict=True)
        return [one._replace(position=position, epoch=epoch, visit=epoch) for one, position, epoch in located]

    def locate_stored(self, positions: NDArray[np.int64]) -> list[Located]:
        """Positions (m,) in the order of ``rows``."""
        located = zip(self.stream.locate_stored(self.rows[positions]), positions.tolist(), strict=True)
        return [one._replace(position=position) for one, position in located]

    def substitute(self, lost: Located, attempt: int) -> Located:
        """Another of the rows, as `Stream.substitute`."""
        draw = fold(self.seed, "substitute", lost.epoch, lost.position, attempt) % len(self.rows)
        one = self.stream.locate_stored(self.rows[draw : draw + 1])[0]
        visit = SUBSTITUTE + lost.position * ATTEMPTS + attempt
        return one._replace(position=lost.position, epoch=lost.epoch, visit=visit)

    def sample(self, located: Located) -> Sample:
        """Read it."""
        return self.stream.sample(located)

    @property
    def remote(self) -> bool:
        """Whether any read goes over a network."""
        return self.stream.remote

    def reopen(self) -> None:
        """Forget open files (after a fork)."""
        self.stream.reopen()


def spread(count: int, limit: int | None) -> NDArray[np.int64]:
    """At most ``limit`` of ``count`` stored positions, evenly over them."""
    if limit is None or limit >= count:
        return np.arange(count, dtype=np.int64)
    return np.arange(limit, dtype=np.int64) * count // limit
