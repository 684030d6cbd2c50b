"""Codes, negatives and the terms: what they are keyed by, and that no topology changes them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributed as dist

from mmask.api import Keys, Layout, MaskPlan, PlanError, Prediction, RecipeError, Scored, Target
from mmask.testing import on_ranks
from mmask_audio.wav2vec2.contrast import SampledContrast
from mmask_audio.wav2vec2.draws import gumbel_noise, sample_negatives
from mmask_audio.wav2vec2.objective import CodeContrast
from mmask_audio.wav2vec2.quantizer import GumbelQuantizer, perplexity

COUNTS = torch.tensor([5, 0, 1, 9])


def keys(ids, visit=0):
    import numpy as np

    return Keys(0, np.array(ids, np.uint64), np.full(len(ids), visit))


def test_negatives_are_other_places_of_the_same_clip_and_every_one_of_them():
    rows = sample_negatives(keys([1, 2, 3, 4]), COUNTS, 200)
    assert rows.shape == (15, 200)
    assert set(rows[2].tolist()) == {0, 1, 3, 4}
    assert set(rows[5].tolist()) == {5}  # a lone place has no other
    assert set(rows[14].tolist()) == set(range(6, 14))
    shares = torch.bincount(sample_negatives(keys([1]), torch.tensor([5]), 20_000)[0]) / 20_000
    assert (shares[1:] - 0.25).abs().max() < 0.02


def test_draws_of_a_clip_are_the_same_in_any_batch_and_new_at_each_visit():
    together = sample_negatives(keys([1, 2, 3, 4]), COUNTS, 6)[6:] - 6
    alone = sample_negatives(keys([4]), COUNTS[3:], 6)
    assert torch.equal(together, alone)
    assert not torch.equal(alone, sample_negatives(keys([4], visit=1), COUNTS[3:], 6))
    noise = gumbel_noise(keys([1, 2, 3, 4]), COUNTS, (2, 3), torch.float64)
    assert noise.shape == (15, 2, 3)
    assert torch.equal(noise[6:], gumbel_noise(keys([4]), COUNTS[3:], (2, 3), torch.float64))
    many = gumbel_noise(keys([7]), torch.tensor([4000]), (5,), torch.float64)
    assert float(many.mean()) == pytest.approx(0.5772, abs=0.03)
    assert float(many.var()) == pytest.approx(math.pi**2 / 6, abs=0.08)


def test_the_choice_is_one_entry_forward_and_a_softmax_backward():
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(5, groups=3, entries=4, width=6).double()
    x = torch.randn(7, 5, dtype=torch.float64)
    noise = torch.randn(7, 3, 4, dtype=torch.float64)
    made = quantizer(x, noise, 0.7)
    table = quantizer.codevectors.view(3, 4, 2)
    want = torch.cat([table[g][made.ids[:, g]] for g in range(3)], 1)
    torch.testing.assert_close(made.vectors, want, rtol=1e-12, atol=1e-12)
    (grad,) = torch.autograd.grad(made.vectors.sin().sum(), quantizer.weight_proj.weight)
    soft = ((quantizer.weight_proj(x).view(7, 3, 4) + noise) / 0.7).softmax(-1)
    slope = want.cos().detach().view(7, 3, 2)
    (same,) = torch.autograd.grad(torch.einsum("sgv,gvd,sgd->", soft, table, slope), quantizer.weight_proj.weight)
    torch.testing.assert_close(grad, same)
    assert quantizer(x).vectors.requires_grad and quantizer(x).probs.sum(-1).eq(1).all()
    with pytest.raises(RecipeError, match="cannot be made of 3 groups"):
        GumbelQuantizer(5, groups=3, entries=4, width=8)


def test_perplexity_of_unused_entries_has_a_finite_gradient():
    probs = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64, requires_grad=True)
    perplexity(probs).sum().backward()
    assert float(perplexity(probs.detach())) == pytest.approx(2.0)
    assert probs.grad.isfinite().all()


def problem(*, seed=0, counts=(5, 0, 1, 9)):
    torch.manual_seed(seed)
    hidden = torch.arange(9)[None] < torch.tensor(counts)[:, None]
    scored = Scored.hidden(MaskPlan.of_hidden(Layout(4, 9), hidden))
    said, truth = torch.randn(2, sum(counts), 6, dtype=torch.float64)
    said.requires_grad_()
    extra = {
        "negatives": sample_negatives(keys([1, 2, 3, 4]), torch.tensor(counts), 8),
        "ids": torch.randint(0, 2, (sum(counts), 2)),
    }
    return Prediction(said, scored), Target(truth, scored, attached=True, extra=extra)


def test_contrast_within_clips_is_the_gathered_one():
    out = []
    for fast in (True, False):
        prediction, target = problem()
        term = SampledContrast(fast=fast)(prediction, target)
        term.total.backward()
        out.append((term.total.detach(), prediction.value.grad))
        assert term.count == 15
    torch.testing.assert_close(out[0], out[1], rtol=1e-12, atol=1e-13)


def test_negatives_with_the_positive_s_codes_are_no_candidates():
    prediction, target = problem()
    same = (target.extra["ids"][target.extra["negatives"]] == target.extra["ids"][:, None]).all(-1)
    assert 0 < same.sum() < same.numel()
    flat = Prediction(torch.zeros_like(prediction.value), prediction.scored)
    want = (1 + (~same).sum(1)).double().log().sum()
    torch.testing.assert_close(SampledContrast()(flat, target).total, want)
    lone = target.scored.rows() == 2
    assert same[lone].all()  # its loss is 0
    with pytest.raises(PlanError, match="gumbel-codes"):
        SampledContrast()(prediction, Target(target.value, target.scored))


def test_the_temperature_is_a_function_of_the_step_alone(build, clips):
    model = build()
    target = model.objectives["contrast"].target
    assert target.temperature(0) == 2.0
    assert target.temperature(1000) == pytest.approx(2 * 0.999995**1000)
    assert target.temperature(277_258) == pytest.approx(0.5, abs=1e-5)
    assert target.temperature(10**6) == 0.5
    losses = [model(clips(), step=step) for step in (0, 200_000, 200_000)]
    assert losses[1].metrics["temperature"] == target.temperature(200_000)
    weight = target.quantizer.weight_proj.weight
    grads = [torch.autograd.grad(one.total(), weight)[0] for one in losses]
    assert not torch.allclose(grads[0], grads[1]) and torch.equal(grads[1], grads[2])
    assert not any("temperature" in name for name in model.state_dict())


@pytest.mark.parametrize("options", [{"norm": "layer"}, {"norm": "group", "over": "own"}])
def test_one_batch_of_eight_is_four_of_two(options, build, clips):
    model = build(front=options)
    lengths = (1010, 430, 777, 250, 600, 801, 333, 999)
    batch = clips(lengths)
    plans = model.draw(batch)
    counts = model.denominators(plans)
    whole = model(batch, plans).total(counts)
    whole_grads = torch.autograd.grad(whole, list(model.parameters()))
    total, grads = 0.0, [torch.zeros_like(p) for p in model.parameters()]
    for start in range(0, 8, 2):
        part = model(batch.rows(start, start + 2), plans.rows(start, start + 2)).total(counts)
        total += float(part.detach())
        for own, more in zip(grads, torch.autograd.grad(part, list(model.parameters())), strict=True):
            own += more
    assert total == pytest.approx(float(whole.detach()), rel=1e-9)
    for own, want in zip(grads, whole_grads, strict=True):
        torch.testing.assert_close(own, want, rtol=1e-6, atol=1e-10)


def test_diversity_of_the_whole_batch_refuses_micro_batches(build):
    model = build(diversity={"diversity": 0.1})
    with pytest.raises(RecipeError, match="couples the whole batch"):
        model.check_split(8, accumulate=2)
    build().check_split(8, accumulate=4)
    with pytest.raises(RecipeError, match="whole groups of 2"):
        build().check_split(8, accumulate=8)


def _rank(rank, folder, path):
    term, _ = _diversity(torch.load(path, weights_only=True)[rank])
    counts = torch.tensor([term[0].count])
    dist.all_reduce(counts)
    term[0].total.div(counts[0]).backward()
    torch.save((float(term[0].total), term[1].grad), f"{folder}/{rank}.pt")


def _diversity(probs):
    """(term, leaf) of an objective that averages over the whole batch."""
    from types import SimpleNamespace

    probs = probs.clone().requires_grad_()
    section = SimpleNamespace(network="n", view="v", stream=None, scored="hidden", weight=1.0, taps=())
    objective = CodeContrast(name="c", section=section, head=None, target=None, loss=None)
    scored = Scored(Layout(1, len(probs)))
    target = Target(probs.sum((1, 2)), scored, extra={"probs": probs, "ids": probs.argmax(-1)})
    scene = SimpleNamespace(batch=[None], training=True)
    return (objective._diversity(target, scene), probs), scene


def test_two_ranks_measure_diversity_of_all_their_frames(tmp_path):
    torch.manual_seed(0)
    probs = torch.randn(9, 2, 5, dtype=torch.float64).mul(3).softmax(-1)
    torch.save([probs[:6], probs[6:]], tmp_path / "probs.pt")
    on_ranks(_rank, str(tmp_path), str(tmp_path / "probs.pt"))
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    (term, leaf), _ = _diversity(probs)
    term.mean().backward()
    assert (ranks[0][0] + ranks[1][0]) / 9 == pytest.approx(float(term.mean().detach()), rel=1e-9)
    torch.testing.assert_close(torch.cat([ranks[0][1], ranks[1][1]]), leaf.grad, rtol=1e-9, atol=1e-12)


def test_given_negatives_must_be_hidden_places(build, clips):
    model = build()
    batch = clips()
    layout = model.layouts(batch)["audio"]
    hidden = layout.maskable() & (torch.arange(layout.length)[None] % 3 == 0)
    for place, fine in ((0, True), (1, False)):
        extra = {"negatives": torch.full((4, layout.length, 5), place)}
        scene = model.scene(batch, MaskPlan.of_hidden(layout, hidden, extra=extra))
        if fine:
            model.objectives["contrast"](scene)
        else:
            with pytest.raises(PlanError, match="not scored"):
                model.objectives["contrast"](scene)


def test_the_penalty_is_the_mean_square_of_valid_features(build, clips):
    model = build(front={"norm": "layer"})
    batch = clips()
    losses = model(batch)
    tokens = model.tokenizers["audio"](batch)
    want = tokens.values[tokens.layout.maskable()].square().mean()
    torch.testing.assert_close(losses["penalty"], want)
    assert losses.terms["penalty"].weight == 10.0
    assert model.denominators(model.draw(batch))["penalty"] == int(tokens.layout.maskable().sum())


def test_a_batch_without_hidden_frames_has_exactly_no_contrast(build, clips):
    model = build()
    batch = clips((31, 35))  # one frame each: nothing may hide
    losses = model(batch)
    assert losses["contrast"].item() == losses["contrast_diversity"].item() == 0.0
    losses.total().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
