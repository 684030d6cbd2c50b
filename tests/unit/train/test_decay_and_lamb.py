"""Weight decay that follows a course, and an optimizer of timm's with options and a step count of its own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmask.errors import RecipeError
from mmask.recipe.schema import OptimSection
from mmask.train.optim import make_optimizer, pack_state, set_decay, unpack_state
from mmask.train.schedule import Course


def lamb(**more):
    return OptimSection(name="lamb", lr=0.1, eps=1e-6, weight_decay=0.04, options={"max_grad_norm": 5.0}, **more)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()


def step(net, optimizer):
    optimizer.zero_grad()
    net(torch.ones(5, 3, dtype=torch.float64)).square().sum().backward()
    optimizer.step()


def test_decay_goes_from_first_to_last_on_a_cosine():
    course = Course(steps=101, warmup=0, peak=1.0, decays=(0.04, 0.2))
    assert course.decay(0) == pytest.approx(0.04)
    assert course.decay(50) == pytest.approx(0.12)
    assert course.decay(100) == pytest.approx(0.2)
    assert course.decay(25) < 0.08 < course.decay(50)  # slow at first
    assert Course(steps=101, warmup=0, peak=1.0).decay(7) is None


def test_only_matrices_are_decayed():
    optimizer = make_optimizer(model(), lamb(), 0.1)
    set_decay(optimizer, 0.2)
    found = {tuple(p.shape): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert found == {(4, 3): 0.2, (2, 4): 0.2, (4,): 0.0, (2,): 0.0}


def test_options_reach_the_optimizer_and_unknown_ones_are_refused():
    optimizer = make_optimizer(model(), lamb(), 0.1)
    assert optimizer.defaults["max_grad_norm"] == 5.0
    with pytest.raises(RecipeError, match="does not take optim"):
        make_optimizer(model(), OptimSection(name="lamb", lr=0.1, options={"max_gard_norm": 5.0}), 0.1)
    with pytest.raises(RecipeError, match="not for 'adamw'"):
        make_optimizer(model(), OptimSection(lr=0.1, options={"max_grad_norm": 5.0}), 0.1)


def test_lamb_goes_on_from_a_checkpoint_as_if_it_had_not_stopped():
    """Its step count lies in the groups, as a tensor; without it the moments' correction would start anew."""
    whole = model()
    optimizer = make_optimizer(whole, lamb(), 0.1)
    for _ in range(3):
        step(whole, optimizer)
    half, (tensors, plain) = copy.deepcopy(whole), pack_state(optimizer)
    again = make_optimizer(half, lamb(), 0.1)
    unpack_state(again, {name: value.clone() for name, value in tensors.items()}, plain)
    for _ in range(3):
        step(whole, optimizer)
        step(half, again)
    for a, b in zip(whole.parameters(), half.parameters(), strict=True):
        assert torch.equal(a, b)
