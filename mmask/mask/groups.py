"""Groups of places (words, entities, regions) by their first place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def leaders(ids: NDArray[np.int64], free: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(B, N) the first place of each place's group, counting only ``free`` ones; N where a place is not free.

    ids: (B, N), -1 for places of no group, which lead themselves. Groups are known by their first place, so neither
    the numbers that the tokenizer gave them nor padding changes a plan.
    """
    grouped = free & (ids >= 0)
    seen = np.maximum.accumulate(np.where(grouped, ids, -1), axis=1)
    if bool((seen == ids)[grouped].all()):
        return _ascending(seen, grouped, free)
    width = ids.shape[1]
    place = np.arange(width)[None]
    alone = ids.max(initial=0) + 1 + place
    key = np.where(free, np.where(ids >= 0, ids, alone), ids.max(initial=0) + 1 + width)
    order = np.argsort(key, axis=1, kind="stable")
    ordered = np.take_along_axis(key, order, 1)
    first = np.ones(ids.shape, bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = np.maximum.accumulate(np.where(first, place, 0), axis=1)
    leader = np.empty(ids.shape, np.int64)
    np.put_along_axis(leader, order, np.take_along_axis(order, start, 1), 1)
    return np.where(free, leader, width)


def _ascending(
    seen: NDArray[np.int64], grouped: NDArray[np.bool_], free: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """`leaders` of groups whose numbers never fall along a row, as words' do not: without a sort.

    seen: (B, N) the highest number up to each place, -1 before the first group.
    """
    width = seen.shape[1]
    place = np.arange(width)[None]
    first = grouped.copy()
    first[:, 1:] &= seen[:, 1:] != seen[:, :-1]
    start = np.maximum.accumulate(np.where(first, place, 0), axis=1)
    return np.where(free, np.where(grouped, start, place), width)


def ranks(leader: NDArray[np.int64], free: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups counted from the left: (B, N) the how-many-th group of its row each free place belongs to, N elsewhere,
    and (B, N) places of each group, 0 after the last."""
    batch, width = leader.shape
    leads = free & (leader == np.arange(width)[None])
    number = np.full((batch, width + 1), width, np.int64)
    number[:, :width] = leads.cumsum(1) - 1
    rank = np.where(free, np.take_along_axis(number, leader, 1), width)
    flat = (rank + np.arange(batch)[:, None] * (width + 1)).ravel()
    size = np.bincount(flat, minlength=batch * (width + 1)).reshape(batch, width + 1)[:, :width]
    return rank, size
