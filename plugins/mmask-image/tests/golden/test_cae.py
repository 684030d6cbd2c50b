"""The reference implementation of CAE, number for number, in float64.

Every dimension and option comes from the file's metadata, so other files of the form can take its place: any
depths, any number of hidden patches, a decoder as wide as the encoder or not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mmask.api import Batch, MaskedModel, MaskPlan, NetworkSection, Recipe, use
from mmask.testing import build as build_recipe
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_image.cae_weights import CaeWeights, parts
from mmask_image.recipes.cae import cae

FILES = golden_files("cae", Path(__file__).parent)
IDS = [path.name for path in FILES]
VARIANTS = {"shared": "encoder", "own": "aligner"}  # who makes the targets: the live encoder, or a stored copy


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


class Given(nn.Module):
    """A discrete tokenizer that says what it is told."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def ids(self, picture: torch.Tensor) -> torch.Tensor:
        return picture


def model_of(file: Golden, build: Callable[..., MaskedModel], aligner: str) -> MaskedModel:
    """The recipe at the file's dimensions, with its weights through the importer, in float64."""
    c = file.config
    scale = c["layer_scale_init_value"]
    recipe = cae(
        file.name, "", width=c["embed_dim"], depth=c["depth"], heads=c["num_heads"], patch=c["patch_size"],
        image_size=c["img_size"], hide=int(c["num_mask_patches"]), drop_path=0.0, layer_scale=scale,
        regressor=(c["decoder_embed_dim"], c["regressor_depth"], c["decoder_num_heads"]),
        decoder_depth=c["decoder_depth"], align=c["align_loss_weight"],
    )
    shared = {
        "mlp_ratio": c["mlp_ratio"], "eps": c["layer_norm_eps"], "qkv_bias": c["qkv_bias"],
    }
    inner = shared | {"layer_scale": c["decoder_layer_scale_init_value"]}
    recipe.tokenize["image"] = use("patch", **recipe.tokenize["image"].options(), in_chans=c["in_chans"])

    def section(name: str, extra: dict[str, Any]) -> NetworkSection:
        old = recipe.networks[name]
        return NetworkSection.model_validate({"use": old.use, **old.options(), **extra})

    recipe.networks = {
        "encoder": section("encoder", shared),
        "regressor": section("regressor", inner),
        "tokenizer": NetworkSection(use="given", frozen=True, vocabulary=c["decoder_num_classes"]),
    }
    if aligner == "aligner":
        encoder = recipe.networks["encoder"]
        recipe.networks["aligner"] = NetworkSection.model_validate(
            {"use": "beit", **encoder.options(), "ema_of": "encoder", "ema_decay": 0.0}
        )
    ids, align = recipe.objectives["ids"], recipe.objectives["align"]
    ids.head = use("latent-decoder", **{**ids.head.options(), **inner})
    ids.target = use("codes", network="tokenizer", field="ids")
    align.target = use("latents", network=aligner, view="hidden", through="regressor")
    model = build(recipe).double()
    assert not list(CaeWeights().load(model, file.weights))
    return model


def run(file: Golden, model: MaskedModel) -> SimpleNamespace:
    """One forward pass on the file's pictures with its hidden places as the plan."""
    image = file.inputs["imgs"]
    grid = model.tokenizers["image"].grid
    fields = {"image": image, "ids": file.inputs["token_ids"].view(-1, *grid)}
    batch = Batch(fields, np.arange(len(image), dtype=np.uint64), np.zeros(len(image), np.int64))
    layout = model.layouts(batch)["image"]
    plan = MaskPlan.of_hidden(layout, file.inputs["bool_masked_pos"].bool())
    scene = model.scene(batch, plan)
    terms = {name: objective(scene).terms[name] for name, objective in model.objectives.items()}
    return SimpleNamespace(scene=scene, plan=plan, terms=terms, batch=batch)


@pytest.fixture(scope="module")
def build() -> Callable[[Recipe], MaskedModel]:
    return partial(build_recipe, stand_ins={("encoder", "given"): Given})


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_activations_are_those_of_the_reference(path, variant, build):
    file = golden(path)
    model = model_of(file, build, VARIANTS[variant])
    got = run(file, model)
    scene, outputs = got.scene, file.outputs
    assert_close("encoder_output", scene.encode("encoder", "masked").state, outputs["encoder_output"])
    if variant == "own":
        state = scene.encode("aligner", "hidden", grad=False).state
        assert_close("alignment_encoder_output", state, outputs["alignment_encoder_output"])
    regressed = model.network("regressor")(scene.view("masked"), taps=("block.0",))
    assert_close("regressor_block0", regressed.taps["block.0"], outputs["regressor_block0"])
    assert_close("latent_predict", regressed.state, outputs["latent_predict"])
    objective = model.objectives["align"]
    target = objective.target(scene, objective.scored(scene))
    want = outputs["latent_target_shared" if variant == "shared" else "latent_target"]
    assert_close("latent_target", target.value, want.flatten(0, 1))
    ids = model.objectives["ids"]
    assert torch.equal(ids.target(scene, ids.scored(scene)).value, outputs["labels"])
    assert_close("logits", scene.predictions["ids"].value, outputs["logits"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_losses_and_gradients_are_those_of_the_reference(path, variant, build):
    file = golden(path)
    model = model_of(file, build, VARIANTS[variant])
    end = "_shared" if variant == "shared" else ""
    terms = run(file, model).terms
    losses = {
        "loss_main": terms["ids"].mean(),
        f"loss_align{end}": terms["align"].weight * terms["align"].mean(),
    }
    losses[f"loss{end}"] = sum(losses.values())
    compared = 0
    for name, value in losses.items():
        assert_close(name, value, file.outputs[name])
        for weight, got in gradients(model, value).items():
            if weight in file.grads.get(name, {}):
                assert_close(f"grads/{name}/{weight}", got, file.grads[name][weight])
                compared += 1
    assert compared == sum(len(file.grads.get(name, {})) for name in losses) > 0


def gradients(model: MaskedModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward(retain_graph=True)
    found = {
        what: {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
        for what, module in parts(model).items()
    }
    return CaeWeights.official(found)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_fixed_positions_are_those_of_the_reference(path, build):
    """A fresh model has them without loading anything, row before column."""
    file = golden(path)
    model = model_of(file, build, "encoder")
    for module in (model.encoder,):
        module.reset_parameters()
    assert_close("pos_embed", model.encoder.pos_embed, file.weights["encoder.pos_embed"])
    flipped = file.weights["encoder.pos_embed"].roll(model.encoder.width // 2, -1)
    with pytest.raises(AssertionError):
        assert_close("pos_embed", model.encoder.pos_embed, flipped)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_exported_names_are_those_of_the_reference(path, build):
    file = golden(path)
    model = model_of(file, build, "aligner")
    written = CaeWeights().write(model)
    assert set(written) == set(file.weights)
    for name, value in written.items():
        assert_close(name, value, file.weights[name])


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_wrong_choices_are_caught_at_this_tolerance(path, build):
    file = golden(path)
    own, shared = (run(file, model_of(file, build, who)).terms["align"] for who in ("aligner", "encoder"))
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss_align", shared.weight * shared.mean(), file.outputs["loss_align"])
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss_align", own.mean(), file.outputs["loss_align"])
