"""The laws of the context autoencoder."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from mmask.api import (
    Batch,
    Keys,
    Layout,
    MaskedModel,
    MaskPlan,
    NetworkSection,
    Recipe,
    RecipeError,
    use,
)
from mmask.testing import component
from mmask_image.latent_decoder import LatentDecoder
from mmask_image.recipes.cae import cae
from mmask_image.regressor import LatentRegressor


def small(*, wide: int = 24, hide: int = 8) -> Recipe:
    """32 px, 4 x 4 patches of 8 px; ids of 4 px at 16 px."""
    return cae(
        "small", "", width=24, depth=2, heads=3, patch=8, image_size=32, hide=hide, min_area=2,
        regressor=(wide, 2, 2), decoder_depth=1, drop_path=0.0, stride=4,
        tokenizer=NetworkSection(use="vq", frozen=True, codes=16, dim=4, width=8, depth=1, stride=4),
    )


def pair(batch: int, seed: int = 0) -> Batch:
    """Patches of one colour each, with noise, and the same at half the size."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 256, (batch, 3, 4, 4), generator=generator)
    image = colours.repeat_interleave(8, 2).repeat_interleave(8, 3)
    image = (image + torch.randint(0, 16, image.shape, generator=generator)).clamp_max(255).to(torch.uint8)
    fields = {"image": image, "second": image[:, :, ::2, ::2].contiguous()}
    return Batch(fields, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


def spread(model: MaskedModel, batch: Batch) -> MaskedModel:
    """Codes on latents of the batch, so that its ids differ."""
    tokenizer = model.network("tokenizer")
    with torch.no_grad():
        latents = tokenizer.latents(batch["second"] / 255).flatten(0, 2)
        order = torch.randperm(len(latents), generator=torch.Generator().manual_seed(0))
        tokenizer.codebook.codes.copy_(latents[order[:16]])
    assert len(tokenizer.ids(batch["second"]).unique()) > 8
    return model


def repaint(batch: Batch, plan: MaskPlan) -> Batch:
    """Other pixels in every hidden patch."""
    cells = plan.on_grid(8)[:, None].expand(-1, 3, -1, -1)
    image = batch["image"].clone()
    image[cells] = 255 - image[cells]
    return batch.with_field("image", image)


def test_the_paper_hides_exactly_98_of_196_patches():
    options = cae("b", "", width=768, depth=12, heads=12).mask.options()
    keys = Keys(0, np.arange(1000, dtype=np.uint64), np.zeros(1000, np.int64))
    plan = component("masker", "block", **options).plan(Layout(1000, 196, grid=(14, 14)), keys)
    assert set(plan.hidden.sum(1).tolist()) == {98}


def test_hidden_pixels_reach_the_targets_and_nothing_else(build):
    model, batch = build(small()), pair(4)
    plans = model.draw(batch)
    plan = plans.plan("mask")
    one, two = model.scene(batch, plan), model.scene(repaint(batch, plan), plan)
    for network in ("encoder", "regressor"):
        assert torch.equal(one.encode(network, "masked").state, two.encode(network, "masked").state)
    assert not torch.equal(one.encode("encoder", "hidden").state, two.encode("encoder", "hidden").state)
    losses = [model.objectives["ids"](scene)["ids"] for scene in (one, two)]
    assert torch.equal(one.predictions["ids"].value, two.predictions["ids"].value)
    assert torch.equal(*losses)


def test_visible_pixels_do_not_reach_the_alignment_target(build):
    model, batch = build(small()), pair(4)
    plan = model.draw(batch).plan("mask")
    objective = model.objectives["align"]
    scenes = [model.scene(b, plan) for b in (batch, repaint(batch, plan.complement()))]
    one, two = (objective.target(scene, objective.scored(scene)).value for scene in scenes)
    assert torch.equal(one, two)
    assert one.shape == (4 * 8, 24)


@pytest.mark.parametrize("wide", [24, 32])
def test_no_gradient_passes_through_the_alignment_target(wide, build):
    """The gradient of the alignment term is that of a loss whose target is a stored constant."""
    model, batch = build(small(wide=wide)).double(), pair(3)
    scene = model.scene(batch)
    objective = model.objectives["align"]
    term = objective(scene).terms["align"]
    learnt = [p for p in model.parameters() if p.requires_grad]
    got = torch.autograd.grad(term.mean(), learnt, allow_unused=True, retain_graph=True)
    prediction = scene.predictions["align"].value
    constant = objective.target(scene, objective.scored(scene)).value.clone()
    want = torch.autograd.grad((prediction - constant).square().mean(), learnt, allow_unused=True)
    assert any(g is not None for g in got)
    for a, b in zip(got, want, strict=True):
        assert (a is None) == (b is None)
        assert a is None or (a - b).abs().max() < 1e-12


def test_the_target_is_the_live_encoder(build):
    model, batch = build(small()), pair(2)
    before = model.objectives["align"](model.scene(batch))["align"]
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    scene = model.scene(batch)
    objective = model.objectives["align"]
    want = scene.encode("encoder", "hidden").places.flatten(0, 1)
    assert torch.allclose(objective.target(scene, objective.scored(scene)).value, want)
    assert not torch.equal(objective(scene)["align"], before)


def test_cross_entropy_starts_near_that_of_a_blind_guess(build):
    batch = pair(16)
    losses = spread(build(small()), batch)(batch)
    assert losses["ids"].item() == pytest.approx(log(16), rel=0.3)


def test_at_the_start_predictions_differ_by_position_only(build):
    """One mask vector everywhere: without positions every hidden place gets the same answer."""
    model, batch = build(small()), pair(2)
    regressor = model.network("regressor")
    with_positions = model.scene(batch).encode("regressor", "masked").state
    assert (with_positions[:, :1] - with_positions).abs().max() > 1e-3
    regressor.positions.zero_()
    without = model.scene(batch).encode("regressor", "masked").state
    assert (without[:, :1] - without).abs().max() < 1e-5


def test_learnt_codes_beat_shuffled_ones(build):
    batch = pair(8)
    model = spread(build(small()), batch)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    plan = model.draw(batch).plan("mask")
    for _ in range(60):
        optimizer.zero_grad()
        model(batch, plan).total().backward()
        optimizer.step()
    model.eval()
    shuffled = batch.with_field("second", batch["second"].roll(1, 0))
    with torch.no_grad():
        aligned, other = model(batch, plan)["ids"], model(shuffled, plan)["ids"]
    assert aligned < 0.6 * log(16)
    assert other > log(16)


@pytest.mark.parametrize("wide", [24, 32])
def test_a_ragged_plan_gives_each_sample_what_it_gets_alone(wide, build):
    model, batch = build(small(wide=wide)).double().eval(), pair(2)
    layout = model.layouts(batch)["image"]
    hidden = torch.zeros(2, 16, dtype=torch.bool)
    hidden[0, :5], hidden[1, [3, 9, 15]] = True, True
    plan = MaskPlan.of_hidden(layout, hidden)
    together = model(batch, plan, predictions=True)
    values = {name: p.value.split([5, 3]) for name, p in together[1].items()}
    sums = dict.fromkeys(together[0].terms, 0.0)
    for row in range(2):
        alone = replace(batch, ids=batch.ids[row : row + 1], visits=batch.visits[row : row + 1], fields={
            name: value[row : row + 1] for name, value in batch.fields.items()
        })
        losses, predictions = model(alone, plan.rows(row, row + 1), predictions=True)
        for name, prediction in predictions.items():
            assert (prediction.value - values[name][row]).abs().max() < 1e-10
        for name, term in losses.terms.items():
            sums[name] += float(term.total.detach())
    for name, term in together[0].terms.items():
        assert float(term.total.detach()) == pytest.approx(sums[name], rel=1e-9)


def test_terms_say_what_they_are_averaged_over(build):
    model, batch = build(small()), pair(4)
    plans = model.draw(batch)
    losses = model(batch, plans)
    assert model.denominators(plans) == {"ids": 32.0, "align": 32.0}
    assert {name: term.count for name, term in losses.terms.items()} == {"ids": 32.0, "align": 32.0}
    assert losses.terms["align"].weight == 2.0
    total = losses["ids"] + 2 * losses["align"]
    assert torch.allclose(losses.total(), total)


def test_micro_batches_add_up_to_one_step(build):
    model, batch = build(small()).double(), pair(6)
    plans = model.draw(batch)
    counts = model.denominators(plans)
    whole = model(batch, plans).total(counts)
    parts = [plans.rows(start, start + 2) for start in (0, 2, 4)]
    halves = sum(model(part.batch, part).total(counts) for part in parts)
    assert whole.item() == pytest.approx(halves.item(), rel=1e-9)


def test_pixels_can_be_decoded_instead_of_ids(build):
    recipe = small()
    recipe.objectives["ids"].target = use("values", normalise=True)
    recipe.objectives["ids"].loss = use("mse")
    model = build(recipe)
    losses, predictions = model(pair(2), predictions=True)
    assert predictions["ids"].value.shape == (16, 8 * 8 * 3)
    losses.total().backward()
    assert model.objectives["ids"].head.pred.weight.grad.any()


def test_only_the_tokenizer_is_frozen_and_every_other_part_learns(build):
    model = build(small(wide=32)).train()
    model(pair(4)).total().backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None}
    assert idle == {"networks.encoder.pos_embed"} | {
        n for n, _ in model.named_parameters() if n.startswith("networks.tokenizer.")
    }
    assert not model.network("tokenizer").training
    assert [n for n in model.state_dict() if "_source" in n] == []


