"""Clean values as the target, raw and normalised."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mmask.errors import RecipeError
from mmask.loss.regression import MeanSquaredError
from mmask.target.values import Values
from mmask.types import Layout, Prediction, Scored, Tokens, View


def scene(values):
    layout = Layout(values.shape[0], values.shape[1])
    view = View("clean", {"x": Tokens(layout, values)})
    return SimpleNamespace(view=lambda name: {"clean": view}[name]), layout


def scored(layout, *index):
    return Scored(layout, index=torch.tensor(index))


def test_raw_targets_are_the_values_at_scored_places():
    values = torch.randn(2, 4, 6)
    where, layout = scene(values)
    target = Values()(where, scored(layout, 1, 6))
    assert torch.equal(target.value, values.flatten(0, 1)[[1, 6]])


def test_normalised_targets_have_mean_zero_and_the_declared_variance():
    values = torch.randn(2, 4, 768, dtype=torch.float64) * 3 + 5
    where, layout = scene(values)
    for ddof in (0, 1):
        value = Values(normalise=True, ddof=ddof, eps=0.0)(where, scored(layout, 0, 3, 5)).value
        assert value.mean(-1).abs().max() < 1e-12
        assert (value.var(-1, correction=ddof) - 1).abs().max() < 1e-12


def test_zero_predicted_on_normalised_targets_costs_767_of_768():
    values = torch.randn(2, 4, 768, dtype=torch.float64)
    where, layout = scene(values)
    maker = Values(normalise=True)
    target = maker(where, scored(layout, 0, 3, 5))
    for guess in (maker.trivial(target), Prediction(torch.zeros_like(target.value), target.scored)):
        assert abs(float(MeanSquaredError()(guess, target).mean()) - 767 / 768) < 1e-5


def test_the_trivial_predictor_of_raw_values_knows_each_places_mean():
    values = torch.randn(1, 4, 6) + torch.arange(4.0)[None, :, None]
    where, layout = scene(values)
    maker = Values()
    target = maker(where, scored(layout, 0, 2))
    want = values[0, [0, 2]].var(-1, correction=0).mean()
    assert abs(float(MeanSquaredError()(maker.trivial(target), target).mean() - want)) < 1e-6


def test_a_flat_place_becomes_zeros_and_stays_finite():
    where, layout = scene(torch.full((1, 2, 6), 3.0))
    assert Values(normalise=True)(where, scored(layout, 0, 1)).value.abs().max() == 0


@pytest.mark.parametrize("normalise", [True, False])
def test_restoring_a_target_gives_the_values_back(normalise):
    values = torch.randn(2, 4, 6, dtype=torch.float64)
    where, layout = scene(values)
    maker = Values(normalise=normalise)
    target = maker(where, scored(layout, 2, 7))
    back = maker.restore(target.value, target)
    assert (back - values.flatten(0, 1)[[2, 7]]).abs().max() < 1e-12


def test_discrete_tokens_are_refused():
    layout = Layout(1, 3)
    view = View("clean", {"x": Tokens(layout, ids=torch.zeros(1, 3, dtype=torch.int64))})
    with pytest.raises(RecipeError, match="ids"):
        Values()(SimpleNamespace(view=lambda _: view), scored(layout, 0))
