"""SparK as a whole: what it promises of its loss, its recipes, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from mmask.api import Batch, MaskedModel, PlanError, Recipe, RecipeError, use
from mmask_image.recipes import spark as recipes
from mmask_image.recipes.spark import spark

SMALL: dict[str, dict[str, Any]] = {
    "bn": {"net": "resnet18", "norm": "bn", "network": {
        "stem": "small", "maps": ("layer2", "layer3", "layer4"),
        "options": {"channels": (4, 6, 8, 10), "layers": (1, 1, 1, 1)}}},
    "ln": {"net": "convnext_tiny", "norm": "ln", "network": {
        "maps": ("stages.1", "stages.2", "stages.3"),
        "options": {"patch_size": 1, "depths": (1, 1, 1, 1), "dims": (4, 6, 8, 10), "ls_init_value": 0.5}}},
}


def small(kind: str, **changes: Any) -> Recipe:
    options = {**SMALL[kind], **changes}
    return spark(kind, "", beta2=0.95, drop_path=0.0, image_size=32, cell=8, width=16, **options)


@pytest.fixture(params=SMALL)
def model(request: pytest.FixtureRequest, build: Callable[..., MaskedModel]) -> MaskedModel:
    return build(small(request.param)).double()


@pytest.fixture
def batch(pictures: Callable[..., Batch]) -> Batch:
    return pictures(3, 3, 32, 32)


def test_twenty_of_forty_nine_cells_stay_and_exact_halves_go_to_even(build, pictures):
    counts = {}
    for image_size, ratio in ((224, 0.6), (96, 0.5), (160, 0.5)):
        recipe = spark("", "", net="resnet18", norm="bn", beta2=0.95, drop_path=0.0, ratio=ratio,
                       image_size=image_size, network={"options": {"channels": (4, 4, 4, 4)}}, width=32)
        batch = pictures(2, 3, image_size, image_size, torch.uint8)
        counts[image_size] = (~build(recipe).draw(batch).plan("mask").hidden).sum(1).tolist()
    assert counts == {224: [20, 20], 96: [4, 4], 160: [12, 12]}  # round(19.6), round(4.5), round(12.5)


def test_changing_hidden_pixels_changes_no_bit_of_the_encoder(model, batch):
    plans = model.draw(batch)
    hidden = plans.plan("mask").on_grid(8)[:, None]
    other = batch.with_field("image", torch.where(hidden, torch.randn_like(batch["image"]), batch["image"]))
    scenes = [model.train().scene(b, replace(plans, batch=b)) for b in (batch, other)]
    maps = [scene.encode("encoder", "masked").pyramid for scene in scenes]
    assert not torch.equal(batch["image"], other["image"])
    assert all(torch.equal(a, b) for a, b in zip(*maps, strict=True))
    cells = [m.abs().sum(1) > 0 for m in maps[0]]
    for seen in cells:  # and hidden cells are 0 at every scale
        side = seen.shape[1] // 4
        assert not seen[plans.plan("mask").on_grid(side)].any()


def test_hidden_pixels_of_bytes_are_blanked_after_normalisation(build, pictures):
    model, batch = build(small("bn")), pictures(2, 3, 32, 32, torch.uint8)
    scene = model.scene(batch)
    values, hidden = scene.view("masked").only().values, scene.plan("mask").hidden
    assert torch.all(values[hidden] == 0)
    assert torch.equal(values[~hidden], scene.view("clean").only().values[~hidden])


def test_visible_cells_carry_no_loss(model, batch):
    """The gradient of the loss with respect to the decoded picture is 0 there, and nowhere else throughout."""
    plans, found = model.draw(batch), []
    head = model.objectives["pixels"].head

    def keep(module, inputs, out):
        out.retain_grad()
        found.append(out)

    hook = head.decoder.register_forward_hook(keep)
    model.train()(batch, plans).total().backward()
    hook.remove()
    hidden = plans.plan("mask").on_grid(8)[:, None].expand_as(found[0])
    assert torch.all(found[0].grad[~hidden] == 0)
    assert torch.all(found[0].grad[hidden] != 0)


def test_every_trained_parameter_gets_a_gradient(model, batch):
    model.train()(batch).total().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_the_fast_form_agrees_with_the_plain_twin(build, batch):
    for kind in SMALL:
        losses, grads = [], []
        for form, merge in (("tiles", "always"), ("dense", "never")):
            recipe = small(kind, network={**SMALL[kind]["network"], "form": form})
            recipe.objectives["pixels"].head = use("spark", width=16, norm=kind, merge=merge)
            model = build(recipe).double().train()
            loss = model(batch).total()
            loss.backward()
            losses.append(loss.detach())
            grads.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=0)
        for name, grad in grads[0].items():
            worst = (grad - grads[1][name]).abs().max()
            assert worst <= 1e-8 * max(float(grads[1][name].abs().max()), 1e-6), name


def test_a_clean_view_is_the_dense_network(model, batch):
    model.eval()
    encoded = model.scene(batch).encode("encoder", "clean")
    image = batch["image"]
    want = model.encoder.net.forward_features(image)
    torch.testing.assert_close(encoded.pyramid[-1], want)
    torch.testing.assert_close(encoded.pooled, want.mean((2, 3)))
    assert encoded.plan is None


def test_pooling_counts_visible_cells_only(model, batch):
    encoded = model.eval().scene(batch).encode("encoder", "masked")
    seen = ~encoded.plan.hidden
    for row in range(len(batch)):
        torch.testing.assert_close(encoded.pooled[row], encoded.state[row][seen[row]].mean(0))


FULL = {
    # encoder parameters without a classifier: torchvision's published totals less the classifier's
    "spark-resnet50": (25_557_032 - 2_049_000, "resnet50"),
    "spark-resnet101": (44_549_160 - 2_049_000, "resnet101"),
    "spark-convnext-s": (50_223_688 - 769_000 - 2 * 768, "convnext_small"),
    "spark-convnext-b": (88_591_464 - 1_025_000 - 2 * 1024, "convnext_base"),
}


@pytest.mark.parametrize("name", FULL)
def test_recipes_have_the_papers_networks_at_full_size(name, build):
    recipe = getattr(recipes, name.replace("-", "_"))()
    with torch.device("meta"):
        model = build(recipe)
    count = sum(p.numel() for p in model.encoder.parameters() if p.requires_grad)
    assert (count, recipe.networks["encoder"].options()["name"]) == FULL[name]
    blocks = [model.objectives["pixels"].head.decoder.blocks[i].up.in_channels for i in range(5)]
    assert blocks == [768, 384, 192, 96, 48]
    first = model.objectives["pixels"].head.densify[0].proj
    assert isinstance(first, torch.nn.Identity) == (name == "spark-convnext-s")
    assert model.encoder.strides == (4, 8, 16, 32)


@pytest.mark.parametrize("name", ["resnet50", "convnext_small"])
def test_torchvisions_networks_work_the_same(name, build, pictures):
    norm = "bn" if name == "resnet50" else "ln"
    recipe = spark(
        "", "", net=name, norm=norm, beta2=0.95, drop_path=0.0, source="torchvision", width=32, image_size=64
    )
    with torch.device("meta"):
        model = build(recipe)
    assert model.encoder.strides == (4, 8, 16, 32)


def test_what_does_not_fit_is_refused_with_its_place(build, batch):
    with pytest.raises(RecipeError, match="cell of resnet18 is 8x8"):
        build(spark("", "", beta2=0.95, drop_path=0.0, image_size=32, cell=16, width=16, **SMALL["bn"]))
    recipe = small("bn")
    recipe.objectives["pixels"].head = use("spark", width=20, norm="bn")
    with pytest.raises(RecipeError, match="cannot be halved 3 times"):
        build(recipe)
    with pytest.raises(RecipeError, match="timm has no model 'resnet5O'"):
        build(small("bn", net="resnet5O"))
    recipe = small("bn")
    recipe.views["masked"].corrupt = use("drop")
    with pytest.raises(PlanError, match="not a shortened sequence"):
        build(recipe).double()(batch)


def test_a_sparse_norm_needs_more_than_one_position(build, pictures):
    batch = pictures(1, 3, 8, 8)
    recipe = spark("", "", beta2=0.95, drop_path=0.0, image_size=8, cell=8, width=16, ratio=0.0, **SMALL["bn"])
    with pytest.raises(ValueError, match="more than 1 value"):
        build(recipe).double().train()(batch)
