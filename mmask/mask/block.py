"""BlockMasker: rectangles of a grid, one after another, until enough is hidden."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import TYPE_CHECKING

import numpy as np

from mmask.errors import PlanError, RecipeError
from mmask.keyed import permutation
from mmask.mask.budget import check_visible
from mmask.mask.ratio import Ratio, check_ratio, ratio_at
from mmask.types import MaskPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmask.keyed import Keys
    from mmask.types import Layout

_TRIES = 32  # rectangles looked at together; each is drawn by its own number, so this changes no plan
_BOOKS = 16  # after 512 rectangles an exact count is filled up from the blocks' edges


class BlockMasker:
    """BEiT's block-wise masking (Bao et al. 2021, algorithm 1), on a grid of two axes.

    Again and again a rectangle is drawn: its area uniform between ``min_area`` and what is still to be
    hidden, the logarithm of its aspect (height over width) uniform in ``aspect``, its corner uniform. It is
    taken when it is smaller than the grid along both axes and hides at least one new place and no more than
    are left.

    ratio: share of the places that may be hidden, rounded to the nearest number. count: the number itself
        (BEiT 75 of 196; CAE 98 of 196); wins over ``ratio``.
    min_area: places of the smallest rectangle while more than that are to be hidden.
    aspect: lowest and highest height over width.
    exact: hide exactly that many in every sample (CAE). Otherwise a sample is done when ``tries`` rectangles
        in a row were refused (BEiT), and may stay a little below the count.
    tries: see ``exact``.
    """

    def __init__(
        self, *, ratio: Ratio = 0.4, count: int | None = None, min_area: int = 16,
        aspect: tuple[float, float] = (0.3, 1 / 0.3), exact: bool = True, tries: int = 10,
    ) -> None:
        check_ratio(ratio)
        if not 0 < aspect[0] <= aspect[1]:
            raise RecipeError(f"mask.aspect is {tuple(aspect)}; it is a lowest and a highest ratio above 0")
        if min_area < 1 or tries < 1 or (count is not None and count < 0):
            raise RecipeError("mask.min_area and mask.tries are at least 1, mask.count at least 0")
        self.ratio, self.count, self.min_area = ratio, count, min_area
        self.aspect, self.exact, self.tries = (float(aspect[0]), float(aspect[1])), exact, tries

    def plan(self, layout: Layout, keys: Keys) -> MaskPlan:
        """The plan of each sample. Raises PlanError off a two-axis grid, or if nothing would stay visible."""
        import torch

        free = _grid(layout)
        there = free.sum((1, 2))
        goal = np.rint(there * ratio_at(self.ratio, keys.step)).astype(np.int64)
        if self.count is not None:
            goal = np.minimum(self.count, there)
        hidden = np.zeros_like(free)
        left, misses = goal.copy(), np.zeros(len(goal), np.int64)
        for book in range(_BOOKS):
            rows = np.flatnonzero((left > 0) & (self.exact | (misses < self.tries)))
            if not len(rows):
                break
            some = replace(keys, ids=keys.ids[rows], visits=keys.visits[rows])
            draws = some.uniform(f"block{book}", 4 * _TRIES).reshape(len(rows), _TRIES, 4)
            state = hidden[rows], free[rows], left[rows], misses[rows]
            self._book(draws, *state)
            hidden[rows], left[rows], misses[rows] = state[0], state[2], state[3]
        if self.exact:
            for row in np.flatnonzero(left > 0):
                _fill(hidden[row], free[row], int(left[row]), keys.rows("fill")[row])
        flat = hidden.reshape(len(hidden), -1)
        check_visible(layout, flat, "lower mask.ratio or mask.count")
        return MaskPlan.of_hidden(layout, torch.from_numpy(flat))

    def _book(
        self, draws: NDArray[np.float64], hidden: NDArray[np.bool_], free: NDArray[np.bool_],
        left: NDArray[np.int64], misses: NDArray[np.int64],
    ) -> None:
        """Go through the rectangles ``draws`` (R, tries, 4) of R samples, changing their state in place."""
        number, at = np.arange(_TRIES)[None], np.zeros(len(left), np.int64)
        live = np.arange(len(left))
        while len(live):
            box, fits = self._boxes(draws[live], left[live], hidden.shape[1:])
            new = _count(free[live] & ~hidden[live], box)
            taken = fits & (new > 0) & (new <= left[live][:, None]) & (number >= at[live][:, None])
            first = np.where(taken.any(1), taken.argmax(1), _TRIES)
            run = misses[live] + first - at[live]
            if not self.exact:
                first = np.where(run >= self.tries, _TRIES, first)
            hit = first < _TRIES
            misses[live] = np.where(hit, 0, run)
            at[live] = first + 1
            chosen = live[hit]
            picked = tuple(side[hit, first[hit]] for side in box)
            hidden[chosen] |= _inside(picked, hidden.shape[1:]) & free[chosen]
            left[chosen] -= new[hit, first[hit]]
            live = chosen[left[chosen] > 0]

    def _boxes(
        self, draws: NDArray[np.float64], left: NDArray[np.int64], grid: tuple[int, ...]
    ) -> tuple[tuple[NDArray[np.int64], ...], NDArray[np.bool_]]:
        """Rectangles as (top, bottom, start, end), each (R, tries), and which are smaller than the grid."""
        area = self.min_area + draws[..., 0] * (left[:, None] - self.min_area)
        low, high = log(self.aspect[0]), log(self.aspect[1])
        aspect = np.exp(low + draws[..., 1] * (high - low))
        height = np.rint(np.sqrt(area * aspect)).astype(np.int64)
        width = np.rint(np.sqrt(area / aspect)).astype(np.int64)
        fits = (height > 0) & (width > 0) & (height < grid[0]) & (width < grid[1])
        height, width = np.where(fits, height, 1), np.where(fits, width, 1)
        top = (draws[..., 2] * (grid[0] - height + 1)).astype(np.int64)
        start = (draws[..., 3] * (grid[1] - width + 1)).astype(np.int64)
        return (top, top + height, start, start + width), fits


def _grid(layout: Layout) -> NDArray[np.bool_]:
    """(B, H, W) bool: the places that may be hidden. Raises PlanError off a grid of two axes."""
    grid = layout.grid
    if grid is None or layout.index is not None or len(grid) != 2 or min(grid) < 2:
        raise PlanError(
            f"blocks need a whole grid of two axes, at least 2 x 2; this layout has {grid or 'a sequence'}",
            hint="mask sequences with use='span', clips with use='tube' around a block masker",
        )
    return layout.maskable().numpy().reshape(-1, *grid)


def _count(cells: NDArray[np.bool_], box: tuple[NDArray[np.int64], ...]) -> NDArray[np.int64]:
    """How many of ``cells`` (R, H, W) lie in each rectangle. -> (R, tries), by a summed-area table."""
    table = np.zeros((len(cells), cells.shape[1] + 1, cells.shape[2] + 1), np.int32)
    table[:, 1:, 1:] = cells.cumsum(1, dtype=np.int32).cumsum(2, dtype=np.int32)
    top, bottom, start, end = box
    row = np.arange(len(cells))[:, None]
    below = table[row, bottom, end] - table[row, bottom, start]
    return (below - table[row, top, end] + table[row, top, start]).astype(np.int64)


def _inside(box: tuple[NDArray[np.int64], ...], grid: tuple[int, ...]) -> NDArray[np.bool_]:
    """(R, H, W) bool, True in one rectangle of each sample."""
    top, bottom, start, end = (side[:, None] for side in box)
    rows, columns = np.arange(grid[0])[None], np.arange(grid[1])[None]
    return ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= start) & (columns < end))[:, None, :]


def _fill(hidden: NDArray[np.bool_], free: NDArray[np.bool_], left: int, key: np.uint64) -> None:
    """Hide ``left`` more places of one sample, those beside hidden ones first, in random order."""
    order = permutation(np.asarray(key, np.uint64), hidden.size)
    beside = np.zeros_like(hidden)
    beside[1:] |= hidden[:-1]
    beside[:-1] |= hidden[1:]
    beside[:, 1:] |= hidden[:, :-1]
    beside[:, :-1] |= hidden[:, 1:]
    open_to = (free & ~hidden).ravel()
    near = [place for place in order if open_to[place] and beside.ravel()[place]]
    far = [place for place in order if open_to[place] and not beside.ravel()[place]]
    hidden.reshape(-1)[(near + far)[:left]] = True
