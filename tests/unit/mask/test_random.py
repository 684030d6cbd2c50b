"""Laws of the random masker."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.errors import PlanError, RecipeError
from mmask.keyed import Keys
from mmask.mask.random import RandomMasker
from mmask.types import Layout


def keys(batch: int, seed: int = 0) -> Keys:
    return Keys(seed, np.arange(7, 7 + batch, dtype=np.uint64), np.zeros(batch, np.int64))


@pytest.mark.parametrize(
    ("places", "ratio"), [(196, 0.75), (256, 0.75), (49, 0.6), (100, 0.9), (16, 0.4), (7, 0.0)]
)
def test_floor_keeps_what_the_reference_arithmetic_keeps(places, ratio):
    plan = RandomMasker(ratio=ratio).plan(Layout(5, places), keys(5))
    assert plan.keep_idx.shape == (5, int(places * (1 - ratio)))
    assert plan.keep_count is None


def test_round_hides_the_nearest_whole_number():
    plan = RandomMasker(ratio=0.9, rounding="round").plan(Layout(3, 10), keys(3))
    assert plan.hidden.sum(1).tolist() == [9, 9, 9]


def test_keep_and_hidden_partition_the_places():
    plan = RandomMasker(ratio=0.6).plan(Layout(9, 50), keys(9))
    both = torch.cat([plan.keep_idx, plan.hide_idx], 1).sort(1).values
    assert torch.equal(both, torch.arange(50).expand(9, -1))


def test_padding_and_special_places_are_never_hidden_and_the_count_is_of_the_rest():
    valid = torch.arange(20)[None] < torch.tensor([20, 12, 5])[:, None]
    special = torch.zeros(3, 20, dtype=torch.bool)
    special[:, 0] = True
    plan = RandomMasker(ratio=0.5).plan(Layout(3, 20, valid=valid, special=special), keys(3))
    assert not (plan.hidden & (~valid | special)).any()
    assert plan.hidden.sum(1).tolist() == [n - int(n * 0.5) for n in (19, 11, 4)]


def test_a_sample_has_the_same_plan_in_any_batch_and_at_any_padded_length():
    masker, wide = RandomMasker(ratio=0.5), torch.arange(40)[None] < torch.tensor([40, 17])[:, None]
    both = masker.plan(Layout(2, 40, valid=wide), keys(2))
    alone = masker.plan(Layout(1, 17), Keys(0, np.array([8], np.uint64), np.zeros(1, np.int64)))
    assert torch.equal(both.hidden[1, :17], alone.hidden[0])


def test_seed_visit_and_view_change_the_plan_and_nothing_else_does():
    masker, layout = RandomMasker(ratio=0.75), Layout(4, 196)
    base = masker.plan(layout, keys(4)).hidden
    assert torch.equal(base, masker.plan(layout, keys(4)).hidden)
    assert torch.equal(base, masker.plan(layout, Keys(0, keys(4).ids, keys(4).visits, step=9)).hidden)
    assert not torch.equal(base, masker.plan(layout, keys(4, seed=1)).hidden)
    assert not torch.equal(base, masker.plan(layout, Keys(0, keys(4).ids, keys(4).visits + 1)).hidden)
    assert not torch.equal(base, masker.plan(layout, keys(4).of_view("b")).hidden)


def test_every_place_is_hidden_equally_often():
    hidden = RandomMasker(ratio=0.75).plan(Layout(4000, 16), keys(4000)).hidden.double().mean(0)
    assert (hidden - 0.75).abs().max() < 5 * (0.75 * 0.25 / 4000) ** 0.5


def test_an_explicit_count_and_a_minimum_are_exact():
    assert RandomMasker(count=3).plan(Layout(2, 10), keys(2)).hidden.sum(1).tolist() == [3, 3]
    low = RandomMasker(ratio=0.01, rounding="round", at_least=1)
    assert low.plan(Layout(2, 10), keys(2)).hidden.sum(1).tolist() == [1, 1]


def test_hiding_everything_is_an_error_that_says_what_to_change():
    with pytest.raises(PlanError, match=r"ratio=0\.95.*10 places") as error:
        RandomMasker(ratio=0.95).plan(Layout(1, 10), keys(1))
    assert "mask.ratio" in error.value.hint
    with pytest.raises(RecipeError, match=r"1\.5"):
        RandomMasker(ratio=1.5)


@pytest.mark.parametrize(("ratio", "cap"), [(0.15, 20), (0.15, 19), (0.25, 10_000), (0.3, 10_000), (0.4, 10_000)])
def test_the_count_is_that_of_berts_data_builder(ratio, cap):
    """round(length * ratio) of all tokens, at least one and at most the cap, among those that are not special."""
    longest = 256
    lengths = torch.arange(5, longest + 1)
    place = torch.arange(longest)[None]
    special = (place == 0) | (place == lengths[:, None] - 1)
    layout = Layout(len(lengths), longest, valid=place < lengths[:, None], special=special)
    masker = RandomMasker(ratio=ratio, rounding="round", count_special=True, at_least=1, cap=cap)
    hidden = masker.plan(layout, keys(len(lengths))).hidden
    assert not (hidden & special).any()
    off = hidden.sum(1) - torch.tensor([min(cap, max(1, round(n * ratio))) for n in lengths.tolist()])
    halves = torch.tensor([n * ratio % 1 == 0.5 for n in lengths.tolist()])
    assert (off[~halves] == 0).all()
    assert (off.abs() <= 1).all()
    if ratio == 0.15:
        assert (off == 0).all()


def test_random_rounding_is_right_in_the_mean_and_one_of_two_numbers():
    hidden = RandomMasker(ratio=0.15, rounding="random").plan(Layout(4000, 30), keys(4000)).hidden.sum(1)
    assert set(hidden.tolist()) == {4, 5}
    assert hidden.double().mean() == pytest.approx(4.5, abs=0.03)
