"""Units: the repeated parts of a network (its blocks), computed again on the way back or sharded one by one.

A module names its units with a method ``units()``, a list of modules that it calls as modules (``block(x)``), never by
their inner parts: only then do torch's hooks see them. Networks, heads and shared stacks may all have it; what is
made of such stacks (`mmask.api.Transformer`) needs none of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmask.errors import RecipeError


def units_of(module: nn.Module) -> list[nn.Module]:
    """The units of all parts of ``module``, each once, without those inside another."""
    found: dict[int, nn.Module] = {}
    inside: set[int] = set()
    for part in module.modules():
        named = getattr(part, "units", None)
        for unit in named() if callable(named) else ():
            if id(unit) not in inside:
                found[id(unit)] = unit
                inside.update(id(deeper) for deeper in unit.modules() if deeper is not unit)
    return [unit for key, unit in found.items() if key not in inside]


def own_units(module: nn.Module) -> list[nn.Module]:
    """The units whose parameters belong to nothing else: weights that are tied across a unit's border stay outside."""
    owners = _names(module)
    times = Counter(id(part) for _, part in module.named_modules(remove_duplicate=False))
    kept = []
    for unit in units_of(module):
        inner = _names(unit)
        if inner and all(owners[key] == count * times[id(unit)] for key, count in inner.items()):
            kept.append(unit)
    return kept


def _names(module: nn.Module) -> Counter[int]:
    """How many names each parameter has."""
    return Counter(id(param) for _, param in module.named_parameters(remove_duplicate=False))


def checkpoint_units(module: nn.Module) -> int:
    """From now on keep the inputs of every trained unit alone, and compute what is inside it again on the way back
    (Chen et al. 2016). Gradients stay the same: dropout and drop path draw what they drew. -> how many units.

    Evaluation, and units that are frozen as a whole, run as before. Raises RecipeError when no unit is named, or when
    one would count its running statistics twice.
    """
    units = [unit for unit in units_of(module) if any(p.requires_grad for p in unit.parameters())]
    if not units:
        raise RecipeError(
            "train.checkpoint_activations: no trained network or head of this recipe names its units",
            hint="leave it out, or give the network a method units() that lists its blocks; "
            "optim.accumulate saves memory too",
        )
    for unit in units:
        counting = [part for part in unit.modules() if getattr(part, "running_mean", None) is not None]
        if counting:
            raise RecipeError(
                f"train.checkpoint_activations: a unit of {type(unit).__name__} has a {type(counting[0]).__name__}, "
                "which would count every batch twice", hint="leave it out for this recipe",
            )
    for unit in units:
        unit.forward = partial(_again, unit, unit.forward)  # type: ignore[method-assign]  # hooks stay outside
    return len(units)


def _again(unit: nn.Module, forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
    if unit.training and torch.is_grad_enabled():
        return checkpoint(forward, *args, use_reentrant=False, **named)
    return forward(*args, **named)
