"""The divergence from a given distribution."""

from __future__ import annotations

import pytest
import torch

from mmask.errors import PlanError, RecipeError
from mmask.loss.divergence import Divergence
from mmask.types import Layout, Prediction, Scored, Target

SCORED = Scored(Layout(2, 4), index=torch.tensor([0, 3, 5]))


def pair(logits, shares, **more):
    return Prediction(logits, SCORED), Target(shares, SCORED, **more)


def test_it_is_the_sum_over_classes_or_their_mean_and_zero_for_the_same_distribution():
    torch.manual_seed(0)
    logits, shares = torch.randn(3, 5, dtype=torch.float64), torch.rand(3, 5, dtype=torch.float64).softmax(-1)
    want = (shares * (shares.log() - logits.log_softmax(-1))).sum()
    whole, mean = (Divergence(over=over)(*pair(logits, shares)) for over in ("classes", "mean"))
    torch.testing.assert_close(whole.total, want)
    torch.testing.assert_close(mean.total * 5, want)
    assert whole.count == mean.count == 3
    assert abs(float(Divergence()(*pair(shares.log(), shares)).total)) < 1e-12


def test_shares_of_zero_and_weights():
    shares = torch.eye(3)
    logits = torch.zeros(3, 3, requires_grad=True)
    weight = torch.tensor([1.0, 0.0, 2.0])
    term = Divergence()(*pair(logits, shares, weight=weight))
    assert float(term.total.detach()) == pytest.approx(3 * torch.log(torch.tensor(3.0)).item())
    term.total.backward()
    assert torch.isfinite(logits.grad).all() and not logits.grad[1].any()


def test_wrong_shapes_kinds_and_options_are_refused():
    with pytest.raises(PlanError, match="shares"):
        Divergence()(*pair(torch.zeros(3, 4), torch.zeros(3, 5)))
    with pytest.raises(PlanError, match="int64"):
        Divergence()(*pair(torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.int64)))
    with pytest.raises(RecipeError, match="over"):
        Divergence(over="sum")
