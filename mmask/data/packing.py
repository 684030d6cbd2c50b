"""How the samples of one window are put together by length: best-fit packs, or buckets of like length.

Both are pure functions of the lengths and a key, and take each sample exactly once.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmask.keyed import fold, permutation, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray


def best_fit(lengths: Sequence[int], capacity: int, key: int) -> list[list[int]]:
    """Packs of whole samples whose lengths sum to at most ``capacity``, as lists of indices, in random order.

    Best-fit decreasing (Johnson 1973, "Near-optimal bin packing algorithms"): longest first, each into the
    fullest pack that has room. Every length must be in 0..capacity.
    """
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (what is left, pack), ascending
    for index in sorted(range(len(lengths)), key=lambda one: (-lengths[one], one)):
        size = lengths[index]
        if not 0 <= size <= capacity:
            raise ValueError(f"length {size} does not fit a pack of {capacity}")
        at = bisect_left(room, (size, -1))
        left, pack = room.pop(at) if at < len(room) else (capacity, len(packs))
        if pack == len(packs):
            packs.append([])
        packs[pack].append(index)
        insort(room, (left - size, pack))
    order = permutation(np.array([fold(key, "packs")], np.uint64), len(packs))[0] if packs else []
    return [sorted(packs[int(one)]) for one in order]


def buckets(lengths: Sequence[int], keys: NDArray[np.uint64], size: int, jitter: float, key: int) -> list[list[int]]:
    """Buckets of ``size`` samples of like length (the last one made may be smaller), as lists of indices.

    Samples are sorted by length x (1 + a random number within +-``jitter``) drawn from ``keys`` (m,), one of each
    sample. The order of the buckets depends on ``key`` and their number alone, so windows of other lanes with the
    same key serve like lengths at the same time.
    """
    if not len(lengths):
        return []
    noise = (stream(keys, 1)[:, 0] >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    rank = np.argsort(np.asarray(lengths) * (1 + jitter * noise), kind="stable")
    made = [sorted(rank[first : first + size].tolist()) for first in range(0, len(rank), size)]
    order = permutation(np.array([fold(key, "buckets")], np.uint64), len(made))[0]
    return [made[int(one)] for one in order]
