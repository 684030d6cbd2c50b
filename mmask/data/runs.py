"""How far a stored order is from a random one: runs of equal values, likeness of neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEWEST_LABELS, _FEWEST_SIZES = 32, 128
_SIGMAS = 6


@dataclass(frozen=True, slots=True)
class Runs:
    """Equal neighbours among n values. equal: the share of neighbours that are equal; expected: that share in a
    random order of the same values; longest: samples of the longest run."""

    n: int
    equal: float
    expected: float
    longest: int

    @property
    def clumped(self) -> bool:
        """Whether the order is far from random: more equal neighbours than six standard deviations, and than a
        tenth of all that could be, can explain."""
        if self.n < _FEWEST_LABELS or self.expected >= 1:
            return False
        noise = _SIGMAS * (self.expected * (1 - self.expected) / (self.n - 1)) ** 0.5
        return self.equal > self.expected + max(noise, 0.1 * (1 - self.expected))


def runs(values: Any) -> Runs:
    """Runs in (n,) values in stored order. With counts n_k, neighbours of a random order are equal with
    probability sum n_k (n_k - 1) / (n (n - 1))."""
    values = np.asarray(values)
    n = len(values)
    if n < 2:
        return Runs(n, 0.0, 1.0, n)
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [n]]))
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    expected = float((counts * (counts - 1)).sum() / (n * (n - 1)))
    return Runs(n, 1 - len(changes) / (n - 1), expected, int(lengths.max()))


def classes_in_blocks(labels: NDArray[Any], block: int) -> tuple[float, int]:
    """The mean number of classes in a block of consecutive samples, and the number of classes."""
    n = len(labels)
    starts = range(0, n - block + 1, max(block, n // 64))
    return float(np.mean([len(np.unique(labels[at : at + block])) for at in starts])), len(np.unique(labels))


def neighbours(sizes: NDArray[Any]) -> float:
    """Rank correlation of each value with the next one; 0 for fewer than 128 values or equal ones."""
    if len(sizes) < _FEWEST_SIZES or sizes.min() == sizes.max():
        return 0.0
    ranks = np.argsort(np.argsort(sizes, kind="stable"), kind="stable").astype(np.float64)
    return float(np.corrcoef(ranks[:-1], ranks[1:])[0, 1])
