"""The two smallest heads."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmask.errors import RecipeError
from mmask.heads.linear import LinearHead, StatesHead
from mmask.types import Encoded, Layout, MaskPlan, Scored


def head(dim: int = 5) -> LinearHead:
    torch.manual_seed(0)
    return LinearHead(network=SimpleNamespace(width=8), target=SimpleNamespace(dim=dim))


def encoded(batch: int = 2, places: int = 6) -> Encoded:
    return Encoded(Layout(batch, places), torch.randn(batch, 1 + places, 8), prefix=1)


def test_predictions_at_scored_places_are_those_of_a_full_run():
    full = encoded()
    scored = Scored(full.layout, index=torch.tensor([0, 5, 7]))
    layer = head()
    everywhere = layer(full, Scored.valid(full.layout)).value
    assert torch.allclose(layer(full, scored).value, everywhere[[0, 5, 7]])
    assert torch.equal(StatesHead()(full, scored).value, full.places.flatten(0, 1)[[0, 5, 7]])


def test_states_at_other_places_do_not_reach_the_prediction():
    full = encoded()
    full.state.requires_grad_(True)
    plan = MaskPlan.of_hidden(full.layout, torch.tensor([[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]]).bool())
    head()(full, Scored.hidden(plan)).value.sum().backward()
    touched = full.state.grad.abs().sum(-1)[:, 1:] > 0
    assert torch.equal(touched, plan.hidden)


def test_the_start_is_small_and_cut_off():
    layer = head(500)
    assert layer.proj.weight.abs().max() <= 0.02
    assert layer.proj.weight.std() > 0.005
    assert not layer.proj.bias.any()


def test_a_target_without_a_size_is_refused():
    with pytest.raises(RecipeError, match="target"):
        LinearHead(network=SimpleNamespace(width=8), target=SimpleNamespace())
