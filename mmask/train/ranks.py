"""Ranks: the processes of a run, as ``torchrun`` describes them, and the few sums they exchange."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from mmask.errors import UsageError
from mmask.train.shard import shard

_WRAP = 1 << 64


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among ``world`` processes. A run started without ``torchrun`` is rank 0 of 1.

    rank: 0 .. world - 1. local: the index on this machine, which is also its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @staticmethod
    def start(device: str = "auto") -> Ranks:
        """Read torchrun's environment and join the group: gloo for host tensors, nccl for CUDA ones."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        ranks = Ranks(int(os.environ.get("RANK", "0")), world, int(os.environ.get("LOCAL_RANK", "0")))
        if world > 1 and not dist.is_initialized():
            cuda = device in ("auto", "cuda") and torch.cuda.is_available()
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
        return ranks

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """The sum of each number over ranks, in float64 on the host."""
        if self.world == 1 or not numbers:
            return list(numbers)
        buffer = torch.tensor(list(numbers), dtype=torch.float64)
        dist.all_reduce(buffer)
        return [float(value) for value in buffer]

    def sum_table(self, table: Mapping[str, float]) -> dict[str, float]:
        """`sum` by name; every rank must bring the same names."""
        names = sorted(table)
        return dict(zip(names, self.sum([float(table[name]) for name in names]), strict=True))

    def sum_words(self, words: Sequence[int]) -> list[int]:
        """The sum of 64-bit words over ranks, modulo 2**64."""
        if self.world == 1:
            return [word % _WRAP for word in words]
        signed = [(word + (1 << 63)) % _WRAP - (1 << 63) for word in words]
        buffer = torch.tensor(signed, dtype=torch.int64)
        dist.all_reduce(buffer)
        return [int(value) % _WRAP for value in buffer]

    def any(self, flag: bool) -> bool:
        """Whether any rank says so: all ranks decide alike."""
        return self.sum([float(flag)])[0] > 0 if self.world > 1 else flag

    def share(self, text: str) -> str:
        """Rank 0's string, on every rank."""
        if self.world == 1:
            return text
        box: list[Any] = [len(text.encode()) if self.first else 0]
        size = torch.tensor(box, dtype=torch.int64)
        dist.broadcast(size, 0)
        data = torch.zeros(int(size), dtype=torch.uint8)
        if self.first:
            data = torch.tensor(list(text.encode()), dtype=torch.uint8)
        dist.broadcast(data, 0)
        return bytes(data.tolist()).decode()

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            dist.all_reduce(torch.zeros(1))

    def shards(self, parallel: str) -> bool:
        """Whether a model is cut over the ranks; a single process has nothing to cut."""
        return self.world > 1 and parallel == "fsdp2"

    def wrap(self, model: nn.Module, device: torch.device, *, parallel: str = "ddp") -> nn.Module:
        """The model over several ranks: DDP around it, or (``fsdp2``) itself, cut in place.

        DDP looks for parameters without a gradient in every step: a program of tasks has some, and so has a network
        with a table that a data set does not read.
        """
        if self.world == 1:
            return model
        if self.shards(parallel):
            return shard(model, device)
        return nn.parallel.DistributedDataParallel(
            model, device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=True,
        )

    def part(self, batch_size: int, accumulate: int) -> int:
        """Samples of this rank in a global batch. Raises UsageError where the batch cannot be divided."""
        if batch_size % self.world:
            raise UsageError(
                f"data.batch_size {batch_size} is not divisible by {self.world} ranks",
                hint=f"use {max(1, batch_size // self.world) * self.world}, "
                f"or {(batch_size // self.world + 1) * self.world}",
            )
        local = batch_size // self.world
        if local < accumulate:
            raise UsageError(f"optim.accumulate {accumulate} cuts a rank's batch of {local} below one sample")
        return local

    def close(self) -> None:
        """Leave the group."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()
