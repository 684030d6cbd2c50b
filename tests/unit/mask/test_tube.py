"""Laws of the tube masker."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.errors import PlanError
from mmask.keyed import Keys
from mmask.mask.block import BlockMasker
from mmask.mask.random import RandomMasker
from mmask.mask.tube import TubeMasker
from mmask.types import Layout


def keys(batch):
    return Keys(0, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


@pytest.mark.parametrize("spatial", [RandomMasker(ratio=0.9), BlockMasker(ratio=0.5)])
def test_every_frame_has_the_plan_of_the_spatial_masker(spatial):
    plan = TubeMasker(spatial=spatial).plan(Layout(6, 8 * 49, (8, 7, 7)), keys(6))
    frames = plan.hidden.view(6, 8, 49)
    alone = spatial.plan(Layout(6, 49, (7, 7)), keys(6)).hidden
    assert torch.equal(frames, alone[:, None].expand_as(frames))
    assert plan.keep_count is None


def test_a_clip_of_any_length_has_the_same_tubes_and_padded_frames_hide_nothing():
    masker = TubeMasker(spatial=RandomMasker(ratio=0.5))
    valid = torch.arange(4 * 9) < torch.tensor([[2 * 9], [4 * 9]])
    plan = masker.plan(Layout(2, 36, (4, 3, 3), valid), keys(2)).hidden.view(2, 4, 9)
    longer = masker.plan(Layout(2, 54, (6, 3, 3)), keys(2)).hidden.view(2, 6, 9)
    assert torch.equal(plan[1], longer[1, :4])
    assert torch.equal(plan[0, :2], longer[0, :2])
    assert not plan[0, 2:].any()


def test_a_place_that_is_special_in_one_frame_is_hidden_in_none():
    special = torch.zeros(5, 18, dtype=torch.bool)
    special[:, 4] = True
    layout = Layout(5, 18, (2, 3, 3), special=special)
    plan = TubeMasker(spatial=RandomMasker(ratio=0.9)).plan(layout, keys(5))
    assert not plan.hidden[:, [4, 13]].any()


def test_a_single_image_is_refused_with_a_way_out():
    with pytest.raises(PlanError, match="spatial masker itself"):
        TubeMasker(spatial=RandomMasker()).plan(Layout(2, 9, (3, 3)), keys(2))
