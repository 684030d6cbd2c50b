"""Bundles: the packs (or buckets) of a run, made by reading closed windows; what a reader serves instead of samples.

Bundle u of the run is bundle u div L of lane u mod L. A lane serves its windows one after another; a window's samples
are decoded, measured, and put together by `mmask.data.packing`. A lane therefore has a cursor, (window, its
first bundle), and finding a bundle costs the reading of one window at most when the `mmask.data.trail` knows it.
While a window is served the next one is decoded bit by bit, so that no step waits for a whole window but the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmask.data.collate import as_value
from mmask.data.faults import Fault
from mmask.data.packing import best_fit, buckets
from mmask.data.part import Maker, Part
from mmask.data.trail import Trail
from mmask.data.window import FIRST, Windows, lanes_for
from mmask.errors import DataError, UsageError
from mmask.keyed import fold, mix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.recipe.schema import DataSection

ROWS = 1 << 20  # samples of a bundle are numbered below this: position = bundle x ROWS + row


@dataclass(frozen=True, slots=True)
class Rule:
    """How windows become bundles.

    by: the ragged field whose first axis is the length. window: samples of a window, about. length: capacity of a
    pack; 0 for buckets. size: samples of a bucket; 1 for packs. jitter: of lengths before they are sorted.
    """

    by: str
    window: int = 1024
    length: int = 0
    size: int = 1
    jitter: float = 0.1


def rule_of(data: DataSection) -> Rule | None:
    """The rule of a recipe's data section; None when samples are served one by one."""
    if data.pack is not None:
        return Rule(data.pack.by, data.pack.window, length=data.pack.length)
    if data.bucket is not None:
        return Rule(data.bucket.by, data.bucket.window, size=data.bucket.size, jitter=data.bucket.jitter)
    return None


