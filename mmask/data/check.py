"""What will go wrong with shards on a topology, said before anything runs. Reads indices, never samples."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.data.columns import LABEL_FIELD
from mmask.data.tar import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmask.data.source import Source

_CLUMPED = 2.0  # times the expected mean run length from which an order is called sorted


def read_amplification(ranks: int, workers: int, streams: int, group: int = 1) -> int:
    """How many readers share each canonical stream: 1 when group x ranks x workers divides ``streams``.

    A reader that fetches more than single samples (a disk's read-ahead, a machine's page cache) fetches that
    many times the bytes. workers: of each rank; 0 counts as the rank itself.

    >>> read_amplification(8, 8, 64), read_amplification(3, 2, 64)
    (1, 3)
    """
    readers = ranks * max(1, workers)
    step = gcd(streams, group * readers)  # the positions of one stream meet every step-th residue
    return min(readers, group * readers // step)


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of equal consecutive values, in samples: their mean, that of a random order, the longest."""

    mean: float
    expected: float
    longest: int

    @property
    def clumped(self) -> bool:
        """Whether the order is far from random."""
        return self.mean > _CLUMPED * self.expected and self.longest > 2


def runs(values: Any) -> Runs:
    """Runs in (n,) values in stored order. In a random order of values with counts n_k, neighbours are equal
    with probability p = sum n_k (n_k - 1) / (n (n - 1)), so n / (1 + (n - 1)(1 - p)) samples make a run."""
    values = np.asarray(values)
    n = len(values)
    if n < 2:
        return Runs(float(n), float(max(n, 1)), n)
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [n]]))
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    equal = float((counts * (counts - 1)).sum() / (n * (n - 1)))
    return Runs(float(lengths.mean()), n / (1 + (n - 1) * (1 - equal)), int(lengths.max()))


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """One shard's samples and findings."""

    name: str
    samples: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class SourceCheck:
    """What `check_source` saw. sorted_by: column -> its runs, for those stored in clumps. amplification: as
    `read_amplification`. idle: readers that never have a stream to read."""

    name: str
    shards: tuple[ShardCheck, ...]
    sorted_by: dict[str, Runs]
    amplification: int
    idle: int

    @property
    def samples(self) -> int:
        """Usable samples, after filters."""
        return sum(shard.samples for shard in self.shards)

    @property
    def harmful(self) -> bool:
        """Whether samples are lost."""
        return any(finding.harmful for shard in self.shards for finding in shard.findings)


def check_source(
    source: Source,
    *,
    ranks: int = 1,
    workers: int = 1,
    streams: int = 64,
    group: int = 1,
    columns: Sequence[str] = (LABEL_FIELD,),
) -> SourceCheck:
    """Findings of every shard, runs in ``columns`` (those an index has), and how the topology reads."""
    shards = []
    values: dict[str, list[Any]] = {}
    for number, ref in enumerate(source.shards):
        joined, rows = source.index(number)
        findings = list(joined.findings)
        if not source.counts[number]:
            findings.append(Finding("empty", "no sample is left" if rows is not None else "the shard has no sample"))
        shards.append(ShardCheck(ref.name, int(source.counts[number]), tuple(findings)))
        for column in set(columns) & set(joined.columns()):
            found = joined.column(column)
            values.setdefault(column, []).append(found if rows is None else found[rows])
    clumps = {name: runs(np.concatenate(found)) for name, found in values.items()}
    readers = ranks * max(1, workers)
    return SourceCheck(
        source.name,
        tuple(shards),
        {name: one for name, one in clumps.items() if one.clumped},
        read_amplification(ranks, workers, streams, group),
        max(0, readers - min(streams, len(source))),
    )
