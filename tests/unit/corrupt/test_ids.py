"""Laws of the corruptions that write ids."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmask.corrupt.ids import ReplaceIds
from mmask.corrupt.sample import SampleIds, draw_ids
from mmask.errors import PlanError, RecipeError
from mmask.keyed import Keys
from mmask.mask.action import Mixture
from mmask.mask.random import RandomMasker
from mmask.types import Action, Layout, MaskPlan, Prediction, Scored, Tokens, View

SIZE, SPECIAL, MASK = 50, (0, 1, 2, 3, 4), 4
VOCABULARY = SimpleNamespace(size=SIZE, mask_id=MASK, special_ids=SPECIAL)
TOKENIZERS = {"text": SimpleNamespace(vocabulary=VOCABULARY)}
BERT = Mixture({"mask": 0.8, "random": 0.1, "keep": 0.1})


def keys(rows, seed=0):
    return Keys(seed, np.arange(20, 20 + rows, dtype=np.uint64), np.zeros(rows, np.int64))


def ragged(rows=40, length=60):
    lengths = torch.randint(20, length + 1, (rows,), generator=torch.Generator().manual_seed(1))
    valid = torch.arange(length)[None] < lengths[:, None]
    ids = torch.randint(5, SIZE, (rows, length), generator=torch.Generator().manual_seed(2)).masked_fill(~valid, 0)
    return Tokens(Layout(rows, length, valid=valid), ids=ids)


def plan_of(tokens, mixture=BERT, ratio=0.5):
    plan = RandomMasker(ratio=ratio).plan(tokens.layout, keys(tokens.layout.batch))
    return plan if mixture is None else mixture.apply(plan, keys(tokens.layout.batch))


def apply(corruption, tokens, plan, name="masked", rows=None, **scene):
    at = keys(tokens.layout.batch) if rows is None else rows
    view = View(name, {"text": tokens})
    return corruption(view, "text", plan, SimpleNamespace(keys=at, **scene))


def test_each_action_does_what_it_says():
    tokens = ragged(400)
    plan = plan_of(tokens)
    ids = apply(ReplaceIds(tokenizers=TOKENIZERS), tokens, plan).ids
    assert torch.equal(ids[~plan.hidden], tokens.ids[~plan.hidden])
    assert (ids[plan.action == Action.MASK] == MASK).all()
    assert torch.equal(ids[plan.action == Action.KEEP], tokens.ids[plan.action == Action.KEEP])
    drawn = ids[plan.action == Action.RANDOM]
    assert set(drawn.tolist()) == set(range(SIZE)) - set(SPECIAL)
    counts = torch.bincount(drawn, minlength=SIZE)[5:].double()
    expected = len(drawn) / 45
    assert ((counts - expected) ** 2 / expected).sum() < 80  # chi-squared of 44 degrees: 80 is beyond 0.999


def test_random_ids_may_be_drawn_from_all_of_the_vocabulary():
    tokens = ragged(400)
    plan = plan_of(tokens, Mixture({"random": 1.0}))
    ids = apply(ReplaceIds(random="all", tokenizers=TOKENIZERS), tokens, plan).ids
    assert set(ids[plan.hidden].tolist()) == set(range(SIZE))


def test_a_plan_without_actions_masks_every_hidden_place():
    tokens = ragged()
    plan = plan_of(tokens, None)
    ids = apply(ReplaceIds(tokenizers=TOKENIZERS), tokens, plan).ids
    assert torch.equal(ids == MASK, plan.hidden)


def test_draws_belong_to_the_sample_and_the_view_and_flat_tokens_get_the_same():
    tokens = ragged()
    plan, corruption = plan_of(tokens, Mixture({"random": 1.0})), ReplaceIds(tokenizers=TOKENIZERS)
    whole = apply(corruption, tokens, plan)
    part = apply(
        corruption, Tokens(tokens.layout.rows(5, 9), ids=tokens.ids[5:9]), plan.rows(5, 9),
        rows=Keys(0, keys(40).ids[5:9], keys(40).visits[5:9]),
    )
    assert torch.equal(part.ids, whole.ids[5:9])
    assert torch.equal(apply(corruption, tokens.pack(), plan).ids, whole.pack().ids)
    assert not torch.equal(apply(corruption, tokens, plan, name="second").ids, whole.ids)
    assert not torch.equal(apply(corruption, tokens, plan, rows=keys(40, seed=1)).ids, whole.ids)


def test_what_cannot_be_written_is_refused():
    tokens = ragged()
    corruption = ReplaceIds(tokenizers=TOKENIZERS)
    with pytest.raises(PlanError, match="asks for ZERO"):
        apply(corruption, tokens, plan_of(tokens, Mixture({"zero": 1.0})))
    with pytest.raises(PlanError, match="moves places"):
        apply(corruption, tokens, replace(plan_of(tokens), source=torch.zeros(40, 60, dtype=torch.int64)))
    with pytest.raises(PlanError, match="one id a place"):
        apply(corruption, Tokens(tokens.layout, values=torch.zeros(40, 60, 3)), plan_of(tokens))
    with pytest.raises(RecipeError, match="id of the mask"):
        apply(ReplaceIds(tokenizers={"text": object()}), tokens, plan_of(tokens))


def predicted(tokens, plan, logits=None):
    scored = Scored.hidden(plan)
    make = torch.Generator().manual_seed(3)
    value = torch.randn(len(scored.index), SIZE, generator=make) if logits is None else logits
    clean = View("clean", {"text": tokens})
    said = Prediction(value.requires_grad_(), scored)
    return {"predict": lambda name: said, "view": lambda name: clean}, said


def test_draws_follow_the_softmax():
    logits = torch.randn(SIZE * 7, generator=torch.Generator().manual_seed(0)) * 2
    uniform = (torch.arange(200_000) + 0.5).double() / 200_000
    drawn = draw_ids(logits.expand(len(uniform), -1), uniform)
    share = torch.bincount(drawn, minlength=SIZE * 7).double() / len(uniform)
    assert (share - logits.double().softmax(0)).abs().max() < 2e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_only_ids_of_some_share_are_drawn_also_at_the_ends(dtype):
    logits = torch.full((3, 700), float("-inf"), dtype=dtype)
    logits[:, [300, 301, 511]] = torch.tensor([0.0, 1.0, 0.0], dtype=dtype)
    drawn = draw_ids(logits, torch.tensor([0.0, 0.5, 1 - 2.0**-53], dtype=torch.float64))
    assert drawn.tolist() == [300, 301, 511]
    assert draw_ids(logits[:0], torch.zeros(0, dtype=torch.float64)).shape == (0,)


def test_a_low_temperature_takes_the_likeliest_and_kept_places_are_overwritten_too():
    tokens = ragged()
    plan = plan_of(tokens)
    scene, said = predicted(tokens, plan)
    ids = apply(SampleIds(objective="words", temperature=1e-6), tokens, plan, **scene).ids
    assert torch.equal(said.scored.take(ids), said.value.argmax(-1))
    assert torch.equal(ids[~plan.hidden], tokens.ids[~plan.hidden])
    assert not ids.requires_grad


def test_the_original_can_be_ruled_out():
    tokens = ragged()
    plan = plan_of(tokens)
    scene, said = predicted(tokens, plan)
    with torch.no_grad():
        said.value.scatter_(1, said.scored.take(tokens.ids)[:, None], 9.0)
    plain = apply(SampleIds(objective="words"), tokens, plan, **scene).ids
    assert (plain == tokens.ids)[plan.hidden].float().mean() > 0.9
    ids = apply(SampleIds(objective="words", disallow_original=True), tokens, plan, **scene).ids
    assert (ids != tokens.ids)[plan.hidden].all()


def test_special_ids_and_rows_beyond_the_vocabulary_are_drawn_only_where_asked():
    tokens = ragged()
    plan = plan_of(tokens)
    logits = torch.zeros(int(plan.hidden.sum()), SIZE + 14)
    scene, _ = predicted(tokens, plan, logits)
    ids = apply(SampleIds(objective="words", tokenizers=TOKENIZERS), tokens, plan, **scene).ids[plan.hidden]
    assert set(ids.tolist()) == set(range(SIZE)) - set(SPECIAL)
    ids = apply(SampleIds(objective="words", special=True, tokenizers=TOKENIZERS), tokens, plan, **scene).ids
    assert set(ids[plan.hidden].tolist()) == set(range(SIZE + 14))


def test_a_sampled_id_is_the_same_in_any_batch_and_for_flat_tokens():
    tokens = ragged()
    plan = plan_of(tokens)
    scene, said = predicted(tokens, plan)
    whole = apply(SampleIds(objective="words"), tokens, plan, **scene)
    flat = apply(SampleIds(objective="words"), tokens.pack(), plan, **scene)
    assert torch.equal(flat.ids, whole.pack().ids)
    rows = said.scored.rows()
    inside = (rows >= 5) & (rows < 9)
    part, less = plan.rows(5, 9), Tokens(tokens.layout.rows(5, 9), ids=tokens.ids[5:9])
    scene, _ = predicted(less, part, said.value.detach()[inside].clone())
    again = apply(
        SampleIds(objective="words"), less, part, rows=Keys(0, keys(40).ids[5:9], keys(40).visits[5:9]), **scene
    )
    assert torch.equal(again.ids, whole.ids[5:9])


def test_an_objective_of_other_places_is_refused():
    tokens = ragged()
    plan = MaskPlan.nothing(tokens.layout)
    said = Prediction(torch.zeros(1, SIZE), Scored(Layout(1, 1), "pooled"))
    with pytest.raises(PlanError, match="does not predict places"):
        apply(SampleIds(objective="words"), tokens, plan, predict=lambda name: said)
    with pytest.raises(RecipeError, match="above 0"):
        SampleIds(objective="words", temperature=0.0)
