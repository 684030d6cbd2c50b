"""ClusterMasker: exact counts, even shares of every place, and the released rule's unevenness where asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.errors import PlanError, RecipeError
from mmask.keyed import Keys
from mmask.mask.cluster import ClusterMasker
from mmask.types import Layout


def keys(count, first=0):
    return Keys(5, np.arange(first, first + count, dtype=np.uint64), np.zeros(count, np.int64))


def test_an_exact_number_is_hidden_and_every_place_as_often():
    count = 3000
    plan = ClusterMasker(count=400).plan(Layout(count, 512, grid=(8, 64)), keys(count))
    assert plan.hidden.sum(1).eq(400).all()
    share = plan.hidden.float().mean(0)
    assert share.min() > 400 / 512 - 0.04 and share.max() < 400 / 512 + 0.04  # 5 deviations of 3,000 draws
    rows = share.view(8, 64).mean(1)
    assert (rows - 400 / 512).abs().max() < 0.02


def test_hidden_places_lie_together():
    """Neighbours agree more often than places drawn on their own would."""
    plan = ClusterMasker(ratio=0.3).plan(Layout(300, 512, grid=(8, 64)), keys(300))
    hidden = plan.hidden.view(300, 8, 64).float()
    both = (hidden[:, :, 1:] * hidden[:, :, :-1]).mean()
    assert both > 0.18 > 0.3**2


def test_the_released_rule_is_uneven():
    plan = ClusterMasker(count=400, reference=True).plan(Layout(400, 512, grid=(8, 64)), keys(400))
    assert plan.hidden.sum(1).eq(400).all() and not plan.hidden[:, 0].any()
    rows = plan.hidden.float().mean(0).view(8, 64).mean(1)
    assert rows[0] == pytest.approx(0.42, abs=0.03) and rows[1] == pytest.approx(0.67, abs=0.03)
    assert rows[3] > 0.85


def test_a_plan_is_its_samples_own_and_spares_padding():
    valid = torch.ones(4, 64, dtype=torch.bool).view(4, 8, 8)
    valid[2, :, 5:] = False
    layout = Layout(4, 64, grid=(8, 8), valid=valid.flatten(1))
    plan = ClusterMasker(ratio=0.75).plan(layout, keys(4))
    assert plan.hidden.sum(1).tolist() == [48, 48, 30, 48]
    assert not (plan.hidden & ~layout.valid).any()
    alone = ClusterMasker(ratio=0.75).plan(layout.rows(2, 3), keys(1, first=2))
    assert torch.equal(alone.hidden[0], plan.hidden[2])


def test_what_cannot_be_clustered_is_said():
    with pytest.raises(PlanError, match="a whole grid of two axes"):
        ClusterMasker().plan(Layout(1, 64), keys(1))
    with pytest.raises(PlanError, match="all 4 places of sample 0 would be hidden"):
        ClusterMasker(count=9).plan(Layout(1, 4, grid=(2, 2)), keys(1))
    with pytest.raises(RecipeError, match="sizes"):
        ClusterMasker(sizes=())
