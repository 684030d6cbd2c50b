"""Full-size recipes on the meta device: parameters against the papers and against timm."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.beit import Beit

from mmask.api import Recipe
from mmask_image.recipes.beit import beit_vit_b
from mmask_image.recipes.cae import cae_vit_b
from mmask_image.recipes.simmim import simmim_swin_t, simmim_vit_b
from mmask_image.recipes.vq import vq_b


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def on_meta(recipe: Recipe, build):
    with torch.device("meta"):
        model = build(recipe)
    assert all(p.is_meta for p in model.parameters())
    return model


def vit_b(*, relative: bool) -> int:
    """Without layers of a classifier: 12 blocks of width 768, biases of q and v but not k, two layer scales."""
    with torch.device("meta"):
        twin = Beit(
            num_classes=0, global_pool="token", init_values=0.1, use_abs_pos_emb=False, use_shared_rel_pos_bias=relative
        )
    block = 768 * 768 * 4 + 2 * 768 + 768 + (768 * 3072 * 2 + 3072 + 768) + 4 * 768 + 2 * 768
    whole = 12 * block + (16 * 16 * 3 * 768 + 768) + 768 + 2 * 768
    whole += ((2 * 14 - 1) ** 2 + 3) * 12 if relative else 0
    assert whole == count(twin)
    return whole


def test_cae_b(build):
    model = on_meta(cae_vit_b(), build)
    assert count(model.encoder) == vit_b(relative=False)
    assert 85.5e6 < count(model.encoder) < 86.5e6  # "ViT-B, 86M"
    attention, mlp = 768 * 768 * 4 + 3 * 768, 768 * 3072 * 2 + 3072 + 768
    regressor = 4 * (attention + mlp + 4 * 2 * 768 + 2 * 768) + 2 * 768 + 768
    assert count(model.network("regressor")) == regressor
    decoder = 4 * (attention + mlp + 2 * 2 * 768 + 2 * 768) + 2 * 768 + 768 * 8192 + 8192
    assert count(model.objectives["ids"].head) == decoder
    assert count(model) == vit_b(relative=False) + regressor + decoder  # the tokenizer learns nothing


def test_beit_b(build):
    model = on_meta(beit_vit_b(), build)
    assert count(model.encoder) == vit_b(relative=True) + 768
    assert count(model) == count(model.encoder) + 768 * 8192 + 8192


def test_simmim_vit_b(build):
    model = on_meta(simmim_vit_b(), build)
    assert count(model.encoder) == vit_b(relative=True) + 768
    assert count(model) == count(model.encoder) + 768 * 768 + 768


def test_simmim_swin_t(build):
    model = on_meta(simmim_swin_t(), build)
    with torch.device("meta"):
        twin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, img_size=192, window_size=6)
    assert count(model.encoder) == count(twin) + 96
    assert 27e6 < count(twin) < 28.5e6  # "Swin-T, 28M"
    assert count(model) == count(model.encoder) + 768 * 32 * 32 * 3 + 32 * 32 * 3


def test_vq_b(build):
    model = on_meta(vq_b(), build)
    assert model.network("tokenizer").vocabulary == 8192
    assert count(model) > 0


@pytest.mark.parametrize("recipe", [cae_vit_b(), beit_vit_b()], ids=lambda r: r.name)
def test_codes_lie_on_patches_one_to_one(recipe):
    decode, tokens = recipe.data.decode["image"].options(), recipe.tokenize["image"].options()
    assert decode["size"] == tokens["image_size"] == 224
    assert decode["second"] // 8 == decode["size"] // tokens["size"] == 14


def test_recipes_hold_the_papers_constants():
    cae, beit, simmim = cae_vit_b(), beit_vit_b(), simmim_vit_b()
    assert (cae.optim.lr, cae.data.batch_size, cae.optim.clip, cae.schedule.min_lr) == (1.5e-3, 2048, 3.0, 1e-5)
    assert cae.mask.options()["count"] == 98
    assert cae.objectives["align"].weight == 2.0
    assert beit.mask.options()["count"] == 75
    assert simmim.optim.base_lr * simmim.data.batch_size / simmim.optim.base_batch == pytest.approx(4e-4)
