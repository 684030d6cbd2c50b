"""The reference implementation of SimMIM on a ViT and on a Swin Transformer, number for number, in float64.

Every dimension comes from the file's metadata, so other files of the form can take its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmask.api import Batch, MaskedModel, MaskPlan, NetworkSection, use
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_image.recipes.simmim import simmim_swin_t, simmim_vit_b
from mmask_image.replace_weights import SimmimWeights

FILES = golden_files("simmim", Path(__file__).parent)
IDS = [path.name for path in FILES]


def model_of(file: Golden, build: Any) -> MaskedModel:
    """The recipe at the file's dimensions, with its weights through the importer, in float64."""
    c = file.config
    if c["kind"] == "swin":
        recipe, place = simmim_swin_t(), c["patch_size"] * 2 ** (len(c["depths"]) - 1)
        network = {
            "use": "swin", "width": c["embed_dim"], "depths": c["depths"], "heads": c["num_heads"],
            "window": c["window_size"], "patch": c["patch_size"], "mlp_ratio": c["mlp_ratio"],
        }
    else:
        recipe, place = simmim_vit_b(), c["patch_size"]
        network = {
            "use": "beit", "width": c["embed_dim"], "depth": c["depth"], "heads": c["num_heads"],
            "mlp_ratio": c["mlp_ratio"], "eps": c["layer_norm_eps"], "layer_scale": c["init_values"],
            "positions": "relative", "mask_token": True,
        }
    recipe.tokenize["image"] = use("patch", size=place, image_size=c["img_size"], in_chans=c["in_chans"])
    recipe.networks["encoder"] = NetworkSection.model_validate(network)
    model = build(recipe).double().eval()
    assert not list(SimmimWeights().load(model, file.weights))
    return model


def run(file: Golden, model: MaskedModel) -> tuple[Any, MaskPlan]:
    """A forward pass on the file's pictures. Its mask is one number a patch; a place may hold several."""
    image, c = file.inputs["imgs"], file.config
    batch = Batch({"image": image}, np.arange(len(image), dtype=np.uint64), np.zeros(len(image), np.int64))
    layout = model.layouts(batch)["image"]
    times = layout.unit[0] // c["patch_size"]
    cells = file.inputs["mask"].bool()[:, ::times, ::times]
    plan = MaskPlan.of_hidden(layout, cells.flatten(1))
    assert torch.equal(plan.on_grid(times), file.inputs["mask"].bool())
    return model.scene(batch, plan), plan


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_states_predictions_loss_and_gradients_are_those_of_the_reference(path, build):
    file = load_golden(path)
    model = model_of(file, build)
    scene, plan = run(file, model)
    places = scene.encode("encoder", "masked").places
    assert_close("encoded", places, file.outputs["encoded"].flatten(2).transpose(1, 2))
    loss = model.objectives["pixels"](scene)["pixels"]
    drawn = model.tokenizers["image"](scene.batch.with_field("image", file.outputs["reconstruction"])).values
    assert_close("reconstruction", scene.predictions["pixels"].value, drawn[plan.hidden])
    # The reference divides by the sum of its mask plus 1e-5.
    pixels = float(plan.on_grid(plan.layout.unit).sum())
    assert_close("loss", loss * pixels / (pixels + 1e-5), file.outputs["loss"])
    loss.backward()
    head = model.objectives["pixels"].head
    grads = SimmimWeights.official(
        model.encoder,
        {name: p.grad for name, p in model.encoder.named_parameters()},
        {name: p.grad for name, p in head.named_parameters()},
    )
    assert file.grads["loss"]
    for name, want in file.grads["loss"].items():
        assert_close(f"grads/loss/{name}", grads[name], want)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_written_names_are_those_of_the_reference(path, build):
    file = load_golden(path)
    written = SimmimWeights().write(model_of(file, build))
    learnt = {name for name in file.weights if not name.endswith("relative_position_index")}
    assert learnt <= set(written)
    for name in learnt:
        assert_close(name, written[name], file.weights[name])


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_wrong_choices_are_caught_at_this_tolerance(path, build):
    """Squared error, or the mean over all places, is another loss."""
    file = load_golden(path)
    model = model_of(file, build)
    scene, _ = run(file, model)
    objective = model.objectives["pixels"]
    objective(scene)
    prediction = scene.predictions["pixels"]
    target = objective.target(scene, prediction.scored)
    with pytest.raises(AssertionError):
        assert_close("loss", F.mse_loss(prediction.value, target.value), file.outputs["loss"])
