"""Global position -> sample: sources, their orders and their mixture, put together.

stream = Stream([open_source("shards/train-{000..007}.tar", "train")], seed=0)
len(stream)                       # positions of an epoch
stream.sample(stream.locate(np.array([12]))[0])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmask.data.mixture import Mixture
from mmask.data.order import Order
from mmask.data.source import Source, open_source
from mmask.errors import DataError
from mmask.keyed import fold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.recipe.schema import DataSection
    from mmask.recipe.schema import Source as SourceSection
    from mmask.types import Sample

SUBSTITUTE = 1 << 48  # visits from here on are substitutes
ATTEMPTS = 16  # substitutes tried for one position before the run stops


class Located(NamedTuple):
    """What a position holds: a stored sample, and which visit of it this is."""

    position: int
    epoch: int
    source: int
    shard: int
    row: int
    visit: int


class Stream:
    """All samples of a run in the one canonical order.

    sources: from `open_source`, with different names. weights: shares of the mixture (default: equal
    shares). seed, streams, shuffle: as in `mmask.data.order.Order`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        seed: int,
        streams: int = 64,
        shuffle: int = 4096,
        weights: Sequence[float] | None = None,
    ) -> None:
        names = [source.name for source in sources]
        if len(set(names)) != len(names):
            raise DataError(f"sources {names} need different names: sample ids hold them")
        self.sources, self.seed, self.streams = list(sources), seed, streams
        self.orders = [Order(source.counts, seed, source.name, streams, shuffle) for source in sources]
        self.mixture = Mixture(tuple(weights) if weights else (1.0,) * len(names), seed)
        self._ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        """Positions of an epoch: as many as there are samples."""
        return int(self._ends[-1])

    def locate(self, positions: NDArray[np.int64]) -> list[Located]:
        """What each global position (m,) holds in training order."""
        source, count = self.mixture.assign(positions)
        epoch = np.empty_like(positions)
        stored = np.empty_like(positions)
        for number, order in enumerate(self.orders):
            here = slice(None) if len(self.orders) == 1 else source == number
            epoch[here], stored[here] = order.at(count[here])
        return self._rows(positions, epoch, source, stored)

    def locate_stored(self, positions: NDArray[np.int64]) -> list[Located]:
        """What each position (m,) of an evaluation holds: sources one after another, in stored order."""
        source = np.searchsorted(self._ends, positions, side="right")
        lengths = np.diff(self._ends, prepend=0)
        stored = positions - (self._ends[source] - lengths[source])
        return self._rows(positions, np.zeros_like(positions), source, stored)

    def _rows(
        self,
        positions: NDArray[np.int64],
        epoch: NDArray[np.int64],
        source: NDArray[np.int64],
        stored: NDArray[np.int64],
    ) -> list[Located]:
        shard, row = np.empty_like(stored), np.empty_like(stored)
        for number, one in enumerate(self.sources):
            here = slice(None) if len(self.sources) == 1 else source == number
            shard[here], row[here] = one.locate(stored[here])
        columns = (positions, epoch, source, shard, row, epoch)
        return [Located(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]

    def substitute(self, lost: Located, attempt: int) -> Located:
        """What takes an unreadable sample's place: a function of (seed, epoch, position, attempt) alone.

        It comes from the same source and counts as a visit of its own, so its random draws are its own.
        """
        source = self.sources[lost.source]
        draw = fold(self.seed, "substitute", source.name, lost.epoch, lost.position, attempt) % len(source)
        shard, row = source.locate(np.array([draw], np.int64))
        visit = SUBSTITUTE + lost.position * ATTEMPTS + attempt
        return Located(lost.position, lost.epoch, lost.source, int(shard[0]), int(row[0]), visit)

    def sample(self, located: Located) -> Sample:
        """Read it. Raises SampleError when its bytes cannot be had."""
        return self.sources[located.source].read_at(located.shard, located.row, located.visit)

    @property
    def remote(self) -> bool:
        """Whether any read goes over a network."""
        return any(source.remote for source in self.sources)

    def reopen(self) -> None:
        """Forget open files and connections: a forked worker must not share them with its parent."""
        for source in self.sources:
            source.reopen()


def open_stream(data: DataSection, *, seed: int, val: bool = False) -> Stream:
    """The stream of a recipe's data section: its training sources, or its held-out ones.

    Raises DataError, or IndexMissingError for remote shards without an index.
    """
    sections: Sequence[SourceSection] = data.val if val else data.train
    if not sections:
        raise DataError(
            f"no {'held-out' if val else 'training'} data is named",
            hint=f"give --{'val' if val else 'data'} 'shards/{{000..007}}.tar' or a folder",
        )
    sources = [_open(section, number) for number, section in enumerate(sections)]
    return Stream(
        sources,
        seed=seed,
        streams=data.streams,
        shuffle=data.shuffle,
        weights=[section.weight for section in sections],
    )


def _open(section: Any, number: int) -> Source:
    return open_source(
        section.url,
        section.name or f"s{number}",
        filters=section.filters,
        join=section.join,
        columns=section.columns,
    )
