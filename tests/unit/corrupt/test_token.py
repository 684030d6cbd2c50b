"""Marking hidden places for the mask token."""

from __future__ import annotations

import pytest
import torch

from mmask.corrupt.token import MaskToken
from mmask.errors import PlanError
from mmask.types import Action, Layout, MaskPlan, Tokens, View


def view(layout: Layout) -> View:
    return View("clean", {"x": Tokens(layout, torch.randn(layout.batch, layout.length, 3))})


def plan(layout: Layout, **more: object) -> MaskPlan:
    hidden = torch.tensor([[True, False, True, False], [False, True, False, False]])
    return MaskPlan.of_hidden(layout, hidden, **more)


def test_every_hidden_place_is_marked_and_no_value_changes():
    layout = Layout(2, 4)
    clean, drawn = view(layout), plan(layout)
    out = MaskToken()(clean, "x", drawn)
    assert torch.equal(out.replaced, drawn.hidden)
    assert out.values is clean.only().values
    assert out.layout is layout


def test_kept_places_of_a_plan_with_actions_are_not_marked():
    layout = Layout(2, 4)
    action = torch.zeros(2, 4, dtype=torch.uint8)
    action[0, 0], action[0, 2], action[1, 1] = Action.MASK, Action.KEEP, Action.MASK
    out = MaskToken()(view(layout), "x", plan(layout, action=action))
    assert out.replaced.nonzero().tolist() == [[0, 0], [1, 1]]


def test_other_actions_are_refused_by_name():
    layout = Layout(2, 4)
    action = torch.full((2, 4), int(Action.RANDOM), dtype=torch.uint8)
    with pytest.raises(PlanError, match="RANDOM"):
        MaskToken()(view(layout), "x", plan(layout, action=action))


def test_marks_of_flat_tokens_lie_on_the_valid_places():
    layout = Layout(2, 4, valid=torch.tensor([[True, True, True, False], [True, True, False, False]]))
    flat = Tokens(layout, torch.randn(2, 4, 3)).pack()
    out = MaskToken()(View("clean", {"x": flat}), "x", plan(layout))
    assert out.replaced.tolist() == [True, False, True, False, True]


def test_marks_add_to_those_of_an_earlier_corruption():
    layout = Layout(2, 4)
    before = torch.tensor([[False, True, False, False], [False, False, False, False]])
    tokens = Tokens(layout, torch.randn(2, 4, 3), replaced=before)
    out = MaskToken()(View("clean", {"x": tokens}), "x", plan(layout))
    assert torch.equal(out.replaced, before | plan(layout).hidden)


def test_a_plan_that_moves_places_is_refused():
    layout = Layout(2, 4)
    with pytest.raises(PlanError, match="moves"):
        MaskToken()(view(layout), "x", plan(layout, source=torch.arange(4).expand(2, 4)))
