"""Hidden places leave the sequence."""

from __future__ import annotations

import pytest
import torch

from mmask.corrupt.drop import Drop
from mmask.errors import PlanError
from mmask.types import Action, Layout, MaskPlan, Tokens, View


def ragged():
    layout = Layout(2, 6, grid=(2, 3))
    hidden = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 0, 1, 0, 0, 0]], dtype=torch.bool)
    return layout, MaskPlan.of_hidden(layout, hidden)


def test_kept_tokens_come_in_the_plans_order_with_where_they_were():
    layout = Layout(1, 6, grid=(2, 3))
    plan = MaskPlan.of_order(layout, torch.tensor([[4, 1, 0, 2, 3, 5]]), 2)
    values = torch.randn(1, 6, 3)
    kept = Drop()(View("clean", {"x": Tokens(layout, values)}), "x", plan)
    assert torch.equal(kept.values, values[:, [4, 1]])
    assert kept.layout.index.tolist() == [[4, 1]]
    assert kept.layout.positions == 6
    assert kept.layout.valid is None


def test_ids_with_codebooks_and_ragged_plans_keep_their_validity():
    layout, plan = ragged()
    ids = torch.arange(2 * 6 * 2).view(2, 6, 2)
    kept = Drop()(View("clean", {"x": Tokens(layout, ids=ids)}), "x", plan)
    assert kept.layout.valid.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    for b in range(2):
        assert torch.equal(kept.ids[b][kept.layout.valid[b]], ids[b][~plan.hidden[b]])


def test_flat_tokens_stay_flat():
    valid = torch.arange(6)[None] < torch.tensor([4, 6])[:, None]
    layout = Layout(2, 6, valid=valid)
    hidden = torch.tensor([[1, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0]], dtype=torch.bool)
    plan = MaskPlan.of_hidden(layout, hidden)
    offsets = torch.tensor([0, 4, 10], dtype=torch.int32)
    tokens = Tokens(layout, torch.arange(10.0)[:, None], cu_seqlens=offsets)
    kept = Drop()(View("clean", {"x": tokens}), "x", plan)
    assert kept.values.flatten().tolist() == [1, 3, 4, 5, 7, 8, 9]
    assert kept.cu_seqlens.tolist() == [0, 2, 7]
    assert kept.cu_seqlens.dtype == torch.int32


def test_plans_that_ask_for_something_else_are_refused():
    layout, plan = ragged()
    view = View("clean", {"x": Tokens(layout, torch.randn(2, 6, 3))})
    action = torch.where(plan.hidden, int(Action.MASK), 0).to(torch.uint8)
    with pytest.raises(PlanError, match="replaces"):
        Drop()(view, "x", MaskPlan.of_hidden(layout, plan.hidden, action=action))
    swapped = MaskPlan.of_hidden(layout, plan.hidden, source=torch.zeros(2, 6, dtype=torch.int64))
    with pytest.raises(PlanError, match="copies or edits"):
        Drop()(view, "x", swapped)
