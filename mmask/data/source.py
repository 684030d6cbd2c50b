"""A source: the shards one URL names, seen as one long row of samples in stored order.

    source = open_source("shards/train-{000..007}.tar", name="train")
    len(source)            # samples, after filters
    source.read(123)       # -> Sample

Only counts are held for all shards; indices are loaded when needed and the least used are dropped.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.data.columns import Column
from mmask.data.folder import index_folder, is_plain_folder
from mmask.data.index import ShardIndex
from mmask.data.select import Filter, Joined, join_indices
from mmask.data.sidecar import load_or_build
from mmask.data.store import ShardRef, StoreCache, find_shards, is_remote, local
from mmask.data.tar import Finding
from mmask.errors import DataError, SampleError
from mmask.types import Sample, SampleId

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INDICES_HELD = 256
_GAP = 64 << 10  # bytes between two parts of a sample that are cheaper to read than to skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sample is stored: its identity and the byte offset of its first part."""

    id: SampleId
    offset: int


class Parts(dict[str, bytes]):
    """A sample's parts. Asking for one it lacks is the sample's fault, not the decoder's: SampleError."""

    def __missing__(self, name: str) -> bytes:
        raise SampleError(f"the sample has no part '{name}'; it has {', '.join(sorted(self)) or 'none'}")


