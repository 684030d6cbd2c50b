"""Values of one field -> a tensor, padded where they differ along one axis."""

from __future__ import annotations

import pytest
import torch

from mmask.data.collate import stack
from mmask.errors import DataError


def test_rows_are_padded_at_their_end_and_their_lengths_are_kept() -> None:
    made = stack("x", [torch.ones(2, 3), torch.ones(4, 3)], ragged=True)
    assert made["x"].shape == (2, 4, 3) and made["x.length"].tolist() == [2, 4] and not made["x"][0, 2:].any()


@pytest.mark.parametrize("other", [(2, 5), (4, 5)])
def test_features_of_other_sizes_are_not_filled_up(other: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="rows of different sizes"):
        stack("x", [torch.ones(2, 3), torch.ones(other)], ragged=True)
