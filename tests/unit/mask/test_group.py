"""Laws of the group masker."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.errors import PlanError, RecipeError
from mmask.keyed import Keys
from mmask.mask.group import GroupMasker
from mmask.types import Layout


def keys(batch):
    return Keys(0, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


def sentences(batch=200, length=60, seed=0):
    """Words of one to four places between two special ones, padded."""
    make = np.random.default_rng(seed)
    lengths = make.integers(20, length + 1, batch)
    ids = np.cumsum(make.random((batch, length)) < 0.45, 1)
    place = np.arange(length)[None]
    special = (place == 0) | (place == lengths[:, None] - 1)
    valid = place < lengths[:, None]
    ids = np.where(special | ~valid, -1, ids)
    return Layout(
        batch, length, valid=torch.from_numpy(valid), special=torch.from_numpy(special),
        groups={"word": torch.from_numpy(ids)},
    )


def words_of(layout, row):
    """Lists of maskable places by word."""
    table = {}
    for place in layout.maskable()[row].nonzero().flatten().tolist():
        table.setdefault(int(layout.groups["word"][row, place]), []).append(place)
    return table


@pytest.mark.parametrize("overflow", ["skip", "stop", "allow"])
def test_words_hide_wholly_or_not_at_all(overflow):
    layout = sentences()
    hidden = GroupMasker(ratio=0.3, overflow=overflow).plan(layout, keys(200)).hidden
    for row in range(200):
        for places in words_of(layout, row).values():
            assert hidden[row, places].all() or not hidden[row, places].any()


@pytest.mark.parametrize("overflow", ["skip", "stop", "allow"])
def test_the_vectorised_draw_is_the_sequential_rule(overflow):
    layout = sentences()
    masker = GroupMasker(ratio=0.2, overflow=overflow, at_least=1)
    hidden = masker.plan(layout, keys(200)).hidden
    free = layout.maskable()
    first = np.zeros(free.shape, bool)
    for row in range(200):
        first[row, [places[0] for places in words_of(layout, row).values()]] = True
    order = keys(200).order("group", layout.length, first)
    for row in range(200):
        words, budget, used, chosen = words_of(layout, row), round(int(free[row].sum()) * 0.2), 0, set()
        by_first = {places[0]: places for places in words.values()}
        for number, place in enumerate(order[row][: len(words)].tolist()):
            places = by_first[place]
            fits = used < budget if overflow == "allow" else used + len(places) <= budget
            if fits or number == 0:
                chosen.update(places)
                used += len(places)
            elif overflow == "stop":
                break
        assert set(hidden[row].nonzero().flatten().tolist()) == chosen


def test_skipping_comes_near_the_budget_and_never_passes_it_except_by_the_forced_word():
    layout = sentences()
    hidden = GroupMasker(ratio=0.15, at_least=0).plan(layout, keys(200)).hidden.sum(1)
    budget = (layout.maskable().sum(1) * 0.15).round()
    assert (hidden <= budget).all()
    assert (hidden / budget).mean() > 0.95
    assert GroupMasker(ratio=0.0, at_least=1).plan(layout, keys(200)).hidden.any(1).all()
    assert not GroupMasker(ratio=0.0, at_least=0).plan(layout, keys(200)).hidden.any()


def test_berts_budget_counts_special_places_and_has_a_cap():
    layout = Layout(4, 100, special=(torch.arange(100) < 20).expand(4, -1),
                    groups={"word": torch.arange(100).expand(4, -1)})
    assert (GroupMasker(ratio=0.15).plan(layout, keys(4)).hidden.sum(1) == 12).all()
    assert (GroupMasker(ratio=0.15, count_special=True).plan(layout, keys(4)).hidden.sum(1) == 15).all()
    assert (GroupMasker(ratio=0.15, cap=5).plan(layout, keys(4)).hidden.sum(1) == 5).all()


def test_places_of_no_group_stand_alone_or_are_kept():
    layout = Layout(300, 30, groups={"entity": torch.where(torch.arange(30) < 10, 0, -1).expand(300, -1)})
    single = GroupMasker(group="entity", ratio=0.4).plan(layout, keys(300)).hidden
    kept = GroupMasker(group="entity", ratio=0.4).plan(layout, keys(300))
    assert (single.sum(1) == 12).all()
    assert single[:, :10].all(1).float().mean() == pytest.approx(kept.hidden[:, :10].any(1).float().mean())
    only = GroupMasker(group="entity", ratio=0.4, loose="keep").plan(layout, keys(300)).hidden
    assert not only[:, 10:].any()
    assert only[:, :10].all()


def test_neither_the_numbers_nor_the_order_of_group_ids_matter():
    layout = sentences()
    renamed = torch.where(layout.groups["word"] >= 0, 1000 - 3 * layout.groups["word"], -1)
    other = Layout(200, 60, valid=layout.valid, special=layout.special, groups={"word": renamed})
    masker = GroupMasker(ratio=0.2)
    assert torch.equal(masker.plan(layout, keys(200)).hidden, masker.plan(other, keys(200)).hidden)


def test_each_word_of_one_length_is_hidden_equally_often():
    layout = Layout(8000, 40, groups={"word": (torch.arange(40) // 2).expand(8000, -1)})
    share = GroupMasker(ratio=0.25).plan(layout, keys(8000)).hidden.float().mean(0)
    assert share.sub(0.25).abs().max() < 5 * (0.25 * 0.75 / 8000) ** 0.5


def test_what_cannot_be_drawn_is_refused_with_a_way_out():
    layout = sentences(4)
    with pytest.raises(PlanError, match="no groups 'entity'"):
        GroupMasker(group="entity").plan(layout, keys(4))
    bare = Layout(2, 10, groups={"word": torch.zeros(2, 10, dtype=torch.int64)})
    with pytest.raises(PlanError, match=r"mask\.at_least"):
        GroupMasker(ratio=0.1, at_least=1).plan(bare, keys(2))
    for options in ({"ratio": 2.0}, {"overflow": "cut"}, {"loose": "drop"}, {"cap": -1}, {"rounding": "up"}):
        with pytest.raises(RecipeError):
            GroupMasker(**options)
