"""The reference implementation of SSAST, number for number, in float64.

Every dimension and option comes from the file's metadata, so other files of the form can take its place.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmask.api import Batch, MaskPlan, NetworkSection
from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_audio.recipes.ssast import ssast
from mmask_audio.ssast_weights import SsastWeights, parts_of

FILES = golden_files("ssast", Path(__file__).parent)
each_file = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
PASSES = {"discriminate": "mpc", "generate": "mpg"}


@cache
def golden(path: Path) -> Golden:
    return load_golden(path)


def model_of(file: Golden, build, *, fast: bool = True):
    c = file.config
    recipe = ssast(
        file.name, "", width=c["embed_dim"], depth=c["depth"], heads=c["num_heads"],
        patch=(c["fshape"], c["tshape"]), bins=c["input_fdim"], frames=c["input_tdim"], count=c["mask_patch"],
        weight=c["mse_weight"],
    )
    recipe.networks["encoder"] = NetworkSection.model_validate({
        "use": "ast", **recipe.networks["encoder"].options(), "mlp_ratio": c["mlp_ratio"], "fast": fast,
        "eps": c["layer_norm_eps"], "distilled": "v.dist_token" in file.weights,
    })
    assert c["pred_dim"] == c["fshape"] * c["tshape"]
    model = build(recipe).double()
    assert not list(SsastWeights().load(model, file.weights))
    return model


def run(file: Golden, model) -> SimpleNamespace:
    spectrogram = file.inputs["spectrogram"]
    batch = Batch(
        {"features": spectrogram}, np.arange(len(spectrogram), dtype=np.uint64), np.zeros(len(spectrogram), np.int64)
    )
    layout = model.layouts(batch)["audio"]
    plans = {}
    for name, code in PASSES.items():
        hidden = torch.zeros(layout.batch, layout.length, dtype=torch.bool)
        plans[name] = MaskPlan.of_hidden(layout, hidden.scatter(1, file.inputs[f"mask_index_{code}"], True))
    scene = model.scene(batch, plans)
    losses = {name: model.objectives[name](scene) for name in PASSES}
    total = sum(made.total() for made in losses.values())
    return SimpleNamespace(scene=scene, losses=losses, total=total, layout=layout)


def ordered(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """(B, K, D) in the order of the file's numbers -> in ascending order of them."""
    return values.gather(1, index.argsort(1)[..., None].expand_as(values))


@each_file
def test_activations_are_those_of_the_reference(path, build):
    file = golden(path)
    model = model_of(file, build)
    got, want = run(file, model), file.outputs
    clean = got.scene.view("clean").only()
    assert_close("patch_targets", clean.values, want["patch_targets"])
    assert_close("patch_embed", model.encoder.embed(clean), want["patch_embed"])
    for name, code in PASSES.items():
        assert_close(f"encoder_output_{code}", got.scene.encode("encoder", name).state, want[f"encoder_output_{code}"])
        pred = ordered(want[f"pred_{code}"], file.inputs[f"mask_index_{code}"])
        assert_close(f"pred_{code}", got.scene.predictions[name].value.view_as(pred), pred)


@each_file
@pytest.mark.parametrize("fast", [True, False])
def test_losses_and_gradients_are_those_of_the_reference(path, fast, build):
    file = golden(path)
    model = model_of(file, build, fast=fast)
    got = run(file, model)
    each = {"loss_nce": got.losses["discriminate"]["discriminate"], "loss_mse": got.losses["generate"]["generate"],
            "loss": got.total}
    for name, loss in each.items():
        assert_close(name, loss, file.outputs[name])
    for name in file.grads:
        model.zero_grad()
        each[name].backward(retain_graph=True)
        grads = SsastWeights.official(
            {part: {n: p.grad for n, p in module.named_parameters()} for part, module in parts_of(model).items()}
        )
        for weight, want in file.grads[name].items():
            assert_close(f"grads/{name}/{weight}", grads[weight], want)


@each_file
def test_the_accuracy_reads_the_other_axis(path, build):
    file = golden(path)
    got = run(file, model_of(file, build))
    share = got.losses["discriminate"].metrics["discriminate_accuracy"]
    assert float(share.total) / float(share.count) == pytest.approx(float(file.outputs["accuracy_mpc"]), abs=1e-6)


@each_file
def test_a_softmax_over_the_targets_is_another_loss(path, build):
    file = golden(path)
    model = model_of(file, build)
    model.objectives["discriminate"].loss.over = "targets"
    with pytest.raises(AssertionError, match="relative error"):
        assert_close("loss_nce", run(file, model).losses["discriminate"]["discriminate"], file.outputs["loss_nce"])
