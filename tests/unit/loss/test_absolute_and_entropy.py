"""Absolute error and cross entropy: what is summed, what is counted, what weighs."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch.nn import functional as F

from mmask.errors import PlanError
from mmask.loss.absolute import MeanAbsoluteError
from mmask.loss.entropy import CrossEntropy
from mmask.types import Layout, Prediction, Scored, Target


def scored(count: int, weight: torch.Tensor | None = None) -> Scored:
    return Scored(Layout(1, count), index=torch.arange(count), weight=weight)


def test_absolute_error_is_the_mean_over_values_summed_over_places():
    value, truth, places = torch.randn(5, 3).double(), torch.randn(5, 3).double(), scored(5)
    term = MeanAbsoluteError()(Prediction(value, places), Target(truth, places))
    assert term.count == 5
    assert torch.allclose(term.mean(), F.l1_loss(value, truth))


def test_cross_entropy_is_torchs_mean_over_places():
    logits, ids, places = torch.randn(7, 4).double(), torch.randint(0, 4, (7,)), scored(7)
    term = CrossEntropy()(Prediction(logits, places), Target(ids, places))
    assert torch.allclose(term.mean(), F.cross_entropy(logits, ids))
    even = CrossEntropy()(Prediction(torch.zeros(7, 4), places), Target(ids, places))
    assert float(even.mean()) == pytest.approx(log(4))


@pytest.mark.parametrize("loss", [MeanAbsoluteError(), CrossEntropy()])
def test_weights_of_places_weigh_and_a_gate_does_not_change_the_count(loss):
    weight, gate = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([1.0, 1.0, 0.5])
    value = torch.randn(3, 4)
    truth = torch.randint(0, 4, (3,)) if isinstance(loss, CrossEntropy) else torch.randn(3, 4)
    each = [
        float(loss(Prediction(value[i : i + 1], scored(1)), Target(truth[i : i + 1], scored(1))).total)
        for i in range(3)
    ]
    places = scored(3, weight)
    term = loss(Prediction(value, places), Target(truth, places, weight=gate))
    assert term.count == 3.0
    assert float(term.total) == pytest.approx(each[0] + each[2], rel=1e-5)


@pytest.mark.parametrize("loss", [MeanAbsoluteError(), CrossEntropy()])
def test_half_precision_is_summed_in_single(loss):
    value = torch.randn(3, 4).bfloat16()
    truth = torch.randint(0, 4, (3,)) if isinstance(loss, CrossEntropy) else torch.randn(3, 4).bfloat16()
    assert loss(Prediction(value, scored(3)), Target(truth, scored(3))).total.dtype == torch.float32


@pytest.mark.parametrize("loss", [MeanAbsoluteError(), CrossEntropy()])
def test_nothing_scored_is_zero_and_still_reaches_the_parameters(loss):
    value = torch.zeros(0, 4, requires_grad=True)
    truth = torch.zeros(0, dtype=torch.int64) if isinstance(loss, CrossEntropy) else torch.zeros(0, 4)
    term = loss(Prediction(value, scored(0)), Target(truth, scored(0)))
    assert term.mean().item() == 0.0
    term.mean().backward()
    assert value.grad is not None


def test_shapes_that_do_not_agree_are_errors():
    with pytest.raises(PlanError, match="the target is"):
        MeanAbsoluteError()(Prediction(torch.randn(3, 4), scored(3)), Target(torch.randn(3, 5), scored(3)))
    with pytest.raises(PlanError, match="regression loss"):
        CrossEntropy()(Prediction(torch.randn(3, 4), scored(3)), Target(torch.randn(3, 4), scored(3)))
