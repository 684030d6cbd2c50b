"""Square units that hide together."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
import torch

from mmask.errors import PlanError, RecipeError
from mmask.keyed import Keys
from mmask.mask.units import UnitMasker
from mmask.types import Layout


def keys(batch: int, seed: int = 0) -> Keys:
    return Keys(seed, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


@pytest.mark.parametrize(
    ("grid", "unit", "ratio"), [((14, 14), 2, 0.6), ((6, 6), 1, 0.6), ((4, 10), (2, 5), 0.5), ((4, 6, 8), 2, 0.25)]
)
def test_exactly_the_rounded_up_share_of_units_hides_and_each_hides_whole(grid, unit, ratio):
    layout = Layout(64, int(np.prod(grid)), grid=grid)
    masker = UnitMasker(unit=unit, ratio=ratio)
    cells = masker.plan(layout, keys(64)).hidden.view(64, *grid)
    units, sides = masker.units(layout)
    for axis, side in enumerate(sides):
        cells = cells.unflatten(1 + 2 * axis, (units[axis], side))
    inside = tuple(range(2, cells.ndim, 2))
    whole, some = cells.float().mean(inside), cells.float().amax(inside)
    assert torch.equal(whole, some)
    assert set(some.flatten(1).sum(1).tolist()) == {ceil(round(np.prod(units) * ratio, 9))}


def test_the_numbers_of_the_paper():
    vit = UnitMasker(unit=2, ratio=0.6).plan(Layout(8, 196, grid=(14, 14)), keys(8))
    swin = UnitMasker(unit=1, ratio=0.6).plan(Layout(8, 36, grid=(6, 6)), keys(8))
    assert set(vit.hidden.sum(1).tolist()) == {120}
    assert set(swin.hidden.sum(1).tolist()) == {22}


def test_float_noise_does_not_hide_one_more():
    layout = Layout(4, 100, grid=(10, 10))
    for tenths in range(1, 10):
        plan = UnitMasker(unit=1, ratio=tenths / 10).plan(layout, keys(4))
        assert set(plan.hidden.sum(1).tolist()) == {tenths * 10}


def test_units_are_hidden_alike_often():
    layout = Layout(4000, 16, grid=(4, 4))
    often = UnitMasker(unit=2, ratio=0.5).plan(layout, keys(4000)).hidden.float().mean(0)
    assert (often - 0.5).abs().max() < 0.04


def test_a_sample_has_its_plan_in_any_batch():
    masker = UnitMasker(unit=2, ratio=0.5)
    many = masker.plan(Layout(9, 64, grid=(8, 8)), keys(9)).hidden
    last = Keys(0, np.array([8], np.uint64), np.zeros(1, np.int64))
    assert torch.equal(many[8:], masker.plan(Layout(1, 64, grid=(8, 8)), last).hidden)


def test_what_does_not_fit_is_an_error():
    with pytest.raises(PlanError, match="do not tile"):
        UnitMasker(unit=3).plan(Layout(1, 64, grid=(8, 8)), keys(1))
    with pytest.raises(PlanError, match="whole grid"):
        UnitMasker().plan(Layout(1, 64), keys(1))
    with pytest.raises(PlanError, match="all 4 units"):
        UnitMasker(unit=4, ratio=0.9).plan(Layout(1, 64, grid=(8, 8)), keys(1))
    valid = torch.ones(1, 64, dtype=torch.bool)
    valid[0, 3] = False
    with pytest.raises(PlanError, match="padding"):
        UnitMasker().plan(Layout(1, 64, grid=(8, 8), valid=valid), keys(1))
    with pytest.raises(RecipeError, match=r"mask\.ratio"):
        UnitMasker(ratio=1.0)
