"""A linear layer's product through oneDNN where that beats torch's own choice, with its plain twin.

For float32 on CPUs torch calls MKL, which is slower than oneDNN, also built into torch, on AVX-512 machines
that are not Intel's: 87 to 95 GFLOP/s against 100 to 104 on one core, on the shapes of a ViT-B. Intel's own
processors, and those whose maker cannot be read, keep torch's choice. The sum is the same up to the order of
additions.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_LEAST = 1 << 24  # multiply-adds below which the call itself costs more than the product saves


def linear(layer: nn.Module, x: Tensor, *, fast: bool = True) -> Tensor:
    """``layer(x)``. x: (..., in) -> (..., out). ``fast`` False always takes the plain way."""
    return product(x, layer.weight, layer.bias, fast=fast) if _bare(layer) else layer(x)


def product(x: Tensor, weight: Tensor, bias: Tensor | None, *, fast: bool = True) -> Tensor:
    """``F.linear(x, weight, bias)``: by oneDNN for large float32 products on a CPU it suits, if ``fast``."""
    if fast and _suits(x, weight):
        return _Product.apply(x, weight, bias)
    return F.linear(x, weight, bias)


def _bare(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether calling the layer would do nothing but the product: no hooks, no subclass."""
    return type(layer) is nn.Linear and not (
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    )


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= _LEAST
        and _favours()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._functorch.maybe_current_level()
    )


@cache
def _favours() -> bool:
    """Whether this machine is of the kind on which oneDNN is the faster one."""
    return (
        _operator() is not None
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and _maker() not in ("", "GenuineIntel")
    )


def _maker() -> str:
    """The CPU's maker as it names itself (``AuthenticAMD``, ``GenuineIntel``); empty where no one says."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            found = (line.partition(":")[2].strip() for line in file if line.startswith("vendor_id"))
            return next(found, "")
    except OSError:  # Windows: "AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD"
        return os.environ.get("PROCESSOR_IDENTIFIER", "").rpartition(",")[2].strip()


@cache
def _operator() -> Any:
    """oneDNN's product, or None in a torch built without it. Looked up on first use."""
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if torch._C._len_torch_dispatch_stack():  # a mode that watches operators, as torch's flop counter does,
        return F.linear(x, weight, bias)  # knows this one and not oneDNN's
    out: Tensor = _operator()(x, weight, bias, "none", [], "")
    return out


class _Product(torch.autograd.Function):
    """out = x weightᵀ + bias and its gradients, each by the library that is faster for its shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows, flat = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        need_x, need_weight, need_bias = ctx.needs_input_grad
        grad_x = _onednn(rows, weight.t()).view(x.shape) if need_x else None
        grad_weight = _outer(rows, flat) if need_weight else None
        return grad_x, grad_weight, rows.sum(0) if need_bias else None


def _outer(grad: Tensor, x: Tensor) -> Tensor:
    """gradᵀ x, (M, out) and (M, in) -> (out, in). oneDNN is faster where ``in`` is the longer side."""
    return _onednn(grad.t(), x.t()) if x.shape[1] > grad.shape[1] else grad.t() @ x
