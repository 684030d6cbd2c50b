"""Patches of grids and their inverse."""

from __future__ import annotations

import pytest
import torch

from mmask.errors import RecipeError
from mmask.tokenize.grid import grid_shape, patchify, unpatchify


@pytest.mark.parametrize(
    ("extent", "patch", "channels"),
    [((12,), (4,), 2), ((8, 12), (4, 2), 3), ((4, 6, 10), (2, 3, 5), 1), ((5, 5), (5, 5), 4)],
)
def test_unpatchify_is_the_inverse_of_patchify(extent, patch, channels):
    values = torch.randn(2, channels, *extent)
    patches = patchify(values, patch)
    assert torch.equal(unpatchify(patches, grid_shape(extent, patch), patch, channels), values)


def test_patches_are_row_major_and_pixels_are_row_column_channel():
    values = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    patches = patchify(values, (2, 3))
    assert patches.shape == (2, 4, 18)
    for place, (top, left) in enumerate([(0, 0), (0, 3), (2, 0), (2, 3)]):
        want = [values[1, c, top + i, left + j].item() for i in range(2) for j in range(3) for c in range(3)]
        assert patches[1, place].tolist() == want


def test_a_size_that_does_not_divide_names_the_ones_that_do():
    with pytest.raises(RecipeError, match="100 is not a multiple of 16") as error:
        grid_shape((96, 100), (16, 16))
    assert "96, 112" in error.value.hint
    with pytest.raises(RecipeError, match="2 axes"):
        grid_shape((4,), (2, 2))


def test_patches_that_do_not_fit_their_grid_are_refused():
    with pytest.raises(RecipeError, match="grid"):
        unpatchify(torch.zeros(1, 4, 12), (2, 3), (2, 2), 3)