class Source:
    """Samples of one URL in stored order. Made by `open_source`."""

    def __init__(
        self,
        name: str,
        shards: Sequence[Sequence[ShardRef]],
        columns: Sequence[Column],
        filters: Sequence[Filter],
        *,
        folder: ShardIndex | None = None,
        files: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.shards = [refs[0] for refs in shards]
        self._volumes = shards  # per shard: the main tar, then the tars joined to it
        self._columns, self._filters = tuple(columns), tuple(filters)
        self._folder, self._files = folder, files
        self._held: OrderedDict[int, tuple[Joined, NDArray[np.int64] | None]] = OrderedDict()
        self._stores, self._lock = StoreCache(), Lock()
        self.lost: list[tuple[str, Finding]] = []  # (shard, finding) where samples were torn off
        self.remote = any(is_remote(ref.url) for refs in shards for ref in refs)
        self.counts = np.array(self._count_all(), np.int64)
        self._ends = np.cumsum(self.counts)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def _count_all(self) -> list[int]:
        numbers = range(len(self.shards))
        if len(numbers) < 4:
            return [self._length(number) for number in numbers]
        with ThreadPoolExecutor(min(16, len(numbers)) if self.remote else min(4, os.cpu_count() or 1)) as pool:
            return list(pool.map(self._length, numbers))

    def _length(self, number: int) -> int:
        joined, rows = self._load(number)
        torn = [(self.shards[number].name, one) for one in joined.findings if one.kind in ("torn", "header")]
        self.lost += torn
        return len(joined) if rows is None else len(rows)

    def _load(self, number: int) -> tuple[Joined, NDArray[np.int64] | None]:
        if self._folder is not None:
            indices = [self._folder]
        else:
            indices = [load_or_build(ref.url, self._columns) for ref in self._volumes[number]]
        joined = join_indices(indices, [ref.name for ref in self._volumes[number]])
        rows = None
        for one in self._filters:
            kept = one.keeps(joined, self.shards[number].name)
            rows = np.flatnonzero(kept) if rows is None else rows[kept[rows]]
        return joined, rows

    def index(self, number: int) -> tuple[Joined, NDArray[np.int64] | None]:
        """A shard's index and the rows its filters keep (None: all)."""
        with self._lock:
            found = self._held.get(number)
            if found is None:
                found = self._held[number] = self._load(number)
                if len(self._held) > _INDICES_HELD:
                    self._held.popitem(last=False)
            else:
                self._held.move_to_end(number)
            return found

    def locate(self, stored: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Stored positions (n,) -> shard numbers and rows in their (unfiltered) index, both (n,)."""
        shard = np.searchsorted(self._ends, stored, side="right")
        row = stored - (self._ends[shard] - self.counts[shard])
        if self._filters:
            row = row.copy()
            for number in np.unique(shard).tolist():
                rows = self.index(number)[1]
                if rows is not None:
                    here = shard == number
                    row[here] = rows[row[here]]
        return shard, row

    def place(self, shard: int, row: int) -> Place:
        """The identity of a located sample."""
        joined, _ = self.index(shard)
        return Place(SampleId(self.name, self.shards[shard].name, joined.keys[row]), joined.first_offset(row))

    def read_at(self, shard: int, row: int, visit: int = 0) -> Sample:
        """A located sample. Raises SampleError when its bytes cannot be had."""
        joined, _ = self.index(shard)
        identity = SampleId(self.name, self.shards[shard].name, joined.keys[row])
        spans = joined.parts(row)
        try:
            read = self._read_files if self._folder is not None else self._read_spans
            parts = read(shard, spans)
        except (OSError, DataError) as error:
            raise SampleError(f"{identity} cannot be read: {error}") from error
        parts.update(joined.given(row))
        return Sample(identity, parts, visit)

    def _read_files(self, _: int, spans: Sequence[tuple[str, int, int, int]]) -> Parts:
        found = Parts()
        for name, _, offset, _ in spans:
            with open(self._files[offset - 1], "rb") as file:
                found[name] = file.read()
        return found

    def _read_spans(self, shard: int, spans: Sequence[tuple[str, int, int, int]]) -> Parts:
        """Parts of one sample; those that lie together are read at once."""
        parts = Parts()
        for volume in dict.fromkeys(span[1] for span in spans):
            mine = sorted((span for span in spans if span[1] == volume), key=lambda span: span[2])
            store = self._stores.get(self._volumes[shard][volume].url)
            at = 0
            while at < len(mine):
                start, end, stop = mine[at][2], mine[at][2] + mine[at][3], at + 1
                while stop < len(mine) and mine[stop][2] - end <= _GAP:
                    end, stop = mine[stop][2] + mine[stop][3], stop + 1
                data = store.read(start, end - start)
                if len(data) < end - start:
                    raise DataError(f"{self._volumes[shard][volume].url} ends before byte {end}")
                for name, _, offset, size in mine[at:stop]:
                    parts[name] = data[offset - start : offset - start + size] if stop > at + 1 else data
                at = stop
        return parts

    def read(self, stored: int, visit: int = 0) -> Sample:
        """The sample at a stored position."""
        shard, row = self.locate(np.array([stored], np.int64))
        return self.read_at(int(shard[0]), int(row[0]), visit)

    def __iter__(self) -> Iterator[Sample]:
        """All samples, in stored order."""
        return (self.read(stored) for stored in range(len(self)))

    def stamp(self) -> list[object]:
        """What changes when the stored samples do: counts, and the size and time of every local file."""
        paths = self._files or [ref.url for refs in self._volumes for ref in refs]
        files = [os.stat(local(path)) for path in paths if not is_remote(path)]
        return [self.name, self.counts.tolist(), list(paths), [(file.st_size, file.st_mtime_ns) for file in files]]

    def reopen(self) -> None:
        """Forget open files and connections (after a fork)."""
        self._stores, self._lock = StoreCache(), Lock()

    def __getstate__(self) -> dict[str, Any]:  # a worker loads what it needs itself
        return {**self.__dict__, "_held": OrderedDict(), "_lock": None, "_stores": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.reopen()


def open_source(
    url: str,
    name: str = "s0",
    *,
    filters: Sequence[str] = (),
    join: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Source:
    """Open what ``url`` names: tars (`mmask.data.store.find_shards`) or a folder of plain files.

    filters: conditions on index columns that all must hold (``width >= 256``). join: further URLs with as
    many shards, whose parts are added to the samples of the same key. columns: ``name=part`` metadata that
    filters use (see `mmask.data.columns`). Raises DataError, or IndexMissingError for remote tars.
    """
    conditions = [Filter.parse(text) for text in filters]
    wanted = [Column.parse(text) for text in columns]
    if is_plain_folder(url):
        index, files = index_folder(local(url), wanted)
        source = Source(name, [[ShardRef(url, "")]], wanted, conditions, folder=index, files=files)
    else:
        source = Source(name, _volumes(url, join), wanted, conditions)
    if not len(source):
        raise DataError(f"'{url}' has no samples" + (" that pass its filters" if filters else ""))
    return source


def _volumes(url: str, join: Sequence[str]) -> list[list[ShardRef]]:
    main = find_shards(url)
    if not main:
        raise DataError(f"'{url}' has no tars", hint="give tars, or a folder of files")
    others = [find_shards(other) for other in join]
    for other, refs in zip(join, others, strict=True):
        if len(refs) != len(main):
            raise DataError(f"'{other}' names {len(refs)} shards, '{url}' {len(main)}; a join goes shard by shard")
    return [list(refs) for refs in zip(main, *others, strict=True)]


def shard_findings(source: Source) -> Mapping[str, Sequence[Any]]:
    """Shard name -> its findings, for those that have any."""
    found = {ref.name: source.index(number)[0].findings for number, ref in enumerate(source.shards)}
    return {name: findings for name, findings in found.items() if findings}
