"""CellError against a sum by hand; InfoNce against cross entropy, sample by sample."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmask.errors import PlanError, RecipeError
from mmask.loss.cells import CellError
from mmask.loss.contrast import InfoNce
from mmask.target.values import Values
from mmask.types import Layout, Prediction, Scored, Target


def made(counts, width=5, seed=0):
    """A prediction and a target at the first places of each sample."""
    torch.manual_seed(seed)
    layout = Layout(len(counts), 6)
    index = torch.cat([torch.arange(count) + 6 * row for row, count in enumerate(counts)])
    scored = Scored(layout, index=index)
    value = torch.randn(2, len(index), width, dtype=torch.float64)
    return Prediction(value[0].requires_grad_(), scored), Target(value[1], scored)


@pytest.mark.parametrize("over", ["predictions", "targets"])
def test_info_nce_is_cross_entropy_of_each_sample(over):
    counts = (4, 1, 0, 6)
    prediction, target = made(counts)
    want, start = torch.zeros((), dtype=torch.float64), 0
    for count in counts:
        p, t = (side.value[start : start + count] for side in (prediction, target))
        products = (t @ p.T if over == "predictions" else p @ t.T) / 0.5
        want = want + F.cross_entropy(products, torch.arange(count), reduction="sum") if count else want
        start += count
    term = InfoNce(over=over, temperature=0.5)(prediction, target)
    assert torch.allclose(term.total, want, rtol=1e-12) and term.count == 11
    term.total.backward()
    assert prediction.value.grad is not None and prediction.value.grad.isfinite().all()


def test_cells_are_counted_alike():
    torch.manual_seed(1)
    weight = (torch.rand(2, 3, 4) > 0.5).float()
    scored = Scored(Layout(2, 3, channels=4), "cell", weight=weight)
    value, truth = torch.randn(2, 6, 4, dtype=torch.float64)
    for kind, power in (("l1", 1), ("l2", 2)):
        term = CellError(kind=kind)(Prediction(value, scored), Target(truth, scored))
        want = ((value - truth).abs() ** power)[weight.flatten(0, 1) > 0]
        assert float(term.mean()) == pytest.approx(float(want.mean()), rel=1e-12)
        assert term.count == len(want)


def test_what_cannot_be_compared_is_said():
    prediction, target = made((2, 2))
    with pytest.raises(PlanError, match="compares cells"):
        CellError()(prediction, target)
    with pytest.raises(PlanError, match="the head predicts"):
        InfoNce()(prediction, Target(target.value[:1], target.scored))
    with pytest.raises(RecipeError, match="'both'"):
        InfoNce(over="both")
    with pytest.raises(RecipeError, match="trivial_knows"):
        Values(trivial_knows="all")


def test_a_trivial_predictor_that_knows_nothing_says_0():
    _, target = made((2, 2))
    assert not Values(trivial_knows="nothing").trivial(target).value.any()
    assert torch.allclose(Values().trivial(target).value[:, 0], target.value.mean(1))
