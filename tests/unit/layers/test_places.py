"""Reading states at scored places when only a part of the layout was encoded."""

from __future__ import annotations

import pytest
import torch

from mmask.errors import PlanError
from mmask.layers.places import rows_at, states_at
from mmask.types import Encoded, Layout, MaskPlan, Scored


def ragged() -> tuple[Layout, MaskPlan]:
    layout = Layout(3, 6)
    hidden = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 0, 0, 1, 0, 0], [1, 1, 1, 1, 0, 0]]).bool()
    return layout, MaskPlan.of_hidden(layout, hidden)


def test_states_of_hidden_places_come_back_in_scored_order():
    layout, plan = ragged()
    dense = torch.randn(3, 6, 2)
    index, counts = plan.hidden_index
    present = torch.arange(index.shape[1])[None] < counts[:, None]
    state = dense.gather(1, index[..., None].expand(-1, -1, 2))
    encoded = Encoded(layout.take(index, present), state)
    assert torch.equal(states_at(encoded, Scored.hidden(plan)), Scored.hidden(plan).take(dense))


def test_full_and_exact_parts_gather_nothing():
    layout = Layout(2, 4)
    plan = MaskPlan.of_hidden(layout, torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0]]).bool())
    assert rows_at(layout.take(plan.hide_idx), Scored.hidden(plan)) is None
    assert rows_at(layout, Scored.valid(layout)) is None


def test_any_order_of_encoded_places_is_understood():
    layout = Layout(2, 5)
    dense, order = torch.randn(2, 5, 3), torch.tensor([[4, 0, 2], [1, 3, 0]])
    state = dense.gather(1, order[..., None].expand(-1, -1, 3))
    scored = Scored(layout, index=torch.tensor([0, 4, 5, 8]))
    assert torch.equal(states_at(Encoded(layout.take(order), state), scored), scored.take(dense))


def test_prefix_tokens_are_no_places():
    layout = Layout(2, 4)
    state = torch.randn(2, 5, 3)
    scored = Scored(layout, index=torch.tensor([1, 6]))
    assert torch.equal(states_at(Encoded(layout, state, prefix=1), scored), state[:, 1:].flatten(0, 1)[[1, 6]])


def test_a_scored_place_that_was_not_encoded_is_an_error():
    layout, plan = ragged()
    visible = Encoded(layout.take(plan.keep_idx, plan.kept), torch.randn(3, plan.keep_idx.shape[1], 2))
    with pytest.raises(PlanError, match="not encoded"):
        states_at(visible, Scored.hidden(plan))
    with pytest.raises(PlanError, match="positions"):
        states_at(visible, Scored(layout, "pooled"))
