"""FSDP2: parameters, gradients and optimizer state cut over the ranks, gathered unit by unit while they are needed.

Every unit (`mmask.train.units`) is gathered for its own forward and backward pass; everything else (embeddings, heads,
norms) is one more part, gathered once a step. Numbers are those of DDP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from mmask.errors import UsageError
from mmask.train.units import own_units

T = TypeVar("T")
_SINCE = (2, 14)  # earlier releases do not look for tensors in dataclasses, and would miss the gradients of Losses


def shard(model: nn.Module, device: torch.device) -> nn.Module:
    """Cut the model over all ranks, in place. Its methods ``forward`` and ``run`` gather what they need.

    Raises UsageError for a torch that is too old.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _SINCE:
        raise UsageError(
            f"train.parallel = 'fsdp2' needs torch {'.'.join(map(str, _SINCE))}, here is {torch.__version__}",
            hint="use train.parallel=ddp",
        )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for unit in own_units(model):
        fully_shard(unit, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "called")
    return model


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` was here."""
    if not dist.is_available() or not dist.is_initialized():
        return False
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a sharded tensor, in the same memory; any other tensor as it is."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded tensor put together; every rank calls it. Any other tensor as it is."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, torch.Tensor], *, keep: bool) -> dict[str, torch.Tensor]:
    """All tensors put together on the host, one after the other; every rank calls it, and those with ``keep`` hold
    them. Names of one tensor (tied weights) get one tensor."""
    made: dict[int, torch.Tensor] = {}
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if id(tensor) not in made:
            full = whole(tensor.detach())
            made[id(tensor)] = full.cpu() if keep else full.new_empty(0)
        found[name] = made[id(tensor)]
    return found if keep else {}


def cut_like(full: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``full``, which every rank has, cut as ``like`` is: nothing is sent."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor) or isinstance(full, DTensor):
        return full
    moved = full.to(like.device)
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)


def fill(module: nn.Module, tensors: Mapping[str, Any]) -> None:
    """``load_state_dict`` from whole tensors, also into a sharded module."""
    own = module.state_dict()
    module.load_state_dict({
        name: cut_like(value, own[name]) if name in own and own[name].shape == value.shape else value
        for name, value in tensors.items()
    })


class Gathering(nn.Module):
    """A root module that also runs things outside its forward pass, with every weight at hand."""

    _running = False

    def called(self, call: Callable[[], T]) -> T:
        """``call()``; `shard` puts its hooks around this method."""
        return call()

    def run(self, call: Callable[[], T], *, at_once: bool = False) -> T:
        """``call()``, which may run networks of this model without gradients. Whatever is not `forward` goes through
        here.

        Of a sharded model every rank calls it, and weights are let go of afterwards. Units are gathered as they are
        called, so all ranks must call the same ones; with ``at_once`` everything is gathered before, and then every
        rank may do what it likes.
        """
        if self._running or not is_sharded(self):
            return call()
        self._running = True
        try:
            made = self.called(partial(_at_hand, self, call) if at_once else call)
        finally:
            self._running = False
        self.reshard()  # type: ignore[operator]  # or the next step would see these weights, and not its own
        return made


def _at_hand(model: nn.Module, call: Callable[[], T]) -> T:
    """``call()`` while no unit lets go of its weights."""
    from torch.distributed.fsdp import FSDPModule

    units = [part for part in model.modules() if isinstance(part, FSDPModule) and part is not model]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        return call()
    finally:
        for unit in units:
            unit.reshard()
            unit.set_reshard_after_forward(True, recurse=False)
