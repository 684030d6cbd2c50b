"""Squared error: averaged inside places, summed over them."""

from __future__ import annotations

import pytest
import torch

from mmask.errors import PlanError
from mmask.loss.regression import MeanSquaredError
from mmask.types import Layout, Prediction, Scored, Target


def both(value, truth, weight=None, gate=None):
    scored = Scored(Layout(1, len(value)), index=torch.arange(len(value)), weight=weight)
    return Prediction(value, scored), Target(truth, scored, weight=gate)


def test_the_mean_is_over_values_then_places():
    value, truth = torch.randn(5, 3, 4), torch.randn(5, 3, 4)
    term = MeanSquaredError()(*both(value, truth))
    assert term.count == 5
    assert abs(term.mean() - ((value - truth) ** 2).flatten(1).mean(1).mean()) < 1e-6


def test_weights_of_places_and_gates_of_targets_multiply():
    value, truth = torch.randn(4, 6), torch.randn(4, 6)
    weight, gate = torch.tensor([1.0, 0.5, 0.0, 2.0]), torch.tensor([1.0, 1.0, 1.0, 0.25])
    term = MeanSquaredError()(*both(value, truth, weight, gate))
    want = (((value - truth) ** 2).mean(1) * torch.tensor([1.0, 0.5, 0.0, 0.5])).sum()
    assert term.count == 3.5
    assert abs(term.total - want) < 1e-6


def test_equal_weights_give_the_unweighted_loss():
    value, truth = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    plain = MeanSquaredError()(*both(value, truth))
    ones = MeanSquaredError()(*both(value, truth, torch.ones(4)))
    assert abs(plain.total - ones.total) < 1e-12


def test_half_precision_is_summed_in_float32_and_float64_stays():
    value = torch.full((4096, 8), 300.0, dtype=torch.float16)
    term = MeanSquaredError()(*both(value, torch.zeros(4096, 8)))
    assert term.total.dtype == torch.float32
    assert float(term.mean()) == 90000.0
    assert MeanSquaredError()(*both(value.double(), torch.zeros(4096, 8))).total.dtype == torch.float64


def test_nothing_scored_is_zero_and_touches_the_prediction():
    value = torch.zeros(0, 6, requires_grad=True)
    loss = MeanSquaredError()(*both(value, torch.zeros(0, 6))).mean()
    loss.backward()
    assert loss.item() == 0.0
    assert value.grad is not None


def test_shapes_that_differ_are_an_error_with_both():
    with pytest.raises(PlanError, match=r"\(2, 3\).*\(2, 4\)"):
        MeanSquaredError()(*both(torch.zeros(2, 3), torch.zeros(2, 4)))
