"""Cells, tiles and their rims."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from mmask.api import Layout, MaskPlan, PlanError
from mmask_image.spark.cells import Cells, cut
from mmask_image.spark.halo import halo


def test_tiles_put_back_are_the_map_with_zeros_at_hidden_cells(cells, visible):
    dense = torch.randn(3, 5, 12, 8)
    wide = visible.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    assert torch.equal(cells.dense(cells.tiles(dense)), torch.where(wide, dense, 0.0))
    token = torch.randn(5)
    filled = cells.fill(cells.tiles(dense), token)
    assert torch.equal(filled, torch.where(wide, dense, token.view(1, -1, 1, 1)))


def test_cells_are_those_of_the_plan(visible):
    layout = Layout(3, 6, grid=(3, 2))
    plan = MaskPlan.of_hidden(layout, ~visible.flatten(1))
    cells = Cells.of(plan)
    assert torch.equal(cells.visible, visible)
    assert len(cells) == int(visible.sum())
    assert torch.equal(cells.row, visible.flatten(1).nonzero()[:, 0])


def test_a_plan_without_a_grid_or_without_visible_cells_is_refused():
    flat = Layout(1, 4)
    with pytest.raises(PlanError, match="two axes"):
        Cells.of(MaskPlan.nothing(flat))
    with pytest.raises(PlanError, match="visible"):
        Cells.where(torch.zeros(1, 2, 2, dtype=torch.bool))


@pytest.mark.parametrize(("low", "high"), [(1, 1), (3, 2), (0, 1), (2, 0), (4, 4)])
def test_a_rim_is_what_the_padded_map_holds_around_a_tile(cells, visible, low, high):
    t = 4
    dense = cells.dense(cells.tiles(torch.randn(3, 2, 12, 8)))
    wide = visible.repeat_interleave(t, 1).repeat_interleave(t, 2)[:, None].expand_as(dense)
    padded = F.pad(torch.where(wide, dense, -7.0), (low, high, low, high), value=-7.0)
    got = halo(cells.tiles(dense), cells, low, high, -7.0)
    for n, place in enumerate(visible.nonzero().tolist()):
        b, i, j = place
        window = padded[b, :, i * t : i * t + low + t + high, j * t : j * t + low + t + high]
        assert torch.equal(got[n], window)


def test_gradients_of_tiles_and_rims_are_right(cells):
    dense = torch.randn(3, 2, 6, 4, dtype=torch.float64, requires_grad=True)
    token = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def through(x, v):
        return cells.fill(halo(cells.tiles(x), cells, 2, 1)[:, :, 1:3, 1:3] ** 2, v)

    assert gradcheck(through, (dense, token))


def test_a_map_that_does_not_fit_the_grid_is_refused(cells):
    with pytest.raises(PlanError, match="grid of 3"):
        cut(torch.zeros(3, 1, 7, 4), cells.index, cells.grid)
    with pytest.raises(PlanError, match="7 rows"):
        cells.side(7)
