"""open_clip's losses, number for number, in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmask.testing.golden import Golden, assert_close, golden_files, load_golden
from mmask_vl.contrast import ContrastLoss

FILES = golden_files("clip_loss", Path(__file__).parent)
each_file = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])


def loss_of(file: Golden, kind: str) -> ContrastLoss:
    made = ContrastLoss(kind=kind).double()
    names = {"scale": "logit_scale"}
    if kind == "sigmoid":
        names = {"scale": "siglip_logit_scale", "bias": "siglip_logit_bias"}
    made.load_state_dict({ours: file.weights[theirs] for ours, theirs in names.items()})
    return made


@each_file
@pytest.mark.parametrize(("kind", "name"), [("softmax", "loss"), ("sigmoid", "loss_siglip")])
def test_losses_and_gradients_are_those_of_the_reference(path, kind, name):
    file = load_golden(path)
    made = loss_of(file, kind)
    image, text = (file.inputs[f"{side}_features"].clone().requires_grad_() for side in ("image", "text"))
    loss = made(image, text)[0] / len(image)
    assert_close(name, loss, file.outputs[name])
    loss.backward()
    prefix = "" if kind == "softmax" else "siglip_"
    got = {"inputs.image_features": image.grad, "inputs.text_features": text.grad,
           f"{prefix}logit_scale": made.scale.grad}
    if made.bias is not None:
        got["siglip_logit_bias"] = made.bias.grad
    assert file.grads[name]
    for weight, want in file.grads[name].items():
        assert_close(f"grads/{name}/{weight}", got[weight], want)


@each_file
def test_logits_and_both_directions_are_those_of_the_reference(path):
    file = load_golden(path)
    made = loss_of(file, "softmax")
    image, text = (torch.nn.functional.normalize(file.inputs[f"{side}_features"]) for side in ("image", "text"))
    assert_close("image_normalized", image, file.outputs["image_normalized"])
    assert_close("text_normalized", text, file.outputs["text_normalized"])
    logits = made.factor() * image @ text.t()
    assert_close("logits_per_image", logits, file.outputs["logits_per_image"])
    own = torch.arange(len(image))
    assert_close("loss_image", torch.nn.functional.cross_entropy(logits, own), file.outputs["loss_image"])
    assert_close("loss_text", torch.nn.functional.cross_entropy(logits.t(), own), file.outputs["loss_text"])
