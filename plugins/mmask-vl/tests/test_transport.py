"""Transport between words and regions: marginals, padding, and an exact solver that agrees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask_vl.transport import cosine_cost, transport_distance, transport_plan


def problem(seed=0, words=(6, 4), regions=(5, 7)):
    torch.manual_seed(seed)
    sizes = max(words), max(regions)
    counts = zip(sizes, (words, regions), strict=True)
    first, second = (torch.arange(n)[None] < torch.tensor(k)[:, None] for n, k in counts)
    states = [torch.randn(len(words), n, 8, dtype=torch.float64) for n in sizes]
    return cosine_cost(*states, first[:, :, None] & second[:, None, :]), first, second


def test_plans_sum_to_one_are_uniform_over_what_is_there_and_zero_at_padding():
    cost, words, regions = problem()
    plan = transport_plan(cost, words, regions, steps=50)
    torch.testing.assert_close(plan.sum((1, 2)), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-9)
    assert not plan[~(regions[:, :, None] & words[:, None, :])].any()
    torch.testing.assert_close(plan.sum(1), words / words.sum(1, keepdim=True).double(), rtol=0, atol=1e-9)
    close = transport_plan(cost, words, regions, steps=50, inner=200)
    torch.testing.assert_close(close.sum(2), regions / regions.sum(1, keepdim=True).double(), rtol=0, atol=1e-4)


def test_padding_changes_nothing():
    cost, words, regions = problem()
    plan = transport_plan(cost, words, regions)
    for row in range(2):
        n, m = int(words[row].sum()), int(regions[row].sum())
        alone = transport_plan(cost[row : row + 1, :n, :m], words[row : row + 1, :n], regions[row : row + 1, :m])
        torch.testing.assert_close(plan[row : row + 1, :m, :n], alone, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_the_cheapest_plan_is_reached(seed):
    cost, words, regions = problem(seed)
    found = transport_distance(cost, transport_plan(cost, words, regions, steps=3000, inner=20))
    for row in range(len(cost)):
        n, m = int(words[row].sum()), int(regions[row].sum())
        assert float(found[row]) == pytest.approx(cheapest(cost[row, :n, :m].numpy()), rel=1e-4)


def cheapest(cost: np.ndarray) -> float:
    """The exact answer: POT's network simplex where it is installed, else SciPy's linear programming."""
    n, m = cost.shape
    try:
        import ot
    except ImportError:
        from scipy.optimize import linprog

        sums = np.concatenate([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
        return linprog(cost.ravel(), A_eq=sums, b_eq=np.r_[np.full(n, 1 / n), np.full(m, 1 / m)]).fun
    return float(ot.emd2(np.full(n, 1 / n), np.full(m, 1 / m), cost))


def test_a_pair_without_regions_costs_nothing_and_is_a_number():
    cost, words, regions = problem()
    regions = regions & torch.tensor([[True], [False]])
    plan = transport_plan(cost, words, regions)
    assert torch.isfinite(plan).all() and not plan[1].any()
