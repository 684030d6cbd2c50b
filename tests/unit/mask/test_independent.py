"""Laws of the independent masker."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.errors import RecipeError
from mmask.keyed import Keys
from mmask.mask.independent import IndependentMasker
from mmask.testing import MaskerLaws
from mmask.types import Action, Layout

BERT = {"mask": 0.8, "random": 0.1, "keep": 0.1}


def keys(batch, seed=0):
    return Keys(seed, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


def layout(batch=3000, length=12):
    lengths = torch.arange(batch) % (length - 3) + 3
    place = torch.arange(length)[None]
    special = (place == 0) | (place == lengths[:, None] - 1)
    return Layout(batch, length, valid=place < lengths[:, None], special=special & (place < lengths[:, None]))


class TestIndependent(MaskerLaws):
    def make(self):
        return IndependentMasker(ratio=0.4, force="any")


def test_every_place_has_the_same_probability_and_none_is_forced_unless_asked():
    plan = IndependentMasker(ratio=0.15).plan(layout(), keys(3000))
    assert plan.ratio() == pytest.approx(0.15, abs=0.01)
    assert not plan.hidden.any(1).all()


@pytest.mark.parametrize("force", ["first", "any"])
def test_where_no_coin_fell_one_place_is_hidden(force):
    where = layout()
    free = IndependentMasker(ratio=0.05).plan(where, keys(3000)).hidden
    plan = IndependentMasker(ratio=0.05, force=force, shares=BERT).plan(where, keys(3000))
    assert torch.equal(plan.hidden[free.any(1)], free[free.any(1)])
    bare = ~free.any(1)
    assert (plan.hidden[bare].sum(1) == 1).all()
    forced = plan.hidden[bare].int().argmax(1)
    assert bool((forced == 1).all()) == (force == "first")
    assert (plan.action[bare][plan.hidden[bare]] == Action.MASK).all()


def test_the_others_get_their_actions_by_share():
    plan = IndependentMasker(ratio=0.5, force="first", shares=BERT).plan(layout(), keys(3000))
    drawn = plan.action[plan.hidden]
    for action, share in ((Action.MASK, 0.8), (Action.RANDOM, 0.1), (Action.KEEP, 0.1)):
        assert (drawn == action).float().mean().item() == pytest.approx(share, abs=0.015)
    assert not plan.action[~plan.hidden].any()


def test_a_sample_without_free_places_stays_as_it_is():
    where = Layout(2, 3, special=torch.ones(2, 3, dtype=torch.bool))
    assert not IndependentMasker(ratio=0.9, force="first").plan(where, keys(2)).hidden.any()


def test_options_that_cannot_be_are_refused():
    with pytest.raises(RecipeError, match="force"):
        IndependentMasker(force="last")
    with pytest.raises(RecipeError, match="per"):
        IndependentMasker(shares={**BERT, "per": "word"})
    with pytest.raises(RecipeError, match="ratio"):
        IndependentMasker(ratio=1.5)