def test_the_encoder_is_registered_once(build):
    model = build(small())
    names = [n for n, _ in model.named_parameters(remove_duplicate=False)]
    assert len(names) == len(set(names)) == len(dict(model.named_parameters()))


def test_a_regressor_without_its_encoder_is_refused(build):
    recipe = small()
    recipe.networks = {"regressor": recipe.networks["regressor"], **recipe.networks}
    with pytest.raises(RecipeError, match="put the encoder first"):
        build(recipe)
    wrong = small()
    wrong.networks["regressor"] = NetworkSection(use="latent-regressor", of="encode", width=24, heads=2)
    with pytest.raises(RecipeError, match="did you mean 'encoder'"):
        build(wrong)


def test_initialisation_follows_the_reference_and_its_flag(build):
    model = build(small(wide=32))
    regressor = next(m for m in model.networks.values() if isinstance(m, LatentRegressor))
    decoder = next(m for m in model.modules() if isinstance(m, LatentDecoder))
    bound = (6 / (32 + 32)) ** 0.5
    assert 0.9 * bound < regressor.blocks[0].k.weight.abs().max() <= bound
    assert decoder.pred.weight.abs().max() > 0.02
    for module in (regressor, decoder):
        module.start = "rescaled"
        module.reset_parameters()
    assert regressor.blocks[1].proj.weight.abs().max() <= 0.01 + 1e-9
    assert decoder.blocks[0].mlp.fc2.weight.abs().max() <= 0.02 / 2**0.5 + 1e-9
