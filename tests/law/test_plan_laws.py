"""Laws that hold for every masker and every plan."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmask.errors import PlanError
from mmask.keyed import Keys
from mmask.mask.block import BlockMasker
from mmask.mask.group import GroupMasker
from mmask.mask.random import RandomMasker
from mmask.mask.run import RunMasker
from mmask.mask.span import SpanMasker
from mmask.mask.tube import TubeMasker
from mmask.types import Layout, MaskPlan, Scored

BATCH = 24


def ragged(length=48, shortest=9):
    lengths = np.random.default_rng(5).integers(shortest, length + 1, BATCH)
    lengths[0] = length
    valid = torch.arange(length)[None] < torch.from_numpy(lengths)[:, None]
    special = torch.zeros(BATCH, length, dtype=torch.bool)
    special[:, 0] = True
    special[torch.arange(BATCH), torch.from_numpy(lengths) - 1] = True
    words = torch.from_numpy(np.random.default_rng(6).integers(0, 2, (BATCH, length))).cumsum(1)
    return Layout(BATCH, length, valid=valid, special=special, groups={"word": words})


def grid():
    return Layout(BATCH, 144, (12, 12))


def clip():
    return Layout(BATCH, 4 * 36, (4, 6, 6))


MASKERS = {
    "random": (RandomMasker(ratio=0.5), ragged),
    "random-grid": (RandomMasker(), grid),
    "block": (BlockMasker(ratio=0.4, min_area=4), grid),
    "block-beit": (BlockMasker(ratio=0.4, exact=False), grid),
    "span": (SpanMasker(ratio=0.4, length=4, at_least=1), ragged),
    "span-geometric": (SpanMasker(ratio=0.3, length=3, distribution="geometric", max_length=8), ragged),
    "span-apart": (SpanMasker(ratio=0.3, length=3, overlap="apart"), ragged),
    "span-apart-geometric": (
        SpanMasker(ratio=0.15, length=5, distribution="geometric", overlap="apart", rounding="random"),
        ragged,
    ),
    "tube": (TubeMasker(spatial=RandomMasker(ratio=0.9)), clip),
    "tube-block": (TubeMasker(spatial=BlockMasker(ratio=0.5, min_area=4)), clip),
    "group": (GroupMasker(ratio=0.3), ragged),
    "group-allow": (GroupMasker(ratio=0.3, overflow="allow"), ragged),
    "random-text": (
        RandomMasker(ratio=0.15, rounding="round", count_special=True, cap=5, at_least=1), ragged,
    ),
    "random-roberta": (RandomMasker(ratio=0.15, rounding="random", at_least=1), ragged),
    "run-words": (RunMasker(ratio=0.3), ragged),
    "run-exact": (RunMasker(ratio=0.3, exact=True, lengths="harmonic", longest=3), ragged),
    "run-places": (RunMasker(ratio=0.2, group=None, count_special=True, cap=6), ragged),
    "group-stop": (GroupMasker(ratio=0.3, overflow="stop", rounding="random", at_least=0), ragged),
}


def keys(seed=0, visit=0):
    ids = np.arange(BATCH, dtype=np.uint64) * np.uint64(0x9E3779B9) + np.uint64(3)
    return Keys(seed, ids, np.full(BATCH, visit, np.int64))


def rows_of(some, index):
    return Keys(some.seed, some.ids[index], some.visits[index], some.step, some.view)


@pytest.fixture(params=MASKERS, name="case")
def case_(request):
    masker, layout = MASKERS[request.param]
    return masker, layout()


def test_keep_and_hidden_partition_the_valid_places(case):
    masker, layout = case
    plan = masker.plan(layout, keys())
    counts = plan.hidden_index[1]
    for row in range(BATCH):
        kept = plan.keep_idx[row] if plan.kept is None else plan.keep_idx[row][plan.kept[row]]
        gone = plan.hide_idx[row] if counts is None else plan.hide_idx[row][: counts[row]]
        valid = torch.arange(layout.length) if layout.valid is None else layout.valid[row].nonzero().flatten()
        assert torch.equal(torch.cat([kept, gone]).sort().values, valid)


def test_padding_and_special_places_are_never_hidden_and_something_stays_visible(case):
    masker, layout = case
    plan = masker.plan(layout, keys())
    assert not (plan.hidden & ~layout.maskable()).any()
    assert plan.hidden.any()
    assert (plan.hidden.sum(1) < layout.lengths()).all()


def test_the_same_key_gives_the_same_plan_and_another_seed_visit_or_view_another(case):
    masker, layout = case
    base = masker.plan(layout, keys()).hidden
    assert torch.equal(base, masker.plan(layout, keys()).hidden)
    for other in (keys(seed=1), keys(visit=1), keys().of_view("second")):
        changed = (masker.plan(layout, other).hidden != base).any(1)
        assert changed.float().mean() > 0.5


def test_a_plan_does_not_depend_on_the_company_or_its_order(case):
    masker, layout = case
    plan = masker.plan(layout, keys())
    order = np.random.default_rng(1).permutation(BATCH)[:7]
    part = masker.plan(layout.samples(torch.from_numpy(order)), rows_of(keys(), order))
    assert torch.equal(part.hidden, plan.hidden[order])


@pytest.mark.parametrize("name", [name for name, (_, layout) in MASKERS.items() if layout is ragged])
def test_padding_a_batch_further_changes_no_plan(name):
    masker, layout = MASKERS[name][0], ragged()
    more = 13
    wide = Layout(
        BATCH, layout.length + more,
        valid=torch.nn.functional.pad(layout.valid, (0, more)),
        special=torch.nn.functional.pad(layout.special, (0, more)),
        groups={n: torch.nn.functional.pad(g, (0, more), value=-1) for n, g in layout.groups.items()},
    )
    assert torch.equal(
        masker.plan(wide, keys()).hidden[:, : layout.length], masker.plan(layout, keys()).hidden
    )


def test_rows_of_a_plan_are_the_plan_of_the_rows(case):
    masker, layout = case
    part = masker.plan(layout, keys()).rows(5, 11)
    alone = masker.plan(layout.rows(5, 11), rows_of(keys(), slice(5, 11)))
    for name in ("hidden", "keep_idx", "keep_count"):
        ours, theirs = getattr(part, name), getattr(alone, name)
        assert ours is theirs if ours is None else torch.equal(ours, theirs)
    assert part.layout.batch == 6


def test_the_complement_hides_what_was_kept_and_keeps_special_places(case):
    masker, layout = case
    plan = masker.plan(layout, keys())
    other = plan.complement()
    assert torch.equal(other.hidden | plan.hidden, layout.maskable())
    assert not (other.hidden & plan.hidden).any()
    assert torch.equal(other.complement().hidden, plan.hidden)


def test_a_plan_that_hides_padding_or_special_places_is_refused():
    layout = ragged()
    everything = torch.ones(BATCH, layout.length, dtype=torch.bool)
    with pytest.raises(PlanError, match="padding or special"):
        MaskPlan.of_hidden(layout, everything)
    with pytest.raises(PlanError, match="padding or special"):
        MaskPlan.of_order(layout, torch.arange(layout.length).expand(BATCH, -1), 4)


def test_hiding_nothing_keeps_every_valid_place_in_order():
    plan = MaskPlan.nothing(grid())
    assert plan.ratio() == 0.0
    assert torch.equal(plan.keep_idx, torch.arange(144).expand(BATCH, -1))
    assert Scored.hidden(plan).count() == 0


@pytest.mark.parametrize("factor", [1, 2, (2, 3)])
def test_projecting_a_plan_to_a_finer_stride_repeats_every_place(factor):
    plan = BlockMasker(ratio=0.4, min_area=4).plan(grid(), keys())
    fine = plan.on_grid(factor)
    height, width = (factor, factor) if isinstance(factor, int) else factor
    assert fine.shape == (BATCH, 12 * height, 12 * width)
    coarse = plan.hidden.view(BATCH, 12, 12)
    for y, x in np.ndindex(12 * height, 12 * width):
        assert torch.equal(fine[:, y, x], coarse[:, y // height, x // width])
    assert fine.float().mean() == pytest.approx(plan.ratio())


def test_a_sequence_has_no_grid_to_project_to():
    with pytest.raises(PlanError, match="on a grid"):
        MaskPlan.nothing(ragged()).on_grid(2)


def test_joined_streams_split_into_the_plans_of_each():
    parts = {"image": grid(), "text": ragged()}
    joint = Layout.join(parts)
    assert joint.modalities == ("image", "text")
    assert torch.equal(joint.maskable(), torch.cat([p.maskable() for p in parts.values()], 1))
    plan = RandomMasker(ratio=0.3).plan(joint, keys())
    split = plan.split()
    assert torch.equal(torch.cat([split["image"].hidden, split["text"].hidden], 1), plan.hidden)
    for name, part in parts.items():
        assert torch.equal(split[name].layout.maskable(), part.maskable())
        assert split[name].with_layout(part).layout is part


def test_joined_groups_are_never_shared_between_streams():
    words = ragged()
    joint = Layout.join({"one": words, "two": words}).groups["word"]
    one, two = joint[:, :48], joint[:, 48:]
    assert not set(one.unique().tolist()) & set(two.unique().tolist())
    assert torch.equal(two - two.min(), one - one.min())


def test_an_edited_plan_is_seen_from_the_new_places():
    layout = ragged()
    plan = RandomMasker(ratio=0.2).plan(layout, keys())
    lengths = layout.lengths()
    place = torch.arange(50).expand(BATCH, -1)
    # one slot is inserted after the first place
    edit = torch.where(place < 1, place, place - 1).masked_fill(place == 1, -1)
    edit = edit.masked_fill(place > lengths[:, None], -2)
    from dataclasses import replace

    output = replace(plan, edit=edit).output
    assert torch.equal(output.layout.lengths(), lengths + 1)
    assert output.hidden[:, 1].all()
    assert torch.equal(output.hidden[:, 2:49], plan.hidden[:, 1:])
    assert torch.equal(output.layout.special[:, 2:49], layout.special[:, 1:])
    assert torch.equal(output.layout.groups["word"][:, 2:49][layout.valid[:, 1:]],
                       layout.groups["word"][:, 1:][layout.valid[:, 1:]])
    assert plan.output is plan


def test_taking_places_carries_everything_along():
    layout = ragged()
    plan = RandomMasker(ratio=0.5).plan(layout, keys())
    kept = layout.take(plan.keep_idx, plan.kept)
    assert kept.positions == layout.length
    assert torch.equal(kept.index, plan.keep_idx)
    assert torch.equal(kept.lengths(), layout.lengths() - plan.hidden.sum(1))
    again = kept.take(torch.zeros(BATCH, 1, dtype=torch.int64))
    assert torch.equal(again.index[:, 0], plan.keep_idx[:, 0])
    assert again.positions == layout.length
