"""The reference implementation of MAE, number for number, in float64.

Every dimension and option comes from the file's metadata, so other files of the form can take its place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mmask.api import Batch, MaskedModel, MaskPlan, patchify, use
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_image.recipes.mae import mae
from mmask_image.weights import MaeWeights

FILES = golden_files("mae", Path(__file__).parent)


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def sides(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else int(value)


def model_of(
    file: Golden, build: Callable[..., MaskedModel], *, normalise: bool, lean: bool = True
) -> MaskedModel:
    """The recipe at the file's dimensions, with its weights through the importer, in float64."""
    c = file.config
    recipe = mae(
        file.name, "", width=c["embed_dim"], depth=c["depth"], heads=c["num_heads"],
        patch=sides(c["patch_size"]), image_size=sides(c["img_size"]),
        decoder=(c["decoder_embed_dim"], c["decoder_depth"], c["decoder_num_heads"]),
    )
    blocks = {"mlp_ratio": c.get("mlp_ratio", 4.0), "eps": c.get("layer_norm_eps", 1e-6),
              "qkv_bias": c.get("qkv_bias", True)}
    tokenizer, objective = recipe.tokenize["image"], recipe.objectives["pixels"]
    recipe.tokenize["image"] = use("patch", **tokenizer.options(), in_chans=c.get("in_chans", 3))
    recipe.networks["encoder"] = type(recipe.networks["encoder"]).model_validate(
        {"use": "vit", **recipe.networks["encoder"].options(), **blocks}
    )
    objective.head = use("transformer-decoder", **objective.head.options(), **blocks, lean=lean)
    objective.target = use("values", normalise=normalise)
    recipe.mask = use("random", ratio=c["mask_ratio"])
    model = build(recipe).double()
    assert not list(MaeWeights().load(model, file.weights))
    return model


def run(file: Golden, model: MaskedModel) -> SimpleNamespace:
    """One forward pass on the file's pictures with its noise as the plan."""
    image = file.inputs["imgs"]
    batch = Batch({"image": image}, np.arange(len(image), dtype=np.uint64), np.zeros(len(image), np.int64))
    layout = model.layouts(batch)["image"]
    order = torch.argsort(file.inputs["noise"], dim=1)
    plan = MaskPlan.of_order(layout, order, int(layout.length * (1 - file.config["mask_ratio"])))
    scene = model.scene(batch, plan)
    losses = model.objectives["pixels"](scene)
    return SimpleNamespace(batch=batch, layout=layout, plan=plan, scene=scene, loss=losses["pixels"])


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_activations_are_those_of_the_reference(path, build):
    file = golden(path)
    model = model_of(file, build, normalise=True)
    got = run(file, model)
    outputs, scored = file.outputs, got.scene.predictions["pixels"].scored
    assert torch.equal(got.plan.hidden, outputs["mask"].bool())
    assert torch.equal(got.plan.keep_idx, outputs["ids_shuffle"][:, : got.plan.keep_idx.shape[1]])
    clean, encoded = got.scene.view("clean").only(), got.scene.encode("encoder", "masked")
    assert_close("target_patches", clean.values, outputs["target_patches"])
    assert_close("patch_embed", model.encoder.embed(clean.values), outputs["patch_embed"])
    assert_close("latent", encoded.state, outputs["latent"])
    head = model.objectives["pixels"].head
    assert_close("decoder_input", head.sequence(encoded, got.layout), outputs["decoder_input"])
    assert_close("pred", got.scene.predictions["pixels"].value, scored.take(outputs["pred"]))


@pytest.mark.parametrize("lean", [True, False], ids=["lean", "plain"])
@pytest.mark.parametrize("loss", ["loss", "loss_raw_pixels"])
@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_losses_and_gradients_are_those_of_the_reference(path, loss, lean, build):
    file = golden(path)
    model = model_of(file, build, normalise=loss == "loss", lean=lean)
    got = run(file, model)
    assert_close(loss, got.loss, file.outputs[loss])
    got.loss.backward()
    head = model.objectives["pixels"].head
    grads = MaeWeights.official(
        {name: p.grad for name, p in model.encoder.named_parameters()},
        {name: p.grad for name, p in head.named_parameters()},
    )
    assert file.grads[loss]
    for name, want in file.grads[loss].items():
        assert_close(f"grads/{loss}/{name}", grads[name], want)


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_fixed_positions_are_those_of_the_reference(path, build):
    """A fresh model has them without loading anything."""
    file = golden(path)
    fresh = model_of(file, build, normalise=True).encoder
    fresh.reset_parameters()
    assert_close("pos_embed", fresh.pos_embed, file.weights["pos_embed"])


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_wrong_choices_are_caught_at_this_tolerance(path, build):
    """A biased variance, or patches ordered channel first, moves the loss by far more than the tolerance."""
    file = golden(path)
    model = model_of(file, build, normalise=True)
    model.objectives["pixels"].target.ddof = 0
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss", run(file, model).loss, file.outputs["loss"])
    values = patchify(file.inputs["imgs"], model.tokenizers["image"].patch)
    size = model.tokenizers["image"]
    channel_first = values.unflatten(-1, (-1, size.in_chans)).transpose(-1, -2).flatten(-2)
    if size.in_chans > 1:
        with pytest.raises(AssertionError):
            assert_close("target_patches", channel_first, file.outputs["target_patches"])
