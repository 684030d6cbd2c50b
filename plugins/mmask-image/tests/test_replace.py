"""Replacing in place: SimMIM on a ViT and on a Swin Transformer, BEiT's codes."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from torch.nn import functional as F

from mmask.api import Batch, Keys, Layout, MaskPlan, NetworkSection, PlanError, Recipe, RecipeError, ViewSection, use
from mmask.testing import component
from mmask_image.patch import PatchTokenizer
from mmask_image.recipes.beit import beit_vit_b
from mmask_image.recipes.simmim import simmim_swin_t, simmim_vit_b
from mmask_image.swin import SwinEncoder

SWIN = {"width": 12, "depths": (2, 2), "heads": (2, 3), "window": 4, "patch": 4}


def swin() -> Recipe:
    """32 px, patches of 4, two stages: 4 x 4 places of 8 px."""
    recipe = simmim_swin_t()
    recipe.tokenize["image"] = use("patch", size=8, image_size=32)
    recipe.networks["encoder"] = NetworkSection(use="swin", **SWIN)
    return recipe


def vit() -> Recipe:
    """32 px, 4 x 4 patches, hidden in units of 2 x 2."""
    recipe = simmim_vit_b()
    recipe.tokenize["image"] = use("patch", size=8, image_size=32)
    recipe.networks["encoder"] = NetworkSection(
        use="beit", width=24, depth=2, heads=3, positions="relative", mask_token=True
    )
    return recipe


def beit() -> Recipe:
    recipe = beit_vit_b()
    recipe.tokenize["image"] = use("patch", size=8, image_size=32)
    recipe.mask = use("block", count=6, min_area=2, exact=False)
    recipe.networks = {
        "encoder": vit().networks["encoder"],
        "tokenizer": NetworkSection(use="vq", frozen=True, codes=16, dim=4, width=8, depth=1, stride=4),
    }
    return recipe


RECIPES = {"simmim-vit": vit, "simmim-swin": swin, "beit": beit}


def pictures(batch: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (batch, 3, 32, 32), generator=generator, dtype=torch.uint8)
    fields = {"image": image, "second": image[:, :, ::2, ::2].contiguous()}
    return Batch(fields, np.arange(batch, dtype=np.uint64), np.zeros(batch, np.int64))


@pytest.mark.parametrize("name", RECIPES)
def test_what_hidden_patches_show_does_not_reach_the_prediction(name, build):
    model, batch = build(RECIPES[name]()).eval(), pictures(3)
    plans = model.draw(batch)
    plan = plans.plan("mask")
    cells = plan.on_grid(8)[:, None].expand(-1, 3, -1, -1)
    image = batch["image"].clone()
    image[cells] = 255 - image[cells]
    one, two = model.scene(batch, plan), model.scene(batch.with_field("image", image), plan)
    assert torch.equal(one.encode("encoder", "masked").state, two.encode("encoder", "masked").state)
    for objective in model.objectives.values():
        objective(one), objective(two)
    for key in one.predictions:
        assert torch.equal(one.predictions[key].value, two.predictions[key].value)


@pytest.mark.parametrize("name", RECIPES)
def test_every_parameter_learns_but_the_tokenizers(name, build):
    model, batch = build(RECIPES[name]()).train(), pictures(4)
    losses = model(batch)
    losses.total().backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None}
    assert all(n.startswith("networks.tokenizer.") for n in idle)
    assert model.encoder.mask_token.grad.any()


@pytest.mark.parametrize("make", [vit, swin])
def test_the_loss_is_the_papers_mean_over_hidden_pixels(make, build):
    """The reference's arithmetic: |x - y| times the mask, over its sum, over the channels."""
    model, batch = build(make()).double().eval(), pictures(2)
    plan = model.draw(batch).plan("mask")
    losses, predictions = model(batch, plan, predictions=True)
    tokenizer = model.tokenizers["image"]
    values = tokenizer(batch).values.double()
    dense = torch.zeros_like(values)
    dense[plan.hidden] = predictions["pixels"].value
    truth, guess = (tokenizer.pixels(v) / torch.tensor(tokenizer.std)[:, None, None] for v in (values, dense))
    cells = plan.on_grid(8)[:, None].double()
    want = (F.l1_loss(truth, guess, reduction="none") * cells).sum() / cells.sum() / 3
    assert losses["pixels"].item() == pytest.approx(want.item(), rel=1e-6)  # the deviations are float32
    shifted = tokenizer.pixels(values)  # an error in the frame of [0, 1] would be another number
    assert (shifted - truth).abs().max() > 0.1


