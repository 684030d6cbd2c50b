"""SyncNorm: batch norm over the positions of all ranks, whose numbers may differ."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist


class SyncNorm(nn.BatchNorm2d):
    """Batch norm whose training statistics run over every rank's positions, on any device.

    Parameters, buffers and names are those of ``nn.BatchNorm2d``, and so is the arithmetic with one rank.
    Ranks may hold different numbers of positions (sparse maps do). ``nn.SyncBatchNorm`` does the same but
    refuses tensors on the CPU, where the laws of this project are tested.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> the same shape."""
        if not self.training or not dist.is_available() or not dist.is_initialized():
            return super().forward(x)
        if dist.get_world_size() == 1:
            return super().forward(x)
        axes = (0, 2, 3)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        here = wide.new_tensor([x.numel() / x.shape[1]])
        counts = [torch.empty_like(here) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, here)
        count = torch.stack(counts).sum()
        mean = AllSum.apply(wide.sum(axes)) / count
        var = AllSum.apply((wide - mean[:, None, None]).square().sum(axes)) / count
        self._follow(mean.detach(), var.detach() * count / (count - 1))
        out = (wide - mean[:, None, None]) * torch.rsqrt(var + self.eps)[:, None, None]
        if self.affine:
            out = out * self.weight[:, None, None] + self.bias[:, None, None]
        return out.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, var: Tensor) -> None:
        if not self.track_running_stats:
            return
        self.num_batches_tracked += 1
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)  # type: ignore[union-attr]
        self.running_var.lerp_(var.to(self.running_var.dtype), rate)  # type: ignore[union-attr]


class AllSum(torch.autograd.Function):
    """The sum over ranks; its derivative is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """x: any shape, the same on every rank."""
        out = x.clone()
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        """Every rank's loss depends on every rank's x."""
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad


def synced(net: nn.Module) -> nn.Module:
    """``net`` with every plain ``nn.BatchNorm2d`` turned into a `SyncNorm` with the same tensors."""
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncNorm
    return net
