"""The whole fast path against the reference's arithmetic written with timm's blocks."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

import mmask
import mmask.api
import mmask.library
from mmask.api import Batch, MaskPlan


def test_loss_and_gradients_agree_with_the_twin(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "tools" / "bench"), *sys.path])
    from mae_twin import PlainMAE

    sizes = {"width": 48, "depth": 2, "heads": 4}
    light = {"width": 32, "depth": 2, "heads": 4}
    twin = PlainMAE(image_size=32, patch=8, **sizes, **{f"decoder_{n}": v for n, v in light.items()}).double()
    model = mmask.create_model("mae-vit-tiny", {
        "tokenize.image.image_size": 32, "tokenize.image.size": 8, "data.decode.image.size": 32,
        **{f"networks.encoder.{name}": value for name, value in sizes.items()},
        **{f"objectives.pixels.head.{name}": value for name, value in light.items()},
    }).double()
    form = mmask.library.plugins().build("weights", mmask.api.use("mae"))
    assert list(form.load(model, twin.state_dict())) == []
    image, noise = torch.randn(3, 3, 32, 32, dtype=torch.float64), torch.rand(3, 16)
    batch = Batch({"image": image}, np.arange(3, dtype=np.uint64), np.zeros(3, np.int64))
    plan = MaskPlan.of_order(model.layouts(batch)["image"], noise.argsort(1), 4)
    ours, theirs = model(batch, plan).total(), twin(image, noise)
    assert abs(ours.item() - theirs.item()) < 1e-12
    ours.backward()
    theirs.backward()
    head = model.objectives["pixels"].head
    grads = form.official(
        {name: p.grad for name, p in model.encoder.named_parameters()},
        {name: p.grad for name, p in head.named_parameters()},
    )
    for name, parameter in twin.named_parameters():
        if parameter.grad is not None:
            assert (grads[name] - parameter.grad).abs().max() <= 1e-10 * parameter.grad.abs().max(), name
