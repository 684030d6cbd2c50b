"""The encoder against timm, and the laws of dropping patches."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from mmask.api import MaskPlan, PlanError, RecipeError, View, Visibility, use
from mmask.testing import checkpoint_units
from mmask_image.patch import PatchTokenizer
from mmask_image.recipes import mae as recipes
from mmask_image.recipes.mae import mae
from mmask_image.vit import VisionEncoder


def small(channels=3, size=(32, 48), patch=(8, 16), ratio=0.75):
    recipe = mae("small", "", width=24, depth=3, heads=3, patch=patch, image_size=size, decoder=(16, 2, 2))
    recipe.tokenize["image"] = use("patch", size=patch, image_size=size, in_chans=channels)
    recipe.mask = use("random", ratio=ratio)
    return recipe


@pytest.mark.parametrize(
    ("channels", "size", "patch"), [(3, (32, 48), (8, 16)), (1, 32, 8), (5, (16, 64), 16)]
)
def test_any_channels_and_any_divisible_size_train(channels, size, patch, build, pictures):
    model = build(small(channels, size, patch, 0.5)).double()
    batch = pictures(2, channels, *model.tokenizers["image"].image_size)
    losses = model(batch)
    losses.total().backward()
    used = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in used)


def test_weights_load_into_timm_unchanged_and_features_agree(pictures):
    tokenizer = PatchTokenizer(size=16, image_size=224)
    encoder = VisionEncoder(width=192, depth=12, heads=3, tokenizer=tokenizer).eval()
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    theirs.load_state_dict(encoder.state_dict(), strict=True)
    batch = pictures(2, 3, 224, 224, torch.uint8)
    view = View("clean", {"image": tokenizer(batch)})
    image = tokenizer.pixels(view.only().values)
    image = (image - torch.tensor(tokenizer.mean)[:, None, None]) / torch.tensor(tokenizer.std)[:, None, None]
    with torch.no_grad():
        got, want = encoder(view).state, theirs.forward_features(image)
    assert (got - want).abs().max() <= 1e-4 * want.abs().max()


def test_embedding_kept_patches_agrees_with_timms_convolution(build, pictures):
    model, batch = build(small()).double(), pictures(3, 3, 32, 48)
    encoder = model.encoder
    conv = encoder.patch_embed(batch["image"])
    mine = encoder.embed(model.tokenizers["image"](batch).values)
    assert (mine - conv).abs().max() < 1e-12
    twin = VisionTransformer.forward_features(encoder, batch["image"])
    everything = MaskPlan.nothing(model.layouts(batch)["image"])
    state = model.scene(batch, everything).encode("encoder", "masked").state
    assert (state - twin).abs().max() < 1e-12


def test_changing_hidden_pixels_leaves_the_encoding_bit_identical(build, pictures):
    model, batch = build(small()), pictures(3, 3, 32, 48, torch.float32)
    plans = model.draw(batch)
    plan = plans.plan("mask")
    hidden = plan.on_grid(plan.layout.unit)[:, None].expand_as(batch["image"])
    image = batch["image"]
    changed = batch.with_field("image", torch.where(hidden, torch.randn_like(image) * 9, image))
    assert not torch.equal(changed["image"], image)
    before = model.scene(batch, plan).encode("encoder", "masked").state
    after = model.scene(changed, plan).encode("encoder", "masked").state
    assert torch.equal(before, after)


def test_nothing_but_hidden_places_reaches_the_output_layers(build, pictures):
    model, batch = build(small()).double(), pictures(3, 3, 32, 48)
    model.objectives["pixels"].head.lean = False
    seen = []
    norm = model.objectives["pixels"].head.norm
    norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    plan = model.draw(batch).plan("mask")
    losses = model(batch, plan)
    assert len(seen[0]) == int(plan.hidden.sum())
    assert losses.terms["pixels"].count == int(plan.hidden.sum())


def test_masking_three_quarters_cuts_the_encoders_arithmetic_by_more_than_half(build, pictures):
    from torch.utils.flop_counter import FlopCounterMode

    model, batch = build(small(size=(224, 224), patch=16)), pictures(1, 3, 224, 224, torch.float32)
    layout = model.layouts(batch)["image"]

    def flops(plan):
        with FlopCounterMode(display=False) as counter:
            model.scene(batch, plan).encode("encoder", "masked").state.sum().backward()
        return counter.get_total_flops()

    assert flops(MaskPlan.nothing(layout)) > 3.5 * flops(model.draw(batch).plan("mask"))


def test_padding_of_a_ragged_plan_changes_nothing(build, pictures):
    model, batch = build(small(ratio=0.5)).double(), pictures(2, 3, 32, 48)
    layout = model.layouts(batch)["image"]
    hidden = torch.zeros(2, 12, dtype=torch.bool)
    hidden[0, :9] = True
    hidden[1, 3:6] = True
    model.train()
    ragged = model(batch, MaskPlan.of_hidden(layout, hidden))
    total = 0.0
    for row in range(2):
        one = batch.rows(row, row + 1)
        plan = MaskPlan.of_hidden(layout.rows(row, row + 1), hidden[row : row + 1])
        term = model(one, plan).terms["pixels"]
        total = total + term.total.detach()
    assert abs(float(ragged.terms["pixels"].total.detach() - total)) < 1e-12 * float(total)
    assert ragged.terms["pixels"].count == 12


def test_taps_are_the_outputs_of_blocks(build, pictures):
    model, batch = build(small()).double().eval(), pictures(2, 3, 32, 48)
    view = View("clean", {"image": model.tokenizers["image"](batch)})
    encoded = model.encoder(view, taps=("block.1", "block.-1"))
    want = model.encoder.forward_intermediates(
        batch["image"], indices=[1, 2], output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )
    for name, (places, prefix) in zip(("block.1", "block.-1"), want, strict=True):
        assert (encoded.taps[name] - torch.cat([prefix, places], 1)).abs().max() < 1e-12
    assert (encoded.pooled - encoded.places.mean(1)).abs().max() < 1e-12
    with pytest.raises(PlanError, match=r"block\.0 to block\.2"):
        model.encoder(view, taps=("block.7",))


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_the_option_pool_leaves_timms_own_pooling_alone(pool, pictures):
    tokenizer = PatchTokenizer(size=8, image_size=16)
    encoder = VisionEncoder(width=12, depth=1, heads=3, tokenizer=tokenizer, pool=pool).eval()
    batch = pictures(2, 3, 16, 16)
    encoded = encoder.float()(View("clean", {"image": tokenizer(batch)}))
    want = encoded.state[:, 0] if pool == "cls" else encoded.places.mean(1)
    assert torch.allclose(encoded.pooled, want)
    assert torch.equal(encoder.forward_head(encoded.state), encoded.state[:, 0])  # timm's reads [CLS]


def test_a_view_restricted_in_any_layer_is_refused(build, pictures):
    model, batch = build(small()).double().eval(), pictures(2, 3, 32, 48)
    tokens, free, causal = model.tokenizers["image"](batch), Visibility(), Visibility(causal=True)
    want = model.encoder(View("clean", {"image": tokens})).state
    for open_ in (free, (free,) * 3):
        assert torch.equal(model.encoder(View("clean", {"image": tokens}, visibility=open_)).state, want)
    for shut in (causal, (free, free, causal)):
        with pytest.raises(PlanError, match="restricts"):
            model.encoder(View("clean", {"image": tokens}, visibility=shut))


def test_activation_checkpointing_changes_no_gradient(build, pictures):
    batch, grads = pictures(2, 3, 32, 48), []
    for enable in (False, True):
        model = build(small()).double()
        if enable:
            checkpoint_units(model)
        model(batch).total().backward()
        grads.append(model.encoder.blocks[0].attn.qkv.weight.grad)
    assert torch.equal(*grads)


@pytest.mark.parametrize(
    ("size", "encoder", "learnt", "whole"),
    [  # whole: with both position tables, as checkpoints of the reference have it
        ("tiny", 5_486_592, 6_403_840, 6_466_880),
        ("s", 21_590_016, 28_204_800, 28_330_880),
        ("b", 85_647_360, 111_655_680, 111_907_840),
        ("l", 303_099_904, 329_239_296, 329_541_888),
        ("h", 630_435_840, 656_613_964, 657_074_508),
    ],
)
def test_full_size_recipes_have_the_papers_parameter_counts(size, encoder, learnt, whole, build):
    """ViTs of 86, 304 and 632 million with a classifier; 111.9, 329.5 and 657.1 million with the decoder."""
    with torch.device("meta"):
        model = build(getattr(recipes, f"mae_vit_{size}")())
    counts = [sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (model.encoder, model)]
    assert counts == [encoder, learnt]
    assert sum(value.numel() for value in model.state_dict().values()) == whole


def test_pictures_of_another_shape_are_refused_with_both_shapes(build, pictures):
    model = build(small())
    with pytest.raises(RecipeError, match=r"64x64.*32x48"):
        model(pictures(1, 3, 64, 64))
    with pytest.raises(RecipeError, match="multiple of 16"):
        PatchTokenizer(size=16, image_size=100)
    with pytest.raises(RecipeError, match="B, 3, H, W"):
        model(pictures(1, 4, 32, 48))
