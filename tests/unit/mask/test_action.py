"""Laws of action mixtures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.errors import PlanError, RecipeError
from mmask.keyed import Keys
from mmask.mask.action import Mixture
from mmask.mask.random import RandomMasker
from mmask.mask.span import SpanMasker
from mmask.types import Action, Layout

BERT = {"mask": 0.8, "random": 0.1, "keep": 0.1}


def keys(batch, seed=0):
    return Keys(seed, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


def test_shares_hold_over_a_hundred_thousand_places():
    layout = Layout(400, 512)
    plan = RandomMasker(ratio=0.5).plan(layout, keys(400))
    action = Mixture(BERT).apply(plan, keys(400)).action
    assert action.dtype == torch.uint8
    assert not action[~plan.hidden].any()
    found = action[plan.hidden]
    assert len(found) > 100_000
    for name, share in BERT.items():
        assert (found == Action[name.upper()]).double().mean() == pytest.approx(share, abs=0.004)


def test_actions_do_not_depend_on_company_or_padding_and_change_with_the_seed():
    plan = RandomMasker(ratio=0.5).plan(Layout(30, 40), keys(30))
    whole = Mixture(BERT).apply(plan, keys(30)).action
    some = Keys(0, keys(30).ids[4:9], keys(30).visits[4:9])
    assert torch.equal(Mixture(BERT).apply(plan.rows(4, 9), some).action, whole[4:9])
    assert not torch.equal(Mixture(BERT).apply(plan, keys(30, seed=1)).action, whole)
    valid = torch.arange(64).expand(30, -1) < 40
    wide = RandomMasker(ratio=0.5).plan(Layout(30, 64, valid=valid), keys(30))
    assert torch.equal(Mixture(BERT).apply(wide, keys(30)).action[:, :40], whole)


def test_a_run_shares_one_draw():
    plan = SpanMasker(ratio=0.4, length=5, overlap="apart").plan(Layout(60, 100), keys(60))
    action = Mixture(BERT, per="run").apply(plan, keys(60)).action
    same = plan.hidden[:, 1:] & plan.hidden[:, :-1]
    assert torch.equal(action[:, 1:][same], action[:, :-1][same])
    assert set(action.unique().tolist()) == {0, Action.MASK, Action.RANDOM, Action.KEEP}


def test_the_hidden_places_of_a_group_share_one_draw():
    words = (torch.arange(90) // 3).expand(40, -1)
    plan = RandomMasker(ratio=0.6).plan(Layout(40, 90, groups={"word": words}), keys(40))
    action = Mixture(BERT, per="word").apply(plan, keys(40)).action.view(40, 30, 3).long()
    for word in action.flatten(0, 1):
        assert len(set(word[word > 0].tolist())) <= 1
    with pytest.raises(PlanError, match="no groups 'entity'"):
        Mixture(BERT, per="entity").apply(plan, keys(40))


def test_a_share_of_zero_is_never_drawn():
    plan = RandomMasker(ratio=0.9).plan(Layout(100, 100), keys(100))
    action = Mixture({"keep": 0.0, "mask": 1.0, "random": 0.0}).apply(plan, keys(100)).action
    assert set(action.unique().tolist()) == {0, Action.MASK}


@pytest.mark.parametrize(("table", "said"), [
    ({"mask": 0.8, "random": 0.1}, "add up to 0.9"), ({"mask": 0.8, "randon": 0.2}, "random"),
    ({"mask": 1.5, "keep": -0.5}, "between 0 and 1"), ({"copy": 1.0}, "no action 'copy'"), ({}, "add up to 0"),
])
def test_mixtures_that_make_no_sense_are_refused(table, said):
    with pytest.raises(RecipeError, match=said):
        Mixture.of(table)
