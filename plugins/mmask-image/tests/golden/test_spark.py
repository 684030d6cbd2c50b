"""The reference implementation of SparK, number for number, in float64.

Every dimension and option comes from the file's metadata (and from shapes of its weights), so other files of
the two forms can take their place.
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

from mmask.api import Batch, MaskedModel, MaskPlan, use
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_image.recipes.spark import spark
from mmask_image.spark.weights import SparkWeights

HERE = Path(__file__).parent
FILES = [*golden_files("spark_resnet", HERE), *golden_files("spark_convnext", HERE)]
CELL = 32
FORMS = {"fast": {"form": "tiles", "merge": "always"}, "plain": {"form": "dense", "merge": "never"}}

every_file = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
every_form = pytest.mark.parametrize("form", FORMS)


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def network(c: Any) -> tuple[str, dict[str, Any]]:
    """The network's name in timm and its options."""
    if "dims" in c:
        scale = c.get("layer_scale_init_value", 1e-6)
        return "convnext_tiny", {
            "depths": tuple(c["depths"]), "dims": tuple(c["dims"]), "ls_init_value": scale or None,
        }
    name = {"BasicBlock": "resnet18", "Bottleneck": "resnet50"}[c["block"]]
    return name, {"layers": tuple(c["layers"]), "channels": tuple(c["channels"])}


def model_of(file: Golden, build: Callable[..., MaskedModel], form: str = "fast") -> MaskedModel:
    """The recipe at the file's dimensions, with its weights through the importer, in float64."""
    c = file.config
    name, options = network(c)
    recipe = spark(
        file.name, "", net=name, norm=c["densify_norm"], beta2=0.95, drop_path=0.0,
        image_size=c["input_size"], width=c["decoder_width"], ratio=c["mask_ratio"],
        network={"form": FORMS[form]["form"], "options": options},
    )
    head = recipe.objectives["pixels"].head
    recipe.objectives["pixels"].head = use("spark", **head.options(), merge=FORMS[form]["merge"])
    model = build(recipe).double()
    lines = list(SparkWeights().load(model, file.weights))
    assert not lines, lines
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps, module.momentum = c.get("bn_eps", 1e-5), c.get("bn_momentum", 0.1)
    return model.train()


def run(file: Golden, model: MaskedModel) -> SimpleNamespace:
    """One forward pass in training mode on the file's pictures, with its noise as the plan."""
    image, noise = file.inputs["imgs"], file.inputs["noise"]
    batch = Batch({"image": image}, np.arange(len(image), dtype=np.uint64), np.zeros(len(image), np.int64))
    layout = model.layouts(batch)["image"]
    keep = round(layout.length * (1 - file.config["mask_ratio"]))
    plan = MaskPlan.of_order(layout, torch.argsort(noise, dim=1), keep)
    scene = model.scene(batch, plan)
    losses = model.objectives["pixels"](scene)
    return SimpleNamespace(batch=batch, layout=layout, plan=plan, scene=scene, loss=losses["pixels"])


def after(model: MaskedModel) -> dict[str, torch.Tensor]:
    return SparkWeights().write(model)


@every_form
@every_file
def test_activations_are_those_of_the_reference(path, form, build):
    file = golden(path)
    model = model_of(file, build, form)
    got, outputs = run(file, model), file.outputs
    active = outputs["active"].bool().flatten(1)
    assert torch.equal(~got.plan.hidden, active)
    encoded, head = got.scene.encode("encoder", "masked"), model.objectives["pixels"].head
    for i, found in enumerate(encoded.pyramid):
        assert_close(f"enc_fmap_{i}", found, outputs[f"enc_fmap_{i}"])
    assert f"enc_fmap_{len(encoded.pyramid)}" not in outputs
    prediction = got.scene.predictions["pixels"]
    assert_close("rec_patches", prediction.value, prediction.scored.take(outputs["rec_patches"]))
    target = model.objectives["pixels"].target(got.scene, prediction.scored)
    error = (prediction.value - target.value).square().mean(1)
    assert_close("patch_loss", error, prediction.scored.take(outputs["patch_loss"]))
    for i, found in enumerate(head.dense_maps(encoded)):
        assert_close(f"dec_input_{i}", found, outputs[f"dec_input_{i}"])


@every_form
@every_file
def test_loss_gradients_and_running_statistics_are_those_of_the_reference(path, form, build):
    file = golden(path)
    model = model_of(file, build, form)
    got = run(file, model)
    assert_close("loss", got.loss, file.outputs["loss"])
    got.loss.backward()
    buffers = after(model)
    for name, want in file.outputs.items():
        if name.startswith("after."):
            assert_close(name, buffers[name.removeprefix("after.")], want)
    head, net = model.objectives["pixels"].head, model.encoder.net
    grads = SparkWeights.official(
        net, {name: p.grad for name, p in net.named_parameters()},
        {name: p.grad for name, p in head.named_parameters()},
    )
    assert file.grads["loss"]
    for name, want in file.grads["loss"].items():
        assert_close(f"grads/loss/{name}", grads[name].reshape(want.shape), want)


@every_file
def test_the_importer_gives_back_what_it_read(path, build):
    file = golden(path)
    given = SparkWeights().write(model_of(file, build))
    assert set(given) == set(file.weights)
    for name, value in file.weights.items():
        assert torch.equal(given[name], value.to(given[name].dtype)), name


@every_file
def test_the_recipes_masker_keeps_as_many_cells(path, build):
    file = golden(path)
    model, image = model_of(file, build), file.inputs["imgs"]
    batch = Batch({"image": image}, np.arange(len(image), dtype=np.uint64), np.zeros(len(image), np.int64))
    drawn = model.draw(batch).plan("mask")
    assert torch.equal((~drawn.hidden).sum(1), file.outputs["active"].flatten(1).sum(1).long())


@every_file
def test_wrong_choices_are_caught_at_this_tolerance(path, build):
    """A biased variance, or norms over hidden positions too, moves the loss by far more than the tolerance."""
    file = golden(path)
    model = model_of(file, build)
    model.objectives["pixels"].target.ddof = 0
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss", run(file, model).loss, file.outputs["loss"])
    model = model_of(file, build)
    encoder = model.encoder
    encoder.maps_of = lambda tokens, cells: type(encoder).maps_of(encoder, tokens, None)  # no cell hidden
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss", run(file, model).loss, file.outputs["loss"])
