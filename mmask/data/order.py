"""The order of samples as a pure function: (seed, source, epoch, position) -> stored sample.

An epoch of n samples is never materialised. Position q of it belongs to stream c = q mod C and is that
stream's entry q div C; stream c is a contiguous piece of the *shuffled row*, so readers that own streams
read near one place at a time. The shuffled row is made of nested keyed permutations:

    shuffled row --[blocks of ``shuffle`` samples in random order, random order inside each]-->
    rotated row  --[a random start]--> row of shards in random order --> stored sample

so the samples met within a short time come from at most C blocks of consecutive stored samples, whatever
the size of the set, and a set smaller than one block is shuffled uniformly. Streams differ in length by at
most one, so nothing has to divide anything: every sample comes exactly once an epoch, for any n and C.

Permutations over large n are Feistel networks with cycle walking (Black & Rogaway 2002, "Ciphers with
arbitrary finite domains") over `mmask.keyed.mix`: no table, and any position at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mmask.keyed import fold, mix, permutation

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = 12  # fewer are visibly uneven for a handful of elements


def permute(index: NDArray[np.int64], n: NDArray[np.int64] | int, key: NDArray[np.uint64] | int) -> NDArray[np.int64]:
    """Entry ``index`` of the random order of ``range(n)`` that ``key`` names; all (m,) or scalars, n >= 1.

    A bijection of range(n) for each key. Elements outside range(n) are not checked.
    """
    x = np.atleast_1d(np.asarray(index)).astype(np.uint64)
    size = np.broadcast_to(np.asarray(n, np.int64), x.shape)
    keys = np.broadcast_to(np.asarray(key, np.uint64), x.shape)
    bits = np.frexp((size - 1).astype(np.float64))[1].astype(np.uint64)  # bit length; exact below 2^53
    out = _feistel(x, bits, keys)
    limit = size.astype(np.uint64)
    outside = np.flatnonzero(out >= limit)
    while len(outside):  # walk the cycle until it comes back inside; fewer than two turns on average
        out[outside] = _feistel(out[outside], bits[outside], keys[outside])
        outside = outside[out[outside] >= limit[outside]]
    return out.astype(np.int64)


def _feistel(x: NDArray[np.uint64], bits: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of ``bits``-bit integers: halves in turn changed by a hash of the other."""
    one = np.uint64(1)
    low = bits >> one
    low_mask, high_mask = (one << low) - one, (one << (bits - low)) - one
    left, right = x >> low, x & low_mask
    with np.errstate(over="ignore"):
        for turn in range(0, _ROUNDS, 2):
            left ^= mix(right + mix(keys + np.uint64(turn) * _GOLDEN)) & high_mask
            right ^= mix(left + mix(keys + np.uint64(turn + 1) * _GOLDEN)) & low_mask
    return (left << low) | right


@dataclass(frozen=True)
class Order:
    """The canonical order of one source.

    counts: (S,) samples of each shard, in stored order. streams: C. shuffle: samples in a block; 0 keeps the
    stored order inside streams.
    """

    counts: NDArray[np.int64]
    seed: int
    source: str
    streams: int = 64
    shuffle: int = 4096
    _tables: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.streams < 1 or self.shuffle < 0:
            raise ValueError(f"streams {self.streams} must be at least 1 and shuffle {self.shuffle} at least 0")

    def __len__(self) -> int:
        return int(self.counts.sum())

    def at(self, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The ``index``-th samples that this source serves, over all epochs. (m,) -> epochs, stored, (m,)."""
        n = len(self)
        epoch, inside = np.divmod(np.asarray(index, np.int64), n)
        first = int(epoch[0]) if len(epoch) else 0
        if (epoch == first).all():
            return epoch, self.stored(first, inside)
        stored = np.empty_like(inside)
        for one in np.unique(epoch).tolist():
            here = epoch == one
            stored[here] = self.stored(one, inside[here])
        return epoch, stored

    def stored(self, epoch: int, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """The stored sample at each position (m,) of an epoch, 0 <= position < n. -> (m,) int64."""
        n = len(self)
        lane, offset = np.divmod(position, self.streams)[::-1]
        row = lane * (n // self.streams) + np.minimum(lane, n % self.streams) + offset
        if not self.shuffle:
            return row
        turn, order, ends = self._epoch(epoch)
        row = (self._blocks(row, n, fold(self.seed, "order", self.source, epoch)) + turn) % n
        rank = np.searchsorted(ends, row, side="right")
        shard = order[rank]
        return row - ends[rank] + self.counts[shard] + self._starts()[shard]

    def _blocks(self, row: NDArray[np.int64], n: int, key: int) -> NDArray[np.int64]:
        """Blocks in random order, and a random order inside each. What is left over stays the last block."""
        block, inside = np.divmod(row, self.shuffle)
        whole = n // self.shuffle
        full = block < whole
        if whole > 1:
            block = np.where(full, permute(np.minimum(block, whole - 1), whole, fold(key, "blocks")), block)
        size = np.where(full, self.shuffle, max(1, n - whole * self.shuffle))
        with np.errstate(over="ignore"):
            keys = mix(np.uint64(fold(key, "inside")) + block.astype(np.uint64) * _GOLDEN)
        return block * self.shuffle + permute(inside, size, keys)

    def _epoch(self, epoch: int) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
        """An epoch's rotation, its order of shards, and where each ends in that order."""
        table = self._tables.get(epoch)
        if table is None:
            key = fold(self.seed, "shards", self.source, epoch)
            order = permutation(np.array([key], np.uint64), len(self.counts))[0]
            table = (fold(key, "turn") % len(self), order, np.cumsum(self.counts[order]))
            if len(self._tables) >= 4:
                self._tables.clear()
            self._tables[epoch] = table
        return table

    def _starts(self) -> NDArray[np.int64]:
        table = self._tables.get(-1)
        if table is None:
            table = self._tables[-1] = np.cumsum(self.counts) - self.counts
        return table
