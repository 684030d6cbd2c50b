"""VideoMAE, number for number, in float64.

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
from mmask_video.recipes.videomae import videomae
from mmask_video.weights import VideoMaeWeights

FILES = golden_files("videomae", Path(__file__).parent)
LOSSES = ("loss", "loss_raw_pixels")
each_file = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def model_of(file: Golden, build, *, normalise: bool, lean: bool = True):
    c = file.config
    tube, side = int(c["tubelet_size"]), int(c["patch_size"])
    recipe = videomae(
        file.name, "", width=c["hidden_size"], depth=c["num_hidden_layers"], heads=c["num_attention_heads"],
        decoder=(c["decoder_hidden_size"], c["decoder_num_hidden_layers"], c["decoder_num_attention_heads"]),
        frames=c["num_frames"], image_size=c["image_size"], cuboid=(tube, side, side),
    )
    assert c["hidden_act"] == "gelu"
    eps, bias = c["layer_norm_eps"], c["qkv_bias"]
    recipe.tokenize["video"] = use("tubelet", **recipe.tokenize["video"].options(), in_chans=c["num_channels"])
    recipe.networks["encoder"] = NetworkSection.model_validate({
        "use": "video-vit", **recipe.networks["encoder"].options(), "eps": eps, "qkv_bias": bias,
        "mlp_ratio": c["intermediate_size"] / c["hidden_size"], "norm": not c["use_mean_pooling"],
    })
    objective = recipe.objectives["pixels"]
    objective.head = use(
        "transformer-decoder", **objective.head.options(), eps=eps, qkv_bias=bias, lean=lean, last_eps=1e-5,
        mlp_ratio=c["decoder_intermediate_size"] / c["decoder_hidden_size"],
    )
    objective.target = use("cuboids", normalise=normalise)
    model = build(recipe).double()
    assert not list(VideoMaeWeights().load(model, file.weights))
    return model


def run(file: Golden, model) -> SimpleNamespace:
    clip = file.inputs["pixel_values"].transpose(1, 2)  # the file has (B, T, C, H, W)
    batch = Batch({"video": clip}, np.arange(len(clip), dtype=np.uint64), np.zeros(len(clip), np.int64))
    layout = model.layouts(batch)["video"]
    plan = MaskPlan.of_hidden(layout, file.inputs["bool_masked_pos"].bool())
    scene = model.scene(batch, plan)
    losses = model.objectives["pixels"](scene)
    return SimpleNamespace(layout=layout, plan=plan, scene=scene, loss=losses["pixels"])


@each_file
def test_activations_are_those_of_the_reference(path, build):
    file = golden(path)
    model = model_of(file, build, normalise=True)
    got = run(file, model)
    head, encoded = model.objectives["pixels"].head, got.scene.encode("encoder", "masked")
    assert_close("pos_embed_encoder", model.encoder.positions, file.outputs["pos_embed_encoder"])
    assert_close("pos_embed_decoder", head.positions, file.outputs["pos_embed_decoder"])
    view = got.scene.view("masked").only()
    assert_close("visible_embeddings", model.encoder.sequence(view), file.outputs["visible_embeddings"])
    assert_close("encoder_output", encoded.state, file.outputs["encoder_output"])
    ours = head.sequence(encoded, got.layout)  # in the order of the clip; the reference has visible places first
    order = torch.argsort(got.plan.hidden.int(), dim=1, stable=True)
    rows = order[..., None].expand(-1, -1, ours.shape[2])
    assert_close("decoder_input", ours.gather(1, rows), file.outputs["decoder_input"])
    pred = file.outputs["pred"]
    assert_close("pred", got.scene.predictions["pixels"].value.view_as(pred), pred)


@each_file
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("lean", [True, False], ids=["lean", "plain"])
def test_losses_and_gradients_are_those_of_the_reference(path, loss, lean, build):
    file = golden(path)
    model = model_of(file, build, normalise=loss == "loss", lean=lean)
    got = run(file, model)
    assert_close(loss, got.loss, file.outputs[loss])
    got.loss.backward()
    head = model.objectives["pixels"].head
    grads = VideoMaeWeights.official(
        {name: p.grad for name, p in model.encoder.named_parameters()},
        {name: p.grad for name, p in head.named_parameters()},
    )
    assert file.grads[loss]
    for name, want in file.grads[loss].items():
        assert_close(f"grads/{loss}/{name}", grads[name], want)


@each_file
def test_wrong_choices_are_caught_at_this_tolerance(path, build):
    """The normalisation of MAE, all channels together and eps under the root, is another loss."""
    file = golden(path)
    model = model_of(file, build, normalise=True)
    target = model.objectives["pixels"].target
    target.eps = 0.0
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss", run(file, model).loss, file.outputs["loss"])


@each_file
def test_what_is_written_is_what_was_read(path, build):
    file = golden(path)
    model = model_of(file, build, normalise=True)
    back = VideoMaeWeights().write(model)
    assert back.keys() == file.weights.keys()
    assert all(torch.equal(back[name], value) for name, value in file.weights.items())
