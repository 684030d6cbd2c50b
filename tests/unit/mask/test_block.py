"""Laws of the block masker."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from mmask.errors import PlanError, RecipeError
from mmask.keyed import Keys
from mmask.mask.block import BlockMasker
from mmask.types import Layout


def keys(batch, seed=0):
    return Keys(seed, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


def one_after_another(masker, free, goal, draw):
    """The algorithm as the papers write it, one rectangle at a time; ``draw(n)`` gives four numbers."""
    hidden, misses, number = np.zeros_like(free), 0, 0
    low, high = map(log, masker.aspect)
    while goal > 0 and (masker.exact or misses < masker.tries) and number < 512:
        u, number = draw(number), number + 1
        area, aspect = masker.min_area + u[0] * (goal - masker.min_area), np.exp(low + u[1] * (high - low))
        h, w = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        misses += 1
        if not (0 < h < free.shape[0] and 0 < w < free.shape[1]):
            continue
        top, left = int(u[2] * (free.shape[0] - h + 1)), int(u[3] * (free.shape[1] - w + 1))
        box = (slice(top, top + h), slice(left, left + w))
        new = int((free[box] & ~hidden[box]).sum())
        if 0 < new <= goal:
            hidden[box] |= free[box]
            goal, misses = goal - new, 0
    return hidden, goal


@pytest.mark.parametrize("exact", [True, False])
def test_the_vectorised_draw_is_the_sequential_algorithm(exact):
    masker, some = BlockMasker(count=75, exact=exact), keys(40)
    plan = masker.plan(Layout(40, 196, (14, 14)), some)
    compared = 0
    for row in range(40):
        def draw(number, row=row):
            return some.uniform(f"block{number // 32}", 128)[row].reshape(32, 4)[number % 32]

        hidden, left = one_after_another(masker, np.ones((14, 14), bool), 75, draw)
        if left == 0 or not exact:
            assert np.array_equal(plan.hidden[row].numpy().reshape(14, 14), hidden)
            compared += 1
    assert compared >= 38


def test_caes_count_is_exact_over_a_thousand_draws():
    plan = BlockMasker(count=98).plan(Layout(1000, 196, (14, 14)), keys(1000))
    assert (plan.hidden.sum(1) == 98).all()
    assert plan.keep_count is None
    assert plan.keep_idx.shape == (1000, 98)


def test_beits_count_is_reached_or_nearly_and_never_passed():
    hidden = BlockMasker(count=75, exact=False).plan(Layout(1000, 196, (14, 14)), keys(1000)).hidden.sum(1)
    assert hidden.max() <= 75
    assert hidden.min() >= 55
    assert hidden.float().mean() > 72


def test_blocks_are_clumped_where_random_places_are_not():
    hidden = BlockMasker(count=75).plan(Layout(500, 196, (14, 14)), keys(500)).hidden.view(-1, 14, 14)
    both = (hidden[:, 1:] & hidden[:, :-1]).float().mean().item()
    assert both > 1.7 * (75 / 196) ** 2  # independent places would be both hidden by (75 / 196)^2


def test_no_side_of_the_grid_is_favoured():
    hidden = BlockMasker(count=75).plan(Layout(4000, 196, (14, 14)), keys(4000)).hidden
    share = hidden.float().mean(0).view(14, 14)
    for flipped in (share.flip(0), share.flip(1), share.T):
        assert (share - flipped).abs().max() < 0.05  # five deviations of a difference of two shares


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.6, 0.85])
@pytest.mark.parametrize("grid", [(2, 2), (3, 17), (14, 14)])
def test_any_share_of_any_grid_is_exact(ratio, grid):
    places = grid[0] * grid[1]
    plan = BlockMasker(ratio=ratio).plan(Layout(20, places, grid), keys(20))
    assert (plan.hidden.sum(1) == int(np.rint(places * ratio))).all()


def test_the_share_is_of_the_places_that_may_be_hidden():
    valid = (torch.arange(64) % 8 < 5).expand(12, -1)
    plan = BlockMasker(ratio=0.5, min_area=2).plan(Layout(12, 64, (8, 8), valid), keys(12))
    assert (plan.hidden.sum(1) == 20).all()
    assert not (plan.hidden & ~valid).any()


def test_what_cannot_be_drawn_is_refused_with_a_way_out():
    with pytest.raises(PlanError, match="use='span'"):
        BlockMasker().plan(Layout(2, 9), keys(2))
    with pytest.raises(PlanError, match=r"lower mask\.ratio"):
        BlockMasker(ratio=1.0).plan(Layout(2, 16, (4, 4)), keys(2))
    for options in ({"ratio": 1.5}, {"aspect": (2.0, 1.0)}, {"min_area": 0}, {"count": -1}):
        with pytest.raises(RecipeError):
            BlockMasker(**options)