def test_masks_of_the_vit_are_whole_units(build):
    model, batch = build(vit()), pictures(16)
    hidden = model.draw(batch).plan("mask").hidden.view(-1, 2, 2, 2, 2)
    share = hidden.float().mean((2, 4))
    assert set(share.flatten().tolist()) <= {0.0, 1.0}
    assert set(share.flatten(1).sum(1).tolist()) == {3.0}  # ceil(4 * 0.6)


def test_beit_hides_at_most_75_of_196_in_blocks():
    options = beit_vit_b().mask.options()
    keys = Keys(0, np.arange(500, dtype=np.uint64), np.zeros(500, np.int64))
    plan = component("masker", "block", **options).plan(Layout(500, 196, grid=(14, 14)), keys)
    counts = plan.hidden.sum(1)
    assert counts.max() == 75
    assert counts.float().mean() > 70


def test_beits_cross_entropy_starts_near_that_of_a_blind_guess(build):
    losses = build(beit())(pictures(8))
    assert losses["ids"].item() == pytest.approx(log(16), rel=0.1)


def test_swins_weights_load_into_timm_unchanged_and_stages_agree(build):
    model, batch = build(swin()).double().eval(), pictures(2)
    mine, tokenizer = model.encoder, model.tokenizers["image"]
    theirs = SwinTransformer(
        img_size=32, patch_size=4, num_classes=0, embed_dim=12, depths=(2, 2), num_heads=(2, 3), window_size=4
    ).double().eval()
    state = {name: value for name, value in mine.state_dict().items() if name != "mask_token"}
    theirs.load_state_dict(state, strict=True)
    view = model.scene(batch).view("clean")
    mean, std = (torch.tensor(v)[:, None, None].double() for v in (tokenizer.mean, tokenizer.std))
    picture = (tokenizer.pixels(view.only().values.double()) - mean) / std
    with torch.no_grad():
        got, want = mine(view), theirs.forward_features(picture)
    assert (got.state - want.flatten(1, 2)).abs().max() < 1e-6
    assert [tuple(stage.shape) for stage in got.pyramid] == [(2, 12, 8, 8), (2, 24, 4, 4)]
    assert torch.allclose(got.pooled, want.mean((1, 2)))


def test_a_replaced_place_of_swin_is_all_of_its_patches(build):
    model, batch = build(swin()).eval(), pictures(1)
    plan = MaskPlan.of_hidden(model.layouts(batch)["image"], F.one_hot(torch.tensor([5]), 16).bool())
    cells = model.encoder.embedded(model.scene(batch, plan).view("masked").only())
    token = model.encoder.mask_token[0, 0, 0]
    same = (cells[0] == token).all(-1)
    want = torch.zeros(8, 8, dtype=torch.bool)
    want[2:4, 2:4] = True
    assert torch.equal(same, want)


def test_swin_refuses_dropped_places_and_other_patches(build):
    recipe = swin()
    recipe.views["masked"] = ViewSection(corrupt=use("drop"))
    dropping = build(recipe)
    with pytest.raises(PlanError, match="cannot be dropped"):
        dropping(pictures(1))
    with pytest.raises(RecipeError, match="8 px a side"):
        SwinEncoder(tokenizer=PatchTokenizer(size=16, image_size=32), **SWIN)
    model = build(swin())
    view = model.scene(pictures(1)).view("clean")
    with pytest.raises(PlanError, match="pyramid"):
        model.encoder(view, taps=("block.0",))
