"""Products through oneDNN against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mmask.layers import linear as module
from mmask.layers.linear import linear, product

needs = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="this CPU takes the plain way",
)


def tensors(rows, inner, outer, bias=True):
    torch.manual_seed(0)
    x = torch.randn(2, rows, inner, requires_grad=True)
    weight = torch.randn(outer, inner, requires_grad=True)
    return x, weight, torch.randn(outer, requires_grad=True) if bias else None


@needs
@pytest.mark.parametrize(("rows", "inner", "outer"), [(200, 256, 512), (300, 512, 128), (197, 192, 576)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_agree_to_rounding(rows, inner, outer, bias):
    results = []
    for fast in (True, False):
        x, weight, offset = tensors(rows, inner, outer, bias)
        assert module._suits(x, weight)
        out = product(x, weight, offset, fast=fast)
        assert ("_Product" in type(out.grad_fn).__name__) is fast
        out.cos().sum().backward()
        results.append([out, x.grad, weight.grad, *([offset.grad] if bias else [])])
    for ours, plain in zip(*results, strict=True):
        assert ours.shape == plain.shape
        assert (ours - plain).abs().max() <= 3e-5 * plain.abs().max()
        assert ours.is_contiguous()


@needs
def test_only_the_gradients_asked_for_are_made():
    x, weight, bias = tensors(200, 256, 512)
    product(x.detach(), weight, bias).sum().backward()
    assert x.grad is None
    product(x, weight.detach(), None).sum().backward()
    assert x.grad.shape == x.shape


@needs
def test_torchs_counter_sees_these_products():
    counts = []
    for fast in (True, False):
        x, weight, bias = tensors(200, 256, 512)
        with FlopCounterMode(display=False) as counter:
            product(x, weight, bias, fast=fast).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 3 * 2 * 400 * 256 * 512


def test_float64_small_products_autocast_and_hooked_layers_take_the_plain_way():
    x, weight, bias = tensors(200, 256, 512)
    assert not module._suits(x.double(), weight.double())
    assert not module._suits(x[:, :2], weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not module._suits(x, weight)
        assert product(x, weight, bias).dtype == torch.bfloat16
    layer, seen = nn.Linear(256, 512), []
    layer.register_forward_hook(lambda *_: seen.append(1))
    assert torch.equal(linear(layer, x), F.linear(x, layer.weight, layer.bias))
    assert seen == [1]
