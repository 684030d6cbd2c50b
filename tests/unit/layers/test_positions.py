"""Fixed position tables against a plain loop, and resizing."""

from __future__ import annotations

import math

import pytest
import torch
from timm.layers import resample_abs_pos_embed

from mmask.errors import RecipeError
from mmask.layers.positions import resize_positions, sincos


def plain(width, grid):
    """One number at a time, from the definition."""
    share, rows = width // len(grid), []
    places = [()]
    for size in grid:
        places = [(*place, i) for place in places for i in range(size)]
    for place in places:
        row = []
        for coordinate in reversed(place):
            angles = [coordinate / 10000 ** (2 * i / share) for i in range(share // 2)]
            row += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(("width", "grid"), [(8, (5,)), (16, (4, 4)), (16, (2, 7)), (12, (3, 2, 4))])
def test_the_table_is_the_definition_on_any_grid(width, grid):
    assert (sincos(width, grid).double() - plain(width, grid)).abs().max() < 1e-6


def test_columns_take_the_first_half_of_the_channels():
    table = sincos(8, (3, 5)).view(3, 5, 8)
    assert torch.equal(table[0, 2, :4], table[2, 2, :4])
    assert torch.equal(table[1, 0, 4:], table[1, 4, 4:])


def test_prefix_rows_are_zero():
    assert sincos(8, (2, 2), prefix=2)[:2].abs().max() == 0


def test_a_width_that_cannot_be_split_names_what_would_fit():
    with pytest.raises(RecipeError, match="width 10") as error:
        sincos(10, (4, 4))
    assert "multiple of 4" in error.value.hint


def test_resizing_is_timms_for_pictures_and_keeps_prefix_rows():
    table = torch.randn(1, 1 + 12, 8)
    out = resize_positions(table, (3, 4), (6, 5), prefix=1)
    assert torch.equal(out, resample_abs_pos_embed(table, [6, 5], [3, 4], num_prefix_tokens=1))
    assert torch.equal(out[:, 0], table[:, 0])
    assert resize_positions(table, (3, 4), (3, 4), prefix=1) is table


@pytest.mark.parametrize(("old", "new"), [((4,), (9,)), ((2, 3, 2), (4, 3, 3))])
def test_other_numbers_of_axes_are_resized_linearly(old, new):
    flat = torch.ones(1, math.prod(old) + 1, 6)
    out = resize_positions(flat, old, new, prefix=1)
    assert out.shape == (1, math.prod(new) + 1, 6)
    assert (out - 1).abs().max() < 1e-6


def test_a_table_that_is_not_of_its_grid_is_refused():
    with pytest.raises(RecipeError, match="13 rows"):
        resize_positions(torch.zeros(1, 13, 8), (3, 3), (4, 4), prefix=1)
