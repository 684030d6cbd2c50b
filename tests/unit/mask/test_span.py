"""Laws of the span masker."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch

from mmask.errors import PlanError, RecipeError
from mmask.keyed import Keys
from mmask.mask.span import SpanMasker
from mmask.types import Layout


def keys(batch, seed=0):
    return Keys(seed, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


def runs(row):
    """The lengths of the hidden runs of one row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def expected_share(places, length, spans):
    """1 - C(starts - covering, spans) / C(starts, spans), averaged over the places."""
    starts = places - length + 1
    covering = [min(place, starts - 1) - max(0, place - length + 1) + 1 for place in range(places)]
    return 1 - sum(comb(starts - c, spans) for c in covering) / places / comb(starts, spans)


@pytest.mark.parametrize(("ratio", "length", "paper"), [(0.65, 10, 0.49), (0.15, 7, 0.138)])
def test_merged_spans_hide_what_overlap_leaves(ratio, length, paper):
    plan = SpanMasker(ratio=ratio, length=length).plan(Layout(400, 1000), keys(400))
    spans = round(1000 * ratio / length)
    assert plan.ratio() == pytest.approx(expected_share(1000, length, spans), abs=0.002)
    assert plan.ratio() == pytest.approx(paper, abs=0.003)
    hidden = plan.hidden.sum(1)
    assert hidden.max() <= spans * length
    assert all(run >= length for row in plan.hidden.numpy()[:50] for run in runs(row))


def test_merged_spans_fall_evenly_away_from_the_ends():
    share = SpanMasker(ratio=0.3, length=5).plan(Layout(8000, 60), keys(8000)).hidden.float().mean(0)
    middle = share[5:-5]
    assert (middle - middle.mean()).abs().max() < 5 * (0.25 / 8000) ** 0.5
    assert share[0] < 0.5 * middle.mean()  # only one start covers the first place


@pytest.mark.parametrize("distribution", ["fixed", "geometric"])
@pytest.mark.parametrize(("ratio", "length"), [(0.15, 3), (0.5, 4), (0.15, 1)])
def test_spans_kept_apart_are_exact_and_never_touch(ratio, length, distribution):
    masker = SpanMasker(ratio=ratio, length=length, distribution=distribution, overlap="apart")
    try:
        hidden = masker.plan(Layout(200, 100), keys(200)).hidden.numpy()
    except PlanError:
        assert (ratio, distribution) == (0.5, "geometric")  # many short spans need more visible places
        return
    assert (hidden.sum(1) == round(100 * ratio)).all()
    if distribution == "fixed":
        for row in hidden:
            assert sorted(runs(row))[1:] == [length] * (len(runs(row)) - 1)  # one may be cut
            assert len(runs(row)) == -(-round(100 * ratio) // length)


def test_spans_kept_apart_are_anywhere_with_equal_chance():
    masker = SpanMasker(ratio=0.2, length=2, overlap="apart")  # one span, nine places for it
    starts = masker.plan(Layout(20_000, 10), keys(20_000)).hidden.float().mean(0)
    assert starts[1:-1].sub(2 / 9).abs().max() < 0.015
    assert starts[[0, -1]].sub(1 / 9).abs().max() < 0.012


def test_spanberts_lengths_average_three_point_eight():
    masker = SpanMasker(ratio=0.15, length=5, distribution="geometric", max_length=10)
    assert masker.mean_length == pytest.approx(3.797, abs=0.001)
    lengths = masker._lengths(keys(2000), 40, np.full(2000, 500))
    assert lengths.min() == 1
    assert lengths.max() == 10
    assert lengths.mean() == pytest.approx(3.797, abs=0.04)
    drawn = np.bincount(lengths.ravel(), minlength=11)[1:] / lengths.size
    expected = 0.8 ** np.arange(10)
    assert np.abs(drawn - expected / expected.sum()).max() < 0.006


def test_an_unbounded_geometric_length_has_its_mean():
    masker = SpanMasker(length=4, distribution="geometric")
    lengths = masker._lengths(keys(2000), 40, np.full(2000, 10_000))
    assert lengths.mean() == pytest.approx(masker.mean_length, abs=0.06)


def test_random_rounding_is_right_in_the_mean_and_at_least_one_is_an_option():
    layout = Layout(6000, 20)
    masker = SpanMasker(ratio=0.05, length=4, rounding="random")  # a quarter of a span a sample
    some = masker.plan(layout, keys(6000)).hidden.any(1).float().mean().item()
    assert some == pytest.approx(0.25, abs=0.03)
    forced = SpanMasker(ratio=0.05, length=4, rounding="floor", at_least=1).plan(layout, keys(6000)).hidden
    assert (forced.sum(1) == 4).all()


def test_short_samples_keep_one_place_and_lone_places_are_left_alone():
    lengths = torch.tensor([1, 2, 5, 30])
    layout = Layout(4, 30, valid=torch.arange(30)[None] < lengths[:, None])
    for overlap in ("merge", "apart"):
        plan = SpanMasker(ratio=0.3, length=10, at_least=1, overlap=overlap).plan(layout, keys(4))
        assert (plan.hidden.sum(1) < lengths).all()
        assert plan.hidden.any(1).tolist() == [False, True, True, True]


def test_rounding_up_and_at_least_never_hide_all_of_a_short_sample():
    lengths = torch.arange(2, 42)
    layout = Layout(40, 41, valid=torch.arange(41)[None] < lengths[:, None])
    masker = SpanMasker(ratio=0.65, length=10, rounding="random", at_least=2)
    for visit in range(50):
        hidden = masker.plan(layout, Keys(0, keys(40).ids, np.full(40, visit))).hidden.sum(1)
        assert (hidden > 0).all() and (hidden < lengths).all()
        assert (hidden[lengths > 20] > 10).all()  # two spans where two fit


def test_spans_run_over_special_places_without_hiding_them():
    special = torch.zeros(50, 40, dtype=torch.bool)
    special[:, 20] = True
    plan = SpanMasker(ratio=0.9, length=36, overlap="apart").plan(Layout(50, 40, special=special), keys(50))
    assert not plan.hidden[:, 20].any()
    assert (plan.hidden.sum(1) == 35).all()
    assert plan.hidden[:, [19, 21]].all()


def test_what_cannot_be_drawn_is_refused_with_a_way_out():
    with pytest.raises(PlanError, match=r"mask\.overlap=merge"):
        SpanMasker(ratio=0.8, length=1, overlap="apart").plan(Layout(2, 50), keys(2))
    with pytest.raises(PlanError, match="'block' or 'tube'"):
        SpanMasker().plan(Layout(2, 16, (4, 4)), keys(2))
    with pytest.raises(PlanError, match=r"lower mask\.ratio"):
        SpanMasker(ratio=1.0, length=1).plan(Layout(2, 10), keys(2))
    wrong = {"ratio": -0.1, "length": 0, "max_length": 9, "overlap": "both", "rounding": "up"}
    for options in ({name: value} for name, value in wrong.items()):
        with pytest.raises(RecipeError):
            SpanMasker(**options)
