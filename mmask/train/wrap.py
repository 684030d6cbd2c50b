"""From a model to what the steps of a run call: activation checkpointing, compilation, DDP or FSDP2, the average."""

from __future__ import annotations

import torch
from torch import nn

from mmask.errors import UsageError
from mmask.recipe.schema import TrainSection
from mmask.train.ema import Average, twin
from mmask.train.model import MaskedModel
from mmask.train.precision import Precision
from mmask.train.ranks import Ranks
from mmask.train.units import checkpoint_units


def wrap(
    model: MaskedModel, section: TrainSection, ranks: Ranks, precision: Precision
) -> tuple[nn.Module, Average | None]:
    """-> what a step calls (the model itself, or DDP around it), and the average of the weights if there is one.

    The model lies on the host until it is sharded, so no device ever holds all of it.
    """
    sharded = ranks.shards(section.parallel)
    if sharded and section.precision == "fp16":
        raise UsageError(
            "train.precision = 'fp16' is not there under train.parallel = 'fsdp2': each rank would scale its own loss",
            hint="use --precision bf16, or train.parallel=ddp",
        )
    other = twin(model) if section.ema else None
    if section.checkpoint_activations:
        checkpoint_units(model)
    if section.compile:
        compile_parts(model)
    wrapped = ranks.wrap(model, precision.device, parallel=section.parallel)
    if other is None or section.ema is None:
        return wrapped, None
    if sharded:
        ranks.wrap(other, precision.device, parallel=section.parallel)
    return wrapped, Average(model, other, section.ema)


def compile_parts(model: MaskedModel) -> None:
    """torch.compile for networks and heads in place; plans, targets and denominators stay plain Python."""
    heads = (getattr(objective, "head", None) for objective in model.objectives.values())
    for module in (*model.networks.values(), *heads):
        if isinstance(module, torch.nn.Module):
            module.compile()
