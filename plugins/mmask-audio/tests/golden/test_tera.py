"""The reference implementation of TERA and Mockingjay, number for number, in float64.

Every dimension and option comes from the file's metadata, so other files of the form can take its place.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmask.api import Batch, MaskPlan, NetworkSection, use
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_audio.recipes.tera import tera
from mmask_audio.tera_weights import TeraWeights, parts_of

FILES = golden_files("tera", Path(__file__).parent)
each_file = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
both = pytest.mark.parametrize("fast", [True, False], ids=["packed", "plain"])


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def model_of(file: Golden, build, *, kind: str = "l1", fast: bool = True):
    c = file.config
    assert not c["share_layer"]
    recipe = tera(
        file.name, "", depth=c["num_hidden_layers"], width=c["hidden_size"], heads=c["num_attention_heads"],
        hidden=c["intermediate_size"], bins=c["feat_dim"],
    )
    recipe.networks["encoder"] = NetworkSection.model_validate({
        "use": "frame-transformer", **recipe.networks["encoder"].options(), "act": c["hidden_act"], "dropout": 0.0,
        "attention_dropout": 0.0, "eps": c["layer_norm_eps"], "norm": "pre" if c["pre_layer_norm"] else "post",
        "fast": fast,
    })
    objective = recipe.objectives["reconstruction"]
    objective.head, objective.loss = use("spectrum", eps=c["layer_norm_eps"]), use("cells", kind=kind)
    model = build(recipe).double()
    assert not list(TeraWeights().load(model, file.weights))
    return model


class Given:
    """The file's altered frames in place of an alteration."""

    site = "feature"

    def __init__(self, frames):
        self.frames = frames

    def __call__(self, view, stream, plan, scene):
        return view.tokens[stream].with_data(self.frames)


def run(file: Golden, model) -> SimpleNamespace:
    clean, there = file.inputs["spec_target"], file.inputs["attn_mask"].bool()
    fields = {"features": clean, "features.length": there.sum(1)}
    batch = Batch(fields, np.arange(len(clean), dtype=np.uint64), np.zeros(len(clean), np.int64))
    layout = model.layouts(batch)["audio"]
    cells = file.inputs["mask_label"].bool()
    plan = MaskPlan.of_hidden(layout, torch.zeros(layout.batch, layout.length, dtype=torch.bool), cells=cells)
    maker = model.view_makers["masked"]
    model.view_makers["masked"] = type(maker)(maker.of, maker.plan, Given(file.inputs["spec_masked"]), maker.streams)
    scene = model.scene(batch, plan)
    losses = model.objectives["reconstruction"](scene)
    return SimpleNamespace(scene=scene, loss=losses["reconstruction"], there=there, layout=layout)


@each_file
@both
def test_activations_are_those_of_the_reference(path, fast, build):
    file = golden(path)
    model = model_of(file, build, fast=fast)
    got = run(file, model)
    there, want, head = got.there, file.outputs, parts_of(model)["head"]
    encoded = model.encoder(got.scene.view("masked"), taps=("embed",))
    assert_close("input_representation", encoded.taps["embed"][there], want["input_representation"][there])
    assert_close("encoder_output", encoded.state[there], want["encoder_output"][there])
    assert_close("head_state", head.state(encoded.state)[there], want["head_state"][there])
    value = got.scene.predictions["reconstruction"].value.view_as(want["pred_spec"])
    assert_close("pred_spec", value[there], want["pred_spec"][there])


@each_file
@both
@pytest.mark.parametrize(("loss", "kind"), [("loss", "l1"), ("loss_mse", "l2")])
def test_losses_and_gradients_are_those_of_the_reference(path, loss, kind, fast, build):
    file = golden(path)
    model = model_of(file, build, kind=kind, fast=fast)
    got = run(file, model)
    assert_close(loss, got.loss, file.outputs[loss])
    got.loss.backward()
    grads = TeraWeights.official(
        {part: {name: p.grad for name, p in module.named_parameters()} for part, module in parts_of(model).items()}
    )
    assert file.grads["loss"]
    for name, want in file.grads.get(loss, {}).items():
        assert_close(f"grads/{loss}/{name}", grads[name], want)


@each_file
def test_scoring_other_cells_is_another_loss(path, build):
    """A plan of frames instead of cells (of every second bin, where it is one of frames) moves the loss by far more
    than the tolerance."""
    file = golden(path)
    model = model_of(file, build)
    touched = file.inputs["mask_label"].bool().any(-1, keepdim=True).expand_as(file.inputs["mask_label"]).clone()
    if torch.equal(touched, file.inputs["mask_label"].bool()):
        touched[..., ::2] = False
    other = Golden(**{**vars(file), "inputs": {**file.inputs, "mask_label": touched.to(torch.uint8)}})
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss", run(other, model).loss, file.outputs["loss"])
