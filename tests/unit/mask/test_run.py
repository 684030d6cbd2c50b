"""Laws of the run masker."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.errors import PlanError, RecipeError
from mmask.keyed import Keys
from mmask.mask.groups import leaders
from mmask.mask.run import RunMasker
from mmask.types import Layout


def keys(batch, seed=0):
    return Keys(seed, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


def sentences(batch=200, length=80, seed=0):
    """Words of one to several places between two special ones, padded."""
    make = np.random.default_rng(seed)
    lengths = make.integers(20, length + 1, batch)
    ids = np.cumsum(make.random((batch, length)) < 0.6, 1)
    place = np.arange(length)[None]
    special = (place == 0) | (place == lengths[:, None] - 1)
    valid = place < lengths[:, None]
    ids = np.where(special | ~valid, -1, ids)
    return Layout(
        batch, length, valid=torch.from_numpy(valid), special=torch.from_numpy(special),
        groups={"word": torch.from_numpy(ids)},
    )


def whole_words(layout, hidden):
    free = layout.maskable().numpy()
    first = leaders(layout.groups["word"].numpy(), free)
    held = np.take_along_axis(hidden.numpy(), np.minimum(first, layout.length - 1), 1)
    return bool((held == hidden.numpy())[free].all())


def test_words_hide_wholly_within_the_budget():
    layout = sentences()
    hidden = RunMasker(ratio=0.3).plan(layout, keys(200)).hidden
    budget = np.rint(layout.maskable().sum(1).numpy() * 0.3)
    assert (hidden.sum(1).numpy() <= budget).all()
    assert (budget - hidden.sum(1).numpy()).mean() < 0.3
    assert whole_words(layout, hidden)


def test_exact_meets_the_budget_and_cuts_one_word_at_most():
    layout = sentences()
    hidden = RunMasker(ratio=0.3, exact=True).plan(layout, keys(200)).hidden
    assert (hidden.sum(1).numpy() == np.rint(layout.maskable().sum(1).numpy() * 0.3)).all()
    fours = Layout(50, 80, groups={"word": (torch.arange(80) // 4).expand(50, -1)})
    plain = RunMasker(ratio=0.28).plan(fours, keys(50)).hidden
    hidden = RunMasker(ratio=0.28, exact=True).plan(fours, keys(50)).hidden
    assert (plain.sum(1) == 20).all()
    assert (hidden.sum(1) == 22).all()
    assert (hidden & plain == plain).all()
    assert ((hidden & ~plain).view(50, 20, 4).sum(2) == torch.tensor([2])).sum() == 50


def test_the_budget_counts_special_places_and_is_capped_where_asked():
    layout = sentences()
    hidden = RunMasker(group=None, ratio=0.15, count_special=True, cap=9).plan(layout, keys(200)).hidden
    assert (hidden.sum(1).numpy() == np.minimum(9, np.rint(layout.lengths().numpy() * 0.15))).all()


@pytest.mark.parametrize(("options", "shares"), [
    ({"lengths": "harmonic", "longest": 3}, [6 / 11, 3 / 11, 2 / 11]),
    ({"lengths": "uniform", "longest": 2}, [0.5, 0.5]),
    ({"weights": [0.0, 3.0, 1.0]}, [0.0, 0.75, 0.25]),
])
def test_lengths_have_the_shares_asked_for(options, shares):
    masker = RunMasker(group=None, ratio=0.01, at_least=0, cap=None, **options)
    assert masker.shares() == pytest.approx(shares)
    hidden = RunMasker(group=None, ratio=0.009, **options).plan(Layout(4000, 400), keys(4000)).hidden.numpy()
    # the first run of a sample is not cut by the budget of 4 or by another run: look at samples with a single one
    edges = np.diff(np.pad(hidden.astype(int), ((0, 0), (1, 1))), axis=1)
    assert (edges == 1).sum() > 4000
    lengths = np.flatnonzero((edges == -1).ravel()) - np.flatnonzero((edges == 1).ravel())
    assert lengths.max() <= 4


def test_spanberts_runs_average_three_point_eight_words():
    shares = RunMasker().shares()
    assert len(shares) == 10
    assert (shares * np.arange(1, 11)).sum() == pytest.approx(3.8, abs=0.005)
    masker = RunMasker(group=None, ratio=0.1)
    hidden = masker.plan(Layout(300, 1000), keys(300)).hidden.numpy()
    edges = np.diff(np.pad(hidden.astype(int), ((0, 0), (1, 1))), axis=1)
    assert hidden.sum() / (edges == 1).sum() == pytest.approx(4.1, abs=0.3)  # neighbours count as one here


def test_the_vectorised_draw_is_the_sequential_rule():
    layout, masker = sentences(60), RunMasker(ratio=0.25, longest=4)
    hidden = masker.plan(layout, keys(60)).hidden.numpy()
    free, ids = layout.maskable().numpy(), layout.groups["word"].numpy()
    drawn = keys(60).uniform("length", layout.length)
    lengths = np.searchsorted(masker.shares().cumsum(), drawn, side="right") + 1
    for row in range(60):
        words = [np.flatnonzero(free[row] & (ids[row] == word)) for word in dict.fromkeys(ids[row][free[row]])]
        count, budget = len(words), int(np.rint(free[row].sum() * 0.25))
        some = Keys(0, keys(60).ids[row : row + 1], keys(60).visits[row : row + 1])
        order = some.order("start", layout.length, np.arange(layout.length)[None] < count)[0][:count]
        taken, used = set(), 0
        for number, start in enumerate(order):
            for word in range(start, min(start + lengths[row, number], count)):
                if word in taken or (used + len(words[word]) > budget and taken):
                    break
                taken.add(word)
                used += len(words[word])
        want = np.zeros(layout.length, bool)
        for word in taken:
            want[words[word]] = True
        assert (hidden[row] == want).all()


def test_at_least_hides_a_word_beyond_its_budget():
    words = torch.zeros(5, 12, dtype=torch.int64)
    words[:, 6:] = 1
    layout = Layout(5, 12, groups={"word": words})
    assert (RunMasker(ratio=0.05).plan(layout, keys(5)).hidden.sum(1) == 6).all()
    assert not RunMasker(ratio=0.05, at_least=0).plan(layout, keys(5)).hidden.any()
    with pytest.raises(PlanError, match="would be hidden"):
        RunMasker(ratio=0.05, at_least=2).plan(layout, keys(5))


@pytest.mark.parametrize(("options", "said"), [
    ({"p": 0.0}, "above 0"), ({"longest": 0}, "longest"), ({"weights": [0.0]}, "above 0"),
    ({"lengths": "odd"}, "lengths"),
])
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(RecipeError, match=said):
        RunMasker(**options)
