"""Stateless randomness: every draw is a pure function of a key, never of a generator's history.

A per-sample draw is keyed by (run seed, sample id, visit, view, purpose); a per-batch draw by
(run seed, step, purpose). Nothing has to be stored to resume, and a sample gets the same plan on any
rank, worker, device or batch size. The mixing function is the finaliser of SplitMix64 (Steele, Lea &
Flood 2014), a bijection of 64-bit integers, applied to a counter; it is vectorised over the batch.

Permutations sort 64-bit integers whose low bits are the index, so that equal hashes cannot tie.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_MASK64 = (1 << 64) - 1
_INDEX_BITS = 24  # fixed, so that an order is the same for every length below 2**24


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: a bijection of uint64 whose output bits all depend on all input bits."""
    x = (x ^ (x >> np.uint64(30))) * _M1
    x = (x ^ (x >> np.uint64(27))) * _M2
    return x ^ (x >> np.uint64(31))


def word(text: str) -> int:
    """A stable 64-bit integer for a string (BLAKE2b); unlike ``hash`` it is equal in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def fold(*parts: int | str) -> int:
    """One 64-bit key from several integers and strings, order-sensitive."""
    state: Any = np.uint64(0)
    for part in parts:
        value = word(part) if isinstance(part, str) else part & _MASK64
        with np.errstate(over="ignore"):
            state = mix(np.asarray(state * _GOLDEN + np.uint64(value) + _GOLDEN, np.uint64))[()]
    return int(state)


def stream(keys: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """``n`` random 64-bit words for each key. keys: (...,) -> (..., n)."""
    with np.errstate(over="ignore"):
        counter = (np.arange(1, n + 1, dtype=np.uint64)) * _GOLDEN
        return mix(mix(keys)[..., None] + counter)


def permutation(
    keys: NDArray[np.uint64], n: int, among: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """A uniformly random order of ``range(n)`` for each key. keys: (...,) -> (..., n) int64.

    among: (..., n) bool; its True places come first, in random order, and the others follow. The order of
    a place among the others does not depend on ``n``, so padding a row changes nothing.
    """
    low = max(_INDEX_BITS, int(n - 1).bit_length())
    words = (stream(keys, n) >> np.uint64(low + 1)) << np.uint64(low)  # the top bit stays free
    if among is not None:
        words |= (~among).astype(np.uint64) << np.uint64(63)
    words |= np.arange(n, dtype=np.uint64)
    words.sort(axis=-1)  # unique words: any sort gives the one order
    return (words & np.uint64((1 << low) - 1)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one batch of samples.

    seed: the run's seed. ids: (B,) uint64 hashes of sample ids. visits: (B,) int64, how often the run
    has met each sample before. step: the optimizer step, for batch-level draws and schedules.
    view: which of several views of the sample is being drawn.
    """

    seed: int
    ids: NDArray[np.uint64]
    visits: NDArray[np.int64]
    step: int = 0
    view: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    def of_view(self, view: str) -> Keys:
        """The same samples, for another named view (independent draws)."""
        return replace(self, view=view)

    def rows(self, purpose: str) -> NDArray[np.uint64]:
        """One 64-bit key for each sample and purpose. -> (B,) uint64."""
        base = np.uint64(fold(self.seed, self.view, purpose))
        with np.errstate(over="ignore"):
            state = mix(self.ids.astype(np.uint64) + base * _GOLDEN)
            return mix(state ^ (self.visits.astype(np.uint64) * _GOLDEN + base))

    def bits(self, purpose: str, n: int) -> NDArray[np.uint64]:
        """``n`` random words for each sample. -> (B, n) uint64."""
        return stream(self.rows(purpose), n)

    def uniform(self, purpose: str, n: int) -> NDArray[np.float64]:
        """Uniform numbers in [0, 1) with 53 bits. -> (B, n) float64."""
        return (self.bits(purpose, n) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def integers(self, purpose: str, n: int, low: int, high: int) -> NDArray[np.int64]:
        """Uniform integers in [low, high), high > low. -> (B, n) int64."""
        return low + np.floor(self.uniform(purpose, n) * (high - low)).astype(np.int64)

    def order(
        self, purpose: str, n: int, among: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """A random order of ``range(n)`` for each sample, ``among`` (B, n) bool first. -> (B, n) int64."""
        return permutation(self.rows(purpose), n, among)

    def batch(self, purpose: str) -> int:
        """A 64-bit key of the whole step, the same on every rank and in every micro-batch."""
        return fold(self.seed, self.step, self.view, purpose)

    def generator(self, row: int, purpose: str) -> np.random.Generator:
        """A NumPy generator for one sample, for draws that have no closed form."""
        return np.random.Generator(np.random.Philox(key=int(self.rows(purpose)[row])))


def single(seed: int, sample: int, visit: int, *, step: int = 0) -> Keys:
    """The keys of one sample, given as its 64-bit id hash."""
    return Keys(seed, np.array([sample], np.uint64), np.array([visit], np.int64), step)


@contextmanager
def seeded_scope(key: int) -> Iterator[None]:
    """Seed Python, NumPy and torch's default generator from ``key`` and restore all three on leaving.

    For third-party transforms that draw from global generators: inside, their draws depend on the key only.
    """
    import torch

    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    random.seed(key)
    np.random.seed(key & 0xFFFFFFFF)
    torch.random.default_generator.manual_seed(key & 0x7FFFFFFFFFFFFFFF)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.random.set_rng_state(torch_state)
