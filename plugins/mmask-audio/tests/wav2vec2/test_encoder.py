"""The context network: padding, hidden frames, its plain twin, skipped layers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmask.api import PlanError
from mmask.testing import layer_shares

BOTH = pytest.mark.parametrize("pre_norm", [False, True], ids=["post", "pre"])


@BOTH
def test_packed_layers_are_the_padded_ones(pre_norm, build, clips):
    batch, out = clips((1010, 430, 20, 777)), []  # the third has no frame at all
    for fast in (True, False):
        model = build(front={"norm": "layer", "fast": fast}, pre_norm=pre_norm, fast=fast)
        scene = model.scene(batch)
        encoded = scene.encode("encoder", "masked", taps=("projected", "embedded", "block.0", "block.-1"))
        own = encoded.layout.maskable()
        loss = model(batch).total()
        loss.backward()
        states = [encoded.state, *encoded.taps.values()]
        out.append([*(x[own].detach() for x in states), loss.detach(), *(p.grad for p in model.parameters())])
    for fast, plain in zip(*out, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-11)


@BOTH
def test_a_clip_is_encoded_alike_in_any_batch(pre_norm, build, clips):
    model = build(front={"norm": "layer"}, pre_norm=pre_norm).eval()
    batch = clips()
    for view in ("clean", "masked"):
        together = model.scene(batch).encode("encoder", view)
        for row, length in enumerate(batch["audio.length"].tolist()):
            alone = model.scene(clips([length], first=row)).encode("encoder", view)
            frames = alone.layout.length
            torch.testing.assert_close(together.state[row, :frames], alone.state[0], rtol=1e-10, atol=1e-11)
            torch.testing.assert_close(together.pooled[row], alone.pooled[0], rtol=1e-10, atol=1e-11)


def test_what_lies_under_hidden_frames_is_not_seen(build, clips):
    model = build().eval()
    view = model.scene(clips()).view("masked")
    tokens = view.only()
    noise = torch.where(tokens.replaced[..., None], torch.randn_like(tokens.values), tokens.values)
    assert not torch.equal(noise, tokens.values)
    other = replace(view, tokens={"audio": tokens.with_data(noise)})
    assert torch.equal(model.encoder(view).state, model.encoder(other).state)


def test_skipped_layers_get_zero_gradients_and_evaluation_skips_none(build, clips):
    model = build(layer_drop=0.5)
    batch, skipped = clips(), 0
    for seed in range(6):
        torch.manual_seed(seed)
        model.zero_grad(set_to_none=True)
        model(batch).total().backward()
        grads = [layer.feed.down.weight.grad for layer in model.encoder.stack.layers]
        assert all(grad is not None for grad in grads)  # ranks agree on who has a gradient
        skipped += sum(not grad.any() for grad in grads)
    assert 0 < skipped < 12
    model.eval()
    states = [model.scene(batch).encode("encoder", "clean").state for _ in range(2)]
    whole = build().eval().scene(batch).encode("encoder", "clean").state
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], whole)


@BOTH
def test_layer_wise_rates_fall_towards_the_input(pre_norm, build):
    shares = layer_shares(build(pre_norm=pre_norm), 0.5)
    name = "networks.encoder."
    assert shares[f"{name}projection.weight"] == shares[f"{name}mask_token"]
    rates = [shares[f"{name}stack.layers.{i}.attention.query.weight"] for i in range(2)]
    assert shares[f"{name}mask_token"] < rates[0] < rates[1]


def test_unknown_taps_and_dropped_frames_are_refused(build, clips):
    model = build()
    scene = model.scene(clips())
    with pytest.raises(PlanError, match=r"no tap 'block\.2'"):
        scene.encode("encoder", "clean", taps=("block.2",))
    view = scene.view("clean")
    part = replace(view.only(), layout=view.only().layout.take(torch.zeros(4, 1, dtype=torch.int64)))
    with pytest.raises(PlanError, match="corruption 'token'"):
        model.encoder(replace(view, tokens={"audio": part}))
