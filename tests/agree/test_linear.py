"""Products through oneDNN against torch's own."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from mmask.layers import linear as module
from mmask.layers.linear import linear, product


@pytest.fixture
def favoured(monkeypatch):
    """Both ways on any machine whose torch has them, whoever made its CPU."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch was built without oneDNN")
    monkeypatch.setattr(module, "_favours", lambda: True)


def tensors(rows, inner, outer, bias=True):
    torch.manual_seed(0)
    x = torch.randn(2, rows, inner, requires_grad=True)
    weight = torch.randn(outer, inner, requires_grad=True)
    return x, weight, torch.randn(outer, requires_grad=True) if bias else None


@pytest.mark.usefixtures("favoured")
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


@pytest.mark.usefixtures("favoured")
def test_only_the_gradients_asked_for_are_made():
    x, weight, bias = tensors(200, 256, 512)
    product(x.detach(), weight, bias).sum().backward()
    assert x.grad is None
    product(x, weight.detach(), None).sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.usefixtures("favoured")
def test_torchs_counter_sees_these_products():
    counts = []
    for fast in (True, False):
        x, weight, bias = tensors(200, 256, 512)
        with FlopCounterMode(display=False) as counter:
            product(x, weight, bias, fast=fast).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 3 * 2 * 400 * 256 * 512


@pytest.mark.usefixtures("favoured")
def test_a_pass_that_only_begins_under_the_counter_ends_as_usual():
    results = []
    for watched in (True, False):
        x, weight, bias = tensors(200, 256, 512)
        with FlopCounterMode(display=False) if watched else nullcontext():
            out = checkpoint(product, x, weight, bias, use_reentrant=False)
        out.sum().backward()
        results.append((x.grad, weight.grad))
    for one, other in zip(*results, strict=True):
        assert (one - other).abs().max() <= 3e-5 * other.abs().max()


@pytest.mark.parametrize(("maker", "capability", "fast"), [
    ("AuthenticAMD", "AVX512", True), ("HygonGenuine", "AVX512", True), ("AuthenticAMD", "AVX2", False),
    ("GenuineIntel", "AVX512", False), ("", "AVX512", False),
])
def test_only_wide_cpus_known_not_to_be_intels_leave_torchs_choice(monkeypatch, maker, capability, fast):
    monkeypatch.setattr(module, "_maker", lambda: maker)
    monkeypatch.setattr(module, "_operator", object)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert module._favours.__wrapped__() is fast


@pytest.mark.parametrize(("text", "maker"), [
    ("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t: 17\n", "AuthenticAMD"),
    ("processor\t: 0\nvendor_id\t: GenuineIntel\n", "GenuineIntel"), ("CPU implementer\t: 0x41\n", ""),
])
def test_the_maker_is_read_where_linux_says_it(monkeypatch, text, maker):
    monkeypatch.setattr("builtins.open", lambda *_, **__: io.StringIO(text))
    assert module._maker() == maker


@pytest.mark.parametrize(("text", "maker"), [
    ("AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD", "AuthenticAMD"),
    ("Intel64 Family 6 Model 85 Stepping 7, GenuineIntel", "GenuineIntel"), (None, ""),
])
def test_the_maker_is_read_where_windows_says_it(monkeypatch, text, maker):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    monkeypatch.delenv("PROCESSOR_IDENTIFIER", raising=False)
    if text is not None:
        monkeypatch.setenv("PROCESSOR_IDENTIFIER", text)
    assert module._maker() == maker


def test_the_import_asks_the_machine_nothing():
    code = (
        "from torch.utils.flop_counter import flop_registry as known; before = set(known)\n"
        "from mmask.layers import linear as m\n"
        "assert set(known) == before and not m._favours.cache_info().misses and not m._operator.cache_info().misses"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("favoured")
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
