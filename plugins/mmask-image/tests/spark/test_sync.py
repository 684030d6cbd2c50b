"""Norm statistics over ranks that hold different numbers of positions."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import distributed as dist
from torch import nn

from mmask.testing import on_ranks
from mmask_image.spark.sync import SyncNorm, synced

SPLIT = (5, 2)


def _work(rank: int, folder: str) -> None:
    norm, x = _norm(), _rows()
    mine = x[: SPLIT[0]] if rank == 0 else x[SPLIT[0] :]
    mine = mine.clone().requires_grad_()
    (norm(mine) * _slope()[: SPLIT[0]] if rank == 0 else norm(mine) * _slope()[SPLIT[0] :]).sum().backward()
    for p in norm.parameters():
        dist.all_reduce(p.grad)
    torch.save({"x": mine.grad, "w": norm.weight.grad, "b": norm.bias.grad, "mean": norm.running_mean,
                "var": norm.running_var}, f"{folder}/{rank}.pt")


def _norm() -> SyncNorm:
    norm = SyncNorm(3).double()
    norm.weight.data.copy_(torch.tensor([1.0, 2.0, -1.0]))
    return norm


def _rows() -> torch.Tensor:
    return torch.randn(7, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _slope() -> torch.Tensor:
    return torch.linspace(-1, 1, 84, dtype=torch.float64).view(7, 3, 2, 2)


def test_two_ranks_normalise_as_one_rank_with_all_positions(tmp_path: Path):
    on_ranks(_work, str(tmp_path))
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    norm, x = nn.BatchNorm2d(3).double(), _rows().requires_grad_()
    norm.load_state_dict(_norm().state_dict())
    (norm(x) * _slope()).sum().backward()
    torch.testing.assert_close(torch.cat([r["x"] for r in ranks]), x.grad, rtol=1e-9, atol=1e-10)
    for rank in ranks:
        torch.testing.assert_close(rank["w"], norm.weight.grad)
        torch.testing.assert_close(rank["b"], norm.bias.grad)
        torch.testing.assert_close(rank["mean"], norm.running_mean)
        torch.testing.assert_close(rank["var"], norm.running_var)


def test_with_one_rank_it_is_batch_norm_under_the_same_names():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    same = synced(copy.deepcopy(net))
    assert isinstance(same[1], SyncNorm)
    assert list(same.state_dict()) == list(net.state_dict())
    x = torch.randn(4, 3, 2, 2)
    assert torch.equal(same(x), net(x))
    assert torch.equal(same[1].running_var, net[1].running_var)