def windows_of(rule: Rule, samples: int, streams: int, batch: int) -> Windows:
    """The windows of a run. batch: data.batch_size."""
    return Windows(samples, lanes_for(samples, streams, rule.window, batch // rule.size), rule.window)


@dataclass(slots=True)
class Row:
    """One decoded sample, or one chunk of it."""

    id: int
    visit: int
    epoch: int
    name: str
    fields: Mapping[str, Any]
    length: int


@dataclass(slots=True)
class _Window:
    """What is known of a window while it is decoded."""

    todo: NDArray[np.int64]
    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class Lane:
    """One lane's bundles in order. reader: decodes positions."""

    def __init__(self, reader: Bundles, number: int, window: int, first: int) -> None:
        self._reader, self.number = reader, number
        self.window, self.first = window - 1, first
        self.bundles: list[list[Row]] = []
        self.faults: list[Fault] = []
        self._next = self._fresh(window)
        self._open()

    def take(self, bundle: int) -> list[Row]:
        """The rows of a bundle at or after ``first``."""
        while bundle >= self.first + len(self.bundles):
            self._open()
        quota = -(-len(self._reader.windows.positions(self.number, self.window + 1)) // len(self.bundles))
        self._decode(quota)
        return self.bundles[bundle - self.first]

    def _fresh(self, window: int) -> _Window:
        return _Window(self._reader.windows.positions(self.number, window))

    def _decode(self, most: int) -> None:
        coming = self._next
        part, coming.todo = coming.todo[:most], coming.todo[most:]
        for found in self._reader.rows(part):
            if isinstance(found, Fault):
                coming.faults.append(found)
            else:
                coming.rows.append(found)

    def _open(self) -> None:
        """Close the window and open the next one that has anything readable."""
        self.first += len(self.bundles)
        faults: list[Fault] = []
        for _ in range(self._reader.windows.per_epoch(self.number, 0) + 1):
            self._decode(len(self._next.todo))
            done, self.window = self._next, self.window + 1
            self._next = self._fresh(self.window + 1)
            faults += done.faults
            self.bundles = self._reader.bundled(done.rows, self.number, self.window)
            if self.bundles:
                at = (self.first * self._reader.windows.lanes + self.number) * self._reader.rule.size
                self.faults = [replace(fault, position=at) for fault in faults]
                return
        last = f"; the last, {faults[-1].shard}:{faults[-1].key}: {faults[-1].reason}" if faults else ""
        raise DataError(
            f"no sample of a whole epoch of lane {self.number} can be used{last}",
            hint="the decoder does not fit these shards, or most of them are damaged",
        )


class Bundles:
    """A `mmask.data.part.Maker` of bundles: the same interface, in the training process and in workers.

    maker: reads and decodes samples. ragged: fields that decoders call ragged. trail: known beginnings of windows.
    """

    def __init__(self, maker: Maker, rule: Rule, windows: Windows, ragged: frozenset[str], trail: Trail) -> None:
        self.maker, self.stream = maker, maker.stream
        self.rule, self.windows, self.ragged, self.trail = rule, windows, ragged, trail
        self._lanes: dict[int, Lane] = {}

    def part(self, positions: NDArray[np.int64]) -> Part:
        """The rows of the bundles that these positions (m,) belong to; ``size`` positions are one bundle."""
        part = Part()
        for unit in np.unique(positions // self.rule.size).tolist():
            number, lane = divmod(unit, self.windows.lanes)
            held = self._lane(lane, number)
            for row, one in enumerate(held.take(number)):
                part.add(unit * ROWS + row, one.id, one.visit, one.epoch, one.name, one.fields)
            if number == held.first:  # whoever has a window's first bundle reports it: once over all readers
                part.faults += held.faults
                part.opened.append((lane, held.window, held.first))
        return part

    def _lane(self, lane: int, bundle: int) -> Lane:
        held = self._lanes.get(lane)
        window, first = self.trail.find(lane, bundle)
        if held is None or bundle < held.first or first > held.first + len(held.bundles):
            held = self._lanes[lane] = Lane(self, lane, window, first)
        return held

    def rows(self, positions: NDArray[np.int64]) -> Iterator[Row | Fault]:
        """Decoded samples and chunks of these positions, and faults; unreadable samples have no substitute."""
        for found in self.maker.each(positions):
            if isinstance(found, Fault):
                yield found
                continue
            located, sample, raw = found
            fields = {name: as_value(value) for name, value in raw.items()}
            length = self._length(fields, str(sample.id))
            row = Row(sample.id.digest(), located.visit, located.epoch, str(sample.id), fields, length)
            yield from self._chunks(row) if self.rule.length and length > self.rule.length else (row,)

    def _length(self, fields: Mapping[str, Any], name: str) -> int:
        value = fields.get(self.rule.by)
        if not isinstance(value, torch.Tensor) or value.ndim < 1:
            raise DataError(
                f"{name}: there is no ragged field '{self.rule.by}' to measure; decoders make {sorted(fields)}",
                hint="set data.pack.by (or data.bucket.by) to a field whose first axis is the length",
            )
        return int(value.shape[0])

    def _chunks(self, row: Row) -> Iterator[Row]:
        """Consecutive pieces of at most ``length``; each is a sample with an id of its own."""
        cut = [name for name in row.fields if self._cuts(name, row)]
        for number, start in enumerate(range(0, row.length, self.rule.length)):
            stop = min(start + self.rule.length, row.length)
            fields = {**row.fields, **{name: row.fields[name][start:stop] for name in cut}}
            yield replace(
                row, id=fold(row.id, "chunk", number), name=f"{row.name}[{number}]", fields=fields, length=stop - start
            )

    def _cuts(self, name: str, row: Row) -> bool:
        """Whether a field has one value per place: ``by``, ``by.x``, or called ragged, and of the same length."""
        value, by = row.fields[name], self.rule.by
        if not isinstance(value, torch.Tensor) or value.ndim < 1 or value.shape[0] != row.length:
            return False
        return name == by or name.startswith(f"{by}.") or name in self.ragged

    def bundled(self, rows: Sequence[Row], lane: int, window: int) -> list[list[Row]]:
        """The bundles of one window."""
        lengths = [row.length for row in rows]
        if self.rule.length:
            made = best_fit(lengths, self.rule.length, fold(self.maker.seed, "pack", lane, window))
        else:
            ids = np.array([row.id for row in rows], np.uint64)
            visits = np.array([row.visit for row in rows], np.uint64)
            keys = mix(mix(ids) ^ visits ^ np.uint64(fold(self.maker.seed, "bucket")))
            key = fold(self.maker.seed, "bucket", window)  # of all lanes: they serve like lengths together
            made = buckets(lengths, keys, self.rule.size, self.rule.jitter, key)
        return [[rows[index] for index in one] for one in made]

    def per_epoch(self) -> int:
        """Bundles of an epoch, estimated: those of lane 0's first samples (as many as a window has), in proportion."""
        window = self.windows.beginning(0)
        found = [one for one in self.rows(window) if isinstance(one, Row)]
        return max(1, round(len(self.bundled(found, 0, 0)) / len(window) * self.windows.samples))


def offsets(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted row positions (B,) -> (P + 1,) where each bundle begins, and B."""
    edges = np.flatnonzero(np.diff(positions // ROWS, prepend=-1))
    return np.append(edges, len(positions))



def check_rule(rule: Rule, group: int) -> int:
    """Positions that stay together under a rule. Raises UsageError where the recipe has groups of its own."""
    if group > 1:
        raise UsageError(
            f"this recipe compares groups of {group} consecutive samples; data.pack and data.bucket change which are",
            hint="train it without data.pack and data.bucket",
        )
    return rule.size


def bundles_of(
    maker: Maker, rule: Rule, ragged: frozenset[str], *, batch: int, path: Path | None = None
) -> Bundles:
    """The bundles of a run. batch: positions of a step (packs, or samples of buckets). path: the trail's file."""
    stream = maker.stream
    windows = windows_of(rule, len(stream), stream.streams, batch)
    about = f"{rule} {windows} first={FIRST} seed={maker.seed} weights={stream.mixture.weights}"
    return Bundles(maker, rule, windows, ragged, Trail(path, about))
